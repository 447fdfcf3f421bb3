"""A benchmark's name in, everything that is known about it out: the small versioned files of `catalogue`, checked."""

import difflib
import fnmatch
import tomllib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from bimba.errors import InputError

_STRICT = ConfigDict(extra="forbid", frozen=True)


class Wording(BaseModel):
    """How a benchmark itself asks."""

    model_config = _STRICT

    version: int = Field(ge=1, description="changes with any word")
    official: str = Field(description="with {question}, {options} and {letters}")
    option: str = "{letter}. {text}"
    official_source: str


class Reported(BaseModel):
    """A figure of a paper, and what made it."""

    model_config = _STRICT

    model: str
    value: float = Field(gt=0, lt=100, description="percent")
    metric: str
    setting: str


class Simplified(BaseModel):
    """What the common short form of annotations (id, video, question, candidates, answer) holds beside these."""

    model_config = _STRICT

    question_type: str | None = Field(default=None, description="the tag that `question_type` is")
    has_tries: bool = Field(default=False, description="questions of equal text on one video are tries of one item")


class Part(BaseModel):
    """Another benchmark, from which some questions are chosen."""

    model_config = _STRICT

    benchmark: str
    num_questions: int | None = Field(default=None, description="that are chosen; None where nobody has told")


class Benchmark(BaseModel):
    """A benchmark: where it comes from, how large it is, how it asks and how it is scored."""

    model_config = _STRICT

    name: str
    title: str
    version: int = Field(ge=1, description="changes with anything that changes a score")
    paper: str
    homepage: str
    source: str = Field(description="where to get it")
    licence: str
    format: str = Field(description="which reader of `formats` takes the annotations as published")
    files: tuple[str, ...] = Field(min_length=1, description="of the annotations; * stands for anything")
    videos: str = Field(description="how the videos' files are called")
    more_folders: tuple[str, ...] = Field(default=(), description="below that of the videos, where some lie, too")
    in_folders: bool = Field(default=False, description="videos in several folders have one name")
    parts: tuple[Part, ...] = Field(default=(), description="benchmarks from which its questions are chosen")
    without: dict[str, str] = Field(default={}, description="tags of questions that are left out")
    num_questions: int | None = Field(default=None, description="None where nobody has told, as of those below")
    num_answers: int | None = None
    num_videos: int | None = None
    num_per_group: int | None = Field(default=None, description="questions of each group that the metric averages over")
    num_options: tuple[int, ...]
    metric: str
    breakdowns: tuple[str, ...] = ()
    subtitles: str = Field(default="", description="how the subtitles' files are called, where they are told")
    submission: str = Field(default="", description="of answers to a server that scores them")
    notes: str = ""
    simplified: Simplified = Simplified()
    short_form_lacks: str = Field(default="", description="what is needed, so that the short form is refused")
    prompt: Wording
    reported: tuple[Reported, ...] = ()

    def own_files(self, paths: Sequence[Path]) -> list[Path]:
        """Those of some files that are called as this benchmark's, in the order of `files`."""
        found = [path for pattern in self.files for path in paths if fnmatch.fnmatch(path.name, pattern)]
        return list(dict.fromkeys(found))


def benchmark_names() -> tuple[str, ...]:
    """Names of all benchmarks and of their variants ("videomme", "videomme-subtitles"), in order."""
    return tuple(_all())


def find_benchmark(name: str) -> Benchmark:
    """Return a benchmark.

    Raises:
        InputError: there is none of this name.
    """
    known = _all()
    if name not in known:
        near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
        raise InputError(
            f"there is no benchmark {name!r}.",
            fix=f"use {near[0]!r}; `bimba eval list` shows all." if near else "`bimba eval list` shows all.",
        )
    return known[name]


@cache
def _all() -> dict[str, Benchmark]:
    found: dict[str, Benchmark] = {}
    folder = files(__package__) / "catalogue"
    for file in sorted(folder.iterdir(), key=lambda each: each.name):
        values = tomllib.loads(file.read_text(encoding="utf-8"))
        name = file.name.removesuffix(".toml")
        variants: dict[str, dict[str, Any]] = values.pop("variants", {})
        for suffix, changes in {"": {}, **variants}.items():
            full = f"{name}-{suffix}" if suffix else name
            # A size that is published of the whole alone is not that of a variant.
            inherited = {key: value for key, value in values.items() if key not in changes.get("lacks", ())}
            own = {key: value for key, value in changes.items() if key != "lacks"}
            found[full] = Benchmark(name=full, **(inherited | own))
    return found
