"""What a request calls a video in, a file that may be read out: an upload, bytes in the request, a path, an address."""

import base64
import hashlib
import logging
import os
import secrets
import stat
import threading
from collections.abc import Callable
from io import BufferedReader
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit

from bimba.serving.engine.ticket import Media, identity_of
from bimba.serving.media.fetching import Fetcher
from bimba.serving.media.files import FileStore, too_large
from bimba.serving.refusals import RefusedError
from bimba.serving.settings import MediaLimits

logger = logging.getLogger(__name__)

_KINDS = ("video/", "image/", "application/octet-stream")
_MOST_HASHES = 10_000
_BASE64_BLOCK = 1 << 20


class MediaOpener:
    """Finds the file that a request names.

    Args:
        files: that were uploaded.
        fetcher: of addresses.
        root: folder below which paths may lie; None for none.
        folder: for what comes along with requests, until they are answered.
        limits: how large that may be.
    """

    def __init__(
        self, files: FileStore, fetcher: Fetcher, root: Path | None, folder: Path, limits: MediaLimits
    ) -> None:
        self._files, self._fetcher, self._folder, self._limits = files, fetcher, folder, limits
        self._root = None if root is None else root.resolve(strict=True)
        self._hashes: dict[tuple[object, ...], str] = {}
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.iterdir():  # of a server that was killed
            left.unlink()

    def open_file(self, file_id: str, owner: str) -> Media:
        """An uploaded file.

        Raises:
            RefusedError: there is no such file of his.
        """
        return self._files.open(file_id, owner)

    def open_url(self, url: str) -> Media:
        """A data URL, a path below the media root, or an address.

        Raises:
            RefusedError: it is none of these, may not be read, or is too large.
        """
        scheme, colon, rest = url.partition(":")
        scheme = scheme.lower() if colon else ""
        if scheme == "data":
            return self._along(rest)
        if scheme in ("http", "https"):
            return self._fetched(url)
        if scheme in ("", "file"):
            return self._below_root(url)
        raise _invalid("the address begins with none of data:, file:, http: and https:.")

    def _along(self, rest: str) -> Media:
        """The bytes of a data URL."""
        kind, comma, content = rest.partition(",")
        words = kind.lower().split(";")
        if not comma or words[-1] != "base64" or not words[0].startswith(_KINDS):
            raise _invalid("a data URL has to begin as data:video/mp4;base64, or data:image/png;base64,.")
        if len(content) * 3 // 4 > self._limits.upload_bytes:
            raise too_large(self._limits.upload_bytes, "messages")
        if not content:
            raise _invalid("the data URL is empty.")
        return self._kept(lambda file: _write_decoded(content, file))

    def _fetched(self, url: str) -> Media:
        return self._kept(lambda file: self._fetcher.fetch(url, file))

    def _kept(self, write: Callable[[IO[bytes]], None]) -> Media:
        """A file that goes when the question is answered."""
        path = self._folder / secrets.token_hex(16)
        try:
            with path.open("xb") as file:
                write(file)
            with path.open("rb") as file:
                return Media(path, "the video", _sha256(file), is_temporary=True)
        except OSError as error:
            path.unlink(missing_ok=True)
            logger.exception("a video that came along could not be kept")
            raise RefusedError(507, "the server has no room for the video.", code="storage_full") from error
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def _below_root(self, url: str) -> Media:
        """A regular file below the media root, links followed; nobody is told whether others exist."""
        if self._root is None:
            raise _invalid("this server reads no paths (it was started without --media-root); upload the file.")
        misspelled = _invalid("a path is written file:NAME, or file:///FOLDER/NAME, with % for special letters.")
        try:
            parts = urlsplit(url)
        except ValueError as error:
            raise misspelled from error
        if parts.netloc not in ("", "localhost") or parts.query or parts.fragment:
            raise misspelled
        missing = RefusedError(404, "there is no such file in the media folder.", code="no_such_file", param="messages")
        try:
            path = (self._root / unquote(parts.path, errors="strict")).resolve(strict=True)
            if not path.is_relative_to(self._root):
                raise missing
            with _opened(path) as file:
                status = os.fstat(file.fileno())
                # Whoever writes to the folder may have put a link in the place of the file, or of a folder above it.
                is_it = path.resolve(strict=True) == path and identity_of(path.lstat()) == identity_of(status)
                if not is_it or not stat.S_ISREG(status.st_mode):
                    raise missing
                return Media(path, "the video", self._known_hash(path, status, file), identity=identity_of(status))
        except (OSError, ValueError, RuntimeError) as error:
            raise missing from error

    def _known_hash(self, path: Path, status: os.stat_result, file: BufferedReader) -> str:
        key = (str(path), *identity_of(status))
        with self._lock:
            known = self._hashes.get(key)
        if known is None:
            known = _sha256(file)
            with self._lock:
                if len(self._hashes) >= _MOST_HASHES:
                    self._hashes.clear()
                self._hashes[key] = known
        return known


def _opened(path: Path) -> BufferedReader:
    """A file, without following a link and without waiting for whoever writes to a pipe, where the system can do so."""
    careful = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    return open(path, "rb", opener=lambda name, flags: os.open(name, flags | careful))


def _write_decoded(content: str, file: IO[bytes]) -> None:
    """Write what base64 stands for, piece by piece: other threads run between two of them only."""
    misspelled = _invalid("what follows base64, in the data URL is no base64.")
    for start in range(0, len(content), _BASE64_BLOCK):
        block = content[start : start + _BASE64_BLOCK]
        is_last = start + _BASE64_BLOCK >= len(content)
        try:
            decoded = base64.b64decode(block, validate=True)
        except ValueError as error:
            raise misspelled from error
        if block.endswith("=") and not is_last:  # something is behind the end
            raise misspelled
        file.write(decoded)


def _sha256(file: BufferedReader) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()


def _invalid(message: str) -> RefusedError:
    return RefusedError(400, message, code="invalid_url", param="messages")
