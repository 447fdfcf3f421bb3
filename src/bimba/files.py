"""A file's text in, the file whole or as it was before out; a folder in, kept for one process alone out."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from bimba.errors import InputError

LOCK_NAME = ".lock"
"""Of the file by which a folder is kept."""
_PATIENCE_SECONDS = 0.5
"""Who was just killed may leave a child that has the lock until it begins its own work."""


def write_whole(path: Path, text: str) -> None:
    """Write a text so that it is there whole, or what was there before is.

    Args:
        path: of the file, in a folder that is there.
        text: which is written as UTF-8, its line ends as they are.

    Raises:
        OSError: it cannot be written; no room is left, say.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")  # two processes may write it at once
    try:
        with partial.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextmanager
def alone(folder: Path, taken: str, fix: str) -> Iterator[None]:
    """Keep other processes out of a folder; the system opens the lock when this process ends, however it ends.

    Args:
        folder: made, if it is not there.
        taken: what is said where another process is in it.
        fix: what to do then.

    Raises:
        InputError: another process is in it, or it cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK_NAME)
        lock.acquire(timeout=_PATIENCE_SECONDS)
    except Timeout as error:
        raise InputError(taken, fix=fix) from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"{folder} cannot be written to: {reason}.", fix="name a folder you may write to.") from error
    try:
        yield
    finally:
        lock.release()
