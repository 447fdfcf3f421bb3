"""Uploaded files in, kept under names of our own, out again by their id; whoever uploads a file alone sees it."""

import hashlib
import json
import logging
import re
import secrets
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from bimba.errors import BimbaError
from bimba.serving.engine.ticket import Media
from bimba.serving.media.checking import check_file
from bimba.serving.refusals import RefusedError, refused
from bimba.serving.settings import MediaLimits

logger = logging.getLogger(__name__)

_BLOCK = 1 << 20
_ID = re.compile("file-[0-9a-f]{32}")
_LONGEST_NAME = 255


@dataclass(frozen=True)
class StoredFile:
    """An uploaded file.

    Attributes:
        id: what requests call it.
        owner: whose key uploaded it; "" without keys.
        filename: what its owner calls it; never a path of ours.
        purpose: what it was uploaded for.
        num_bytes: its size.
        created_at: seconds since 1970.
        sha256: of its contents.
    """

    id: str
    owner: str
    filename: str
    purpose: str
    num_bytes: int
    created_at: int
    sha256: str


class FileStore:
    """Files in a folder, each beside a small JSON file that tells of it; those of an earlier server are found again.

    Args:
        folder: that holds them, and nothing else.
        limits: how large they may be.
    """

    def __init__(self, folder: Path, limits: MediaLimits) -> None:
        self._folder, self._limits = folder, limits
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)
        self._files = {one.id: one for one in self._found()}
        self._coming: dict[str, int] = {}  # bytes of what is being uploaded

    @property
    def num_bytes(self) -> int:
        """Of all together."""
        with self._lock:
            return sum(one.num_bytes for one in self._files.values())

    def add(self, content: IO[bytes], filename: str, purpose: str, owner: str) -> StoredFile:
        """Keep a file that is a video or an image within the limits.

        Raises:
            RefusedError: it is none, it is too large, or no room is left.
        """
        name = f"file-{secrets.token_hex(16)}"
        path = self._folder / name
        shown = "".join(letter for letter in filename.replace("\\", "/").split("/")[-1] if letter.isprintable())
        shown = shown[:_LONGEST_NAME] or "file"
        try:
            sha256, num_bytes = self._written(content, path)
            check_file(path, self._limits)
            stored = StoredFile(name, owner, shown, purpose, num_bytes, int(time.time()), sha256)
            path.with_suffix(".json").write_text(json.dumps(asdict(stored)), encoding="utf-8")
        except BimbaError as error:
            path.unlink(missing_ok=True)
            raise refused(error, "file", {path: "the file"}) from error
        except OSError as error:
            path.unlink(missing_ok=True)
            logger.exception("an upload could not be kept")
            raise RefusedError(507, "the server has no room for the file.", code="storage_full") from error
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        else:
            with self._lock:
                self._files[name] = stored
            return stored
        finally:
            with self._lock:
                self._coming.pop(name, None)

    def of(self, owner: str) -> list[StoredFile]:
        """An owner's files, the newest first."""
        with self._lock:
            mine = [one for one in self._files.values() if one.owner == owner]
        return sorted(mine, key=lambda one: (one.created_at, one.id), reverse=True)

    def for_purpose(self, purpose: str) -> list[StoredFile]:
        """All that were uploaded for something, whoever did."""
        with self._lock:
            return [one for one in self._files.values() if one.purpose == purpose]

    def get(self, name: str, owner: str, param: str) -> StoredFile:
        """An owner's file.

        Raises:
            RefusedError: there is no such file of his.
        """
        with self._lock:
            stored = self._files.get(name)
        if stored is None or stored.owner != owner:
            raise RefusedError(404, "there is no such file; upload it to /v1/files.", code="no_such_file", param=param)
        return stored

    def open(self, name: str, owner: str) -> Media:
        """An owner's file as the video of a question.

        Raises:
            RefusedError: there is no such file of his.
        """
        stored = self.get(name, owner, "messages")
        return Media(self._folder / stored.id, "the file", stored.sha256)

    def delete(self, name: str, owner: str) -> None:
        """Delete an owner's file.

        Raises:
            RefusedError: there is no such file of his.
        """
        stored = self.get(name, owner, "file_id")
        with self._lock:
            self._files.pop(stored.id, None)
        for path in (self._folder / stored.id, self._folder / f"{stored.id}.json"):
            path.unlink(missing_ok=True)

    def _written(self, content: IO[bytes], path: Path) -> tuple[str, int]:
        """SHA-256 and size of what was written."""
        digest, num_bytes = hashlib.sha256(), 0
        with path.open("xb") as file:
            while block := content.read(_BLOCK):
                num_bytes += len(block)
                if num_bytes > self._limits.upload_bytes:
                    raise too_large(self._limits.upload_bytes, "file")
                if not self._has_room(path.name, num_bytes):
                    raise RefusedError(
                        507, "the server keeps no more files; delete some.", code="storage_full", param="file"
                    )
                digest.update(block)
                file.write(block)
        if not num_bytes:
            raise RefusedError(400, "the file is empty.", code="invalid_value", param="file")
        return digest.hexdigest(), num_bytes

    def _has_room(self, name: str, num_bytes: int) -> bool:
        """Whether there is room for so much of a file, beside those that are kept and those that come at the moment."""
        with self._lock:
            kept = sum(one.num_bytes for one in self._files.values())
            self._coming[name] = num_bytes
            return kept + sum(self._coming.values()) <= self._limits.stored_bytes

    def _found(self) -> list[StoredFile]:
        """What an earlier server left that is whole; what is not is removed."""
        found = []
        for path in self._folder.iterdir():
            if not _ID.fullmatch(path.name):
                continue
            try:
                stored = StoredFile(**json.loads(path.with_suffix(".json").read_text(encoding="utf-8")))
            except (OSError, TypeError, ValueError):
                path.unlink(missing_ok=True)
                continue
            found.append(stored)
        return found


def too_large(most_bytes: int, param: str | None) -> RefusedError:
    """Says that something is larger than is allowed."""
    message = f"it is larger than the {most_bytes:,} bytes that this server takes."
    return RefusedError(413, message, code="too_large", param=param)
