"""A run's folder in, its checkpoints out: written under another name, sealed, renamed; torn ones are told apart.

A checkpoint `checkpoint-120` holds `sealed.json` with the size and SHA-256 of each of its files. It is written last,
after everything before it has reached the disk, and only then is the folder renamed. So a folder without a seal, or one
that its seal does not fit, was never whole or is no longer.
"""

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bimba.errors import TrainingError
from bimba.files import write_whole

logger = logging.getLogger(__name__)

SEAL = "sealed.json"
UNFINISHED = ".unfinished"
TORN = "torn-"
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")


def checkpoint_name(step: int) -> str:
    """Folder of the checkpoint after a step."""
    return f"checkpoint-{step}"


def unfinished(run: Path) -> Path:
    """Folder in which checkpoints are written before they are whole."""
    return run / UNFINISHED


def seal(run: Path, step: int) -> Path:
    """Make an unfinished checkpoint one that a run can go on from.

    Args:
        run: the run's folder; the checkpoint lies in `unfinished(run)`, with all its files.
        step: after which it was made.

    Returns:
        Its place in the run's folder.
    """
    folder = unfinished(run) / checkpoint_name(step)
    files = {}
    for path in _files(folder):
        _reach_disk(path)
        files[path.relative_to(folder).as_posix()] = {"size": path.stat().st_size, "sha256": _digest(path)}
    write_whole(folder / SEAL, json.dumps({"step": step, "files": files}, indent=2) + "\n")
    _reach_disk(folder)
    place = run / checkpoint_name(step)
    if place.exists():  # the last step's, saved once more
        _remove(place)
    folder.rename(place)
    _reach_disk(run)
    return place


def whole_checkpoint(run: Path) -> Path | None:
    """The last checkpoint that is whole; those after it are named in the log, with what is wrong with them."""
    for path in reversed(_checkpoints(run)):
        wrong = what_is_wrong(path)
        if wrong is None:
            return path
        logger.warning("%s is not whole (%s) and is left out; the one before it is taken.", path, wrong)
    return None


def what_is_wrong(checkpoint: Path) -> str | None:
    """Why a checkpoint cannot be trusted; None if it can."""
    try:
        files: dict[str, dict[str, Any]] = json.loads((checkpoint / SEAL).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, LookupError, TypeError):
        return f"{SEAL} is missing or damaged"
    for name, expected in files.items():
        path = checkpoint / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != expected["size"]:
            return f"{name} has {path.stat().st_size} of {expected['size']} bytes"
        if _digest(path) != expected["sha256"]:
            return f"{name} is damaged"
    return None


def step_of(checkpoint: Path) -> int:
    """Step after which a checkpoint was made."""
    match = _CHECKPOINT.fullmatch(checkpoint.name)
    if match is None:
        raise ValueError(f"{checkpoint} is no checkpoint.")
    return int(match[1])


def remove_old(run: Path, keep: int) -> None:
    """Remove all checkpoints but the last ones."""
    for path in _checkpoints(run)[:-keep]:
        _remove(path)


def clear(run: Path, last: Path | None) -> None:
    """Make a run's folder ready to go on from its last whole checkpoint.

    What an interrupted save left is removed; torn checkpoints are set aside under another name.
    """
    if unfinished(run).exists():
        logger.warning("a checkpoint was interrupted while it was written; what there is of it is removed.")
        shutil.rmtree(unfinished(run))
    for path in _checkpoints(run):
        if last is None or step_of(path) > step_of(last):
            aside = run / f"{TORN}{path.name}"
            if aside.exists():
                shutil.rmtree(aside)
            path.rename(aside)


def _remove(folder: Path) -> None:
    """Remove a checkpoint, its seal first: what is left of it after an interruption is no checkpoint."""
    (folder / SEAL).unlink(missing_ok=True)
    shutil.rmtree(folder)


def cannot_write(place: Path, error: BaseException) -> TrainingError:
    """What to raise where a checkpoint or result could not be written."""
    return TrainingError(
        f"{place} could not be written: {error}. Earlier checkpoints are as they were.",
        fix="free some space (save.keep=1 keeps fewer checkpoints), then give the same command again: it goes on from "
        "the last checkpoint.",
    )


def _checkpoints(run: Path) -> list[Path]:
    """Folders with the name of a checkpoint, by step."""
    found = (
        [path for path in run.iterdir() if path.is_dir() and _CHECKPOINT.fullmatch(path.name)] if run.is_dir() else []
    )
    return sorted(found, key=step_of)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _reach_disk(path: Path) -> None:
    """Wait until a file or folder is on the disk and not only in memory."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except (PermissionError, IsADirectoryError):  # some systems open no folders
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
