"""A benchmark's name in, everything that is known about it out: the small versioned files of `catalogue`, checked."""

import difflib
import tomllib
from functools import cache
from importlib.resources import files
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
    num_questions: int
    num_answers: int
    num_videos: int
    num_options: tuple[int, ...]
    metric: str
    breakdowns: tuple[str, ...] = ()
    subtitles: str = Field(default="", description="how the subtitles' files are called, where they are told")
    submission: str = Field(default="", description="of answers to a server that scores them")
    notes: str = ""
    simplified: Simplified = Simplified()
    prompt: Wording
    reported: tuple[Reported, ...] = ()


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
            found[full] = Benchmark(name=full, **(values | changes))
    return found
