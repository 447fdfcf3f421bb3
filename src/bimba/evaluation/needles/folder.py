"""Settings of an evaluation in, its folder out: claimed for this run alone, or refused; and its JSON files.

The folder:

    run.json            what is asked of which model, and on which machines it was
    questions.jsonl     a line for each question, written as it is answered
    results.json        the tables, with all of run.json
    *.png               pictures of the tables
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

import bimba
from bimba.errors import InputError
from bimba.evaluation.needles.lines import LINES_NAME, read_lines
from bimba.evaluation.needles.settings import NeedleEvaluation
from bimba.evaluation.provenance import folder_sha256, model_sha256
from bimba.text.prompts import PROMPT_VERSION

BENCHMARK, BENCHMARK_VERSION = "needles", 1
"""The version changes with anything that changes what is asked, or what is right."""
RUN_NAME, RESULTS_NAME = "run.json", "results.json"
_LOCK_NAME = ".lock"
_ABSENT = "nothing"
_BY_CONTENT = ("settings.model", "settings.base")
"""Where a model lies makes no difference; its hash does."""


def claim(settings: NeedleEvaluation, out: Path) -> dict[str, Any]:
    """Make a folder this run's, or find that it is; returns the contents of its run.json.

    Raises:
        InputError: it holds answers of another run, or something else.
    """
    run = _described(settings)
    file = out / RUN_NAME
    if not file.exists():
        others = sorted(path.name for path in out.iterdir() if not path.name.startswith("."))
        if others:
            raise InputError(f"{out} is there already, and is no evaluation: {others[0]}.", fix="name a new folder.")
        write_json(file, run)
        return run
    found = read_json(file)
    differing = _differences(found, run)
    if differing and not read_lines(out / LINES_NAME):  # nothing was answered: the model was too small, say
        write_json(file, run)
        return run
    if differing:
        raise InputError(
            f"{out} holds another run:\n    " + "\n    ".join(differing),
            fix="name another folder (--out DIR), or give the same options to go on.",
        )
    return found


def _described(settings: NeedleEvaluation) -> dict[str, Any]:
    """What decides the results, without what happened yet."""
    folders = {"haystack": settings.haystack, "photos": settings.photos, "pictures": settings.pictures}
    return {
        "benchmark": BENCHMARK,
        "benchmark_version": BENCHMARK_VERSION,
        "prompt_version": PROMPT_VERSION,
        "bimba": bimba.__version__,
        "settings": settings.model_dump(mode="json"),
        "model_sha256": model_sha256(settings.model, settings.base),
        "names_and_sizes_sha256": {
            name: folder_sha256(folder) for name, folder in folders.items() if folder is not None and folder.is_dir()
        },
        "sessions": [],
    }


def _differences(there: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What two runs do not share, a line each."""
    theirs, ours = _flat(there), _flat(now)
    names = sorted((theirs.keys() | ours.keys()) - set(_BY_CONTENT))
    values = {name: (theirs.get(name, _ABSENT), ours.get(name, _ABSENT)) for name in names}
    return [f"{name}: {old} there, {new} now" for name, (old, new) in values.items() if old != new]


def _flat(run: dict[str, Any]) -> dict[str, Any]:
    flat = {name: value for name, value in run.items() if not isinstance(value, dict) and name != "sessions"}
    for section in ("settings", "names_and_sizes_sha256"):
        flat |= {f"{section}.{name}": value for name, value in run.get(section, {}).items()}
    return flat


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON file of a run.

    Raises:
        InputError: it is damaged.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(
            f"{file} is damaged: {error}.", fix="remove the folder and run the evaluation again."
        ) from error
    if not isinstance(content, dict):
        raise InputError(f"{file} is none of ours.", fix="name the folder of an evaluation.")
    return content


def write_json(file: Path, content: dict[str, Any]) -> None:
    """Write a file whole or not at all."""
    partial = file.with_name(f".{file.name}.partial")
    partial.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(file)


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Keep other runs out of a folder; the system opens the lock when this process ends, however it ends."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = FileLock(out / _LOCK_NAME)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise InputError(f"another process evaluates in {out}.", fix="wait for it, or name another folder.") from error
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error}.", fix="name a folder you may write to.") from error
    try:
        yield
    finally:
        lock.release()
