"""Encoded videos in, kept on disk by what a video holds and how it was looked at; the oldest go when room is short."""

import hashlib
import json
import logging
import os
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from bimba.errors import BimbaError, VideoError
from bimba.inference.encoded import SUFFIX, EncodedVideo, read_encoded

logger = logging.getLogger(__name__)


class EncodedCache:
    """Encoded videos on disk.

    Args:
        folder: that holds them, and nothing else; those of an earlier server are found again.
        most_bytes: of all together; those that nobody asked about for longest go first.
        encoder: hash of the model that encodes, see `encoder_identity`.
    """

    def __init__(self, folder: Path, most_bytes: int, encoder: str) -> None:
        self._folder, self._most_bytes, self._encoder = folder, most_bytes, encoder
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)
        for partial in folder.glob(f".*{SUFFIX}.*.part"):  # of a server that was killed
            partial.unlink(missing_ok=True)

    def get(self, content: str, settings: dict[str, Any]) -> EncodedVideo | None:
        """An encoded video, if it is there and whole.

        Args:
            content: SHA-256 of the video.
            settings: how it is looked at.
        """
        path = self._path(content, settings)
        with self._lock:
            if not path.is_file():
                return None
            try:
                encoded = read_encoded(path)
                _mark_as_asked(path)
            except VideoError as error:
                logger.warning("an encoded video is damaged, and is made again: %s", error.problem)
                path.unlink(missing_ok=True)
                return None
            except OSError as error:
                logger.warning("an encoded video cannot be read, and is made again: %s", error.strerror)
                return None
        return encoded

    def put(self, content: str, settings: dict[str, Any], encoded: EncodedVideo) -> None:
        """Keep an encoded video; where that fails, it is encoded again the next time, and the log says so.

        Args:
            content: SHA-256 of the video.
            settings: how it was looked at.
            encoded: the video.
        """
        path = self._path(content, settings)
        # Known by its content: where the video lies, and whether it still does, does not matter.
        kept = EncodedVideo(encoded.features, replace(encoded.about, origin=None))
        with self._lock:
            if kept.features.nbytes > self._most_bytes:
                return
            try:
                kept.save(path)
                _mark_as_asked(path)
                self._make_room(path)
            except BimbaError as error:
                logger.warning("an encoded video is not kept: %s", error.problem)
            except OSError as error:
                logger.warning("an encoded video is not kept: %s", error.strerror)

    @property
    def num_bytes(self) -> int:
        """Of all together."""
        with self._lock:
            return sum(size for _, size, _ in self._files())

    def _make_room(self, newest: Path) -> None:
        files = sorted(self._files())
        total = sum(size for _, size, _ in files)
        for _, size, path in files:
            if total <= self._most_bytes:
                return
            if path != newest:
                path.unlink(missing_ok=True)
                total -= size

    def _files(self) -> list[tuple[int, int, Path]]:
        """When each was last asked for, and its size."""
        status = [(path.stat(), path) for path in self._folder.glob(f"*{SUFFIX}")]
        return [(one.st_mtime_ns, one.st_size, path) for one, path in status]

    def key(self, content: str, settings: dict[str, Any]) -> str:
        """What an encoded video is called.

        Args:
            content: SHA-256 of the video.
            settings: how it is looked at.
        """
        told = json.dumps([content, self._encoder, settings], sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()

    def _path(self, content: str, settings: dict[str, Any]) -> Path:
        return self._folder / f"{self.key(content, settings)}{SUFFIX}"


def _mark_as_asked(path: Path) -> None:
    """Note when a file was last asked for; the system's own clock for files is too coarse to tell two apart."""
    now = time.time_ns()
    os.utime(path, ns=(now, now))
