"""An evaluation's folder and what is evaluated in; the folder claimed for that, or refused with what differs, out.

The folder of every evaluation:

    run.json            what is asked of which model, and on which machines it was
    results.json        the tables, with all of run.json
    *.png               pictures of the tables
"""

import json
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from bimba.errors import InputError
from bimba.files import alone, write_whole

RUN_NAME, ANSWERS_NAME, RESULTS_NAME = "run.json", "answers.jsonl", "results.json"
_ABSENT = "nothing"
_NO_DIFFERENCE = ("settings.model", "settings.base", "sessions")
"""Where a model lies makes no difference; its hash does."""


def claim(out: Path, run: dict[str, Any], *, has_answers: Callable[[], bool]) -> dict[str, Any]:
    """Make a folder a run's, or find that it is; returns the contents of its run.json.

    Args:
        out: the folder, which is there.
        run: what decides the results; "sessions" is what happened and makes no difference.
        has_answers: tells whether something was answered already; if not, another run may take the folder over.

    Raises:
        InputError: it holds answers of another run, or something else.
    """
    file = out / RUN_NAME
    if not file.exists():
        others = sorted(path.name for path in out.iterdir() if not path.name.startswith("."))
        if others:
            raise InputError(f"{out} is there already, and is no evaluation: {others[0]}.", fix="name a new folder.")
        write_json(file, run)
        return run
    found = read_json(file)
    differing = differences(found, run, except_for=_NO_DIFFERENCE)
    if differing and not has_answers():  # the model was too small, say
        write_json(file, run)
        return run
    if differing:
        raise InputError(
            f"{out} holds another run:\n    " + "\n    ".join(differing),
            fix="name another folder (--out DIR), or give the same options to go on.",
        )
    return found


def differences(there: dict[str, Any], now: dict[str, Any], *, except_for: Collection[str] = ()) -> list[str]:
    """What two descriptions of a run do not share, a line each; mappings are compared by their entries.

    Args:
        there: of the run that a folder holds.
        now: of the one that is asked for.
        except_for: dotted names that make no difference.
    """
    theirs, ours = _flat(there), _flat(now)
    names = sorted((theirs.keys() | ours.keys()) - set(except_for))
    values = {name: (theirs.get(name, _ABSENT), ours.get(name, _ABSENT)) for name in names}
    return [f"{name}: {old} there, {new} now" for name, (old, new) in values.items() if old != new]


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    flat = {name: value for name, value in values.items() if not isinstance(value, dict)}
    for section, entries in values.items():
        if isinstance(entries, dict):
            flat |= {f"{section}.{name}": value for name, value in entries.items()}
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


def read_any_results(folder: Path) -> dict[str, Any]:
    """Results of an evaluation, whatever was asked.

    Raises:
        InputError: there are none.
    """
    file = folder / RESULTS_NAME
    if not file.is_file():
        there = "its run is not finished" if (folder / RUN_NAME).is_file() else "it holds no evaluation"
        raise InputError(
            f"{folder} has no {RESULTS_NAME}: {there}.",
            fix="name the folder of a run (bimba eval run ... --out DIR), or finish it by the same command.",
        )
    return read_json(file)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, where they are not there.

    Raises:
        InputError: it cannot be made; a file has its name, say.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder} cannot be made a folder: {error}.", fix="name another folder (--out DIR)."
        ) from error


def write_json(file: Path, content: dict[str, Any]) -> None:
    """Write a file whole or not at all."""
    write_whole(file, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def alone_in(out: Path) -> AbstractContextManager[None]:
    """Keep other runs out of a folder.

    Raises:
        InputError: another one is in it, or it cannot be written to.
    """
    return alone(out, f"another process evaluates in {out}.", fix="wait for it, or name another folder.")
