"""A media file in, a hash of its content out; remembered in small files until the media file changes.

A hash is looked up by path, size and time of the last change, so that an epoch does not read every video to its end
before it knows that nothing of it is needed. Each path has a record of its own, which is replaced as a whole: any
number of processes may look up and remember at once.
"""

import hashlib
import json
import logging
import os
from contextlib import suppress
from pathlib import Path

from bimba.errors import VideoError
from bimba.files import write_whole

logger = logging.getLogger(__name__)


class ContentHashes:
    """Hashes of media files and of folders of pictures.

    Args:
        folder: where records are kept; made when it is needed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def of(self, path: Path) -> str:
        """The hash of what a file holds, or of the names and contents of the files in a folder.

        Raises:
            VideoError: it cannot be read, or is being written to.
        """
        path = path.absolute()
        try:
            stamp = _stamp(path)
            record = self._record(path)
            known = _remembered(record, stamp)
            if known is not None:
                return known
            found = _read(path)
            if _stamp(path) != stamp:
                raise VideoError(f"{path} changed while it was read.", fix="wait until whatever writes it is done.")
        except OSError as error:
            raise VideoError(
                f"{path} cannot be read: {error.strerror}.", fix="check that it is there, and that you may read it."
            ) from error
        _remember(record, path, stamp, found)
        return found

    def _record(self, path: Path) -> Path:
        name = hashlib.sha256(os.fsencode(path)).hexdigest()
        return self.folder / name[:2] / f"{name}.json"


def _stamp(path: Path) -> str:
    """By what a file, or the files of a folder, are known to be those from before."""
    if not path.is_dir():
        return _file_stamp(path)
    digest = hashlib.sha256()
    for file in _visible(path):
        digest.update(os.fsencode(f"{file.name}\0{_file_stamp(file)}\0"))
    return digest.hexdigest()


def _file_stamp(path: Path) -> str:
    status = path.stat()
    return f"{status.st_size} {status.st_mtime_ns}"


def _read(path: Path) -> str:
    """Size and SHA-256 of a file; of a folder, of everything in it, since its pictures are chosen by their names."""
    if not path.is_dir():
        with path.open("rb") as file:
            return f"{path.stat().st_size}:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    digest, size = hashlib.sha256(), 0
    for picture in _visible(path):
        digest.update(os.fsencode(f"{picture.name}\0{_read(picture)}\0"))
        size += picture.stat().st_size
    return f"{size}:{digest.hexdigest()}"


def _visible(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))


def _remembered(record: Path, stamp: str) -> str | None:
    """The hash of a record, if it was made of the same file; a damaged record is none."""
    with suppress(OSError, ValueError, LookupError, TypeError):
        told = json.loads(record.read_text(encoding="utf-8"))
        if told["stamp"] == stamp:
            return str(told["content"])
    return None


def _remember(record: Path, path: Path, stamp: str, content: str) -> None:
    """Write a record; where that cannot be done, the file is read again next time."""
    try:
        record.parent.mkdir(parents=True, exist_ok=True)
        write_whole(record, json.dumps({"path": str(path), "stamp": stamp, "content": content}))
    except OSError as error:
        logger.info("the content hash of %s is not remembered: %s", path, error)
