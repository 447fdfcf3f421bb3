"""A file that is being written in, its bytes out as they come; and whether what is there can be read before its end."""

import os
import select
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from bimba.errors import VideoError

POLL_SECONDS = 0.1
_BOX_BYTES, _LARGE_BOX_BYTES = 8, 16  # of an mp4 box's header, with a size of 32 or of 64 bits

Order = Literal["streamed", "finished", "unindexed", "unknown"]


class GrowingFile:
    """What FFmpeg reads from, without seeking; at its end it waits for more.

    A pipe ends when its writer closes it, a file when it has not grown for a while.

    Args:
        path: the file.
        patience: seconds without growth that mean the end.
        stopped: set by whoever wants no more.
        on_wait: called when all that is there was read, once each time.
    """

    def __init__(
        self, path: Path, patience: float, stopped: threading.Event, on_wait: Callable[[], None] | None = None
    ) -> None:
        self._path, self._patience, self._stopped, self._on_wait = path, patience, stopped, on_wait
        self._file = path.open("rb", buffering=0)
        self._is_pipe = stat.S_ISFIFO(os.fstat(self._file.fileno()).st_mode)
        self._is_over = False

    def read(self, size: int) -> bytes:
        """The next bytes, at most so many; none at the end, and then for ever.

        Raises:
            VideoError: the file became shorter than what was read of it.
        """
        waiting_since: float | None = None
        while not (self._is_over or self._stopped.is_set()):
            if self._is_ready():
                content = self._file.read(size)
                if content:
                    return content
                if self._is_pipe:
                    break
            self._check_length()
            if waiting_since is None:
                waiting_since = time.monotonic()
                if self._on_wait is not None:
                    self._on_wait()
            if not self._is_pipe and time.monotonic() - waiting_since >= self._patience:
                break
            self._stopped.wait(POLL_SECONDS)
        # FFmpeg asks once more at an end; what was written since would follow a gap.
        self._is_over = True
        return b""

    def close(self) -> None:
        """Release the file."""
        self._file.close()

    def _is_ready(self) -> bool:
        """Whether reading returns at once; of an empty pipe it would wait for the writer."""
        return not self._is_pipe or bool(select.select([self._file], [], [], 0)[0])

    def _check_length(self) -> None:
        if self._is_pipe:
            return
        there, read = os.fstat(self._file.fileno()).st_size, self._file.tell()
        if there < read:
            raise VideoError(
                f"{self._path} was cut to {there:,} bytes while it was read; {read:,} were there.",
                fix="watch a file that is only added to; start again for a new recording.",
            )


def wait_for_order(path: Path, patience: float, stopped: threading.Event) -> Order:
    """As `order_of`, but waits until enough of the file is there to tell."""
    begun = time.monotonic()
    while (order := order_of(path)) == "unknown" and time.monotonic() - begun < patience and not stopped.is_set():
        stopped.wait(POLL_SECONDS)
    return order


def order_of(path: Path) -> Order:
    """Whether a file can be read from its beginning on while it is being written.

    An mp4 that is no fragmented one cannot: its index, without which nothing in it can be found, is written last
    (ISO/IEC 14496-12, section 4.2 for boxes).

    Returns:
        "streamed" if it can; "finished" for an mp4 whose index is there, at its end; "unindexed" for one whose index is
        not there yet; "unknown" where too little is there to tell.
    """
    has_media, start = False, 0
    with path.open("rb") as file:
        while True:
            file.seek(start)
            header = file.read(_LARGE_BOX_BYTES)
            kind, size = header[4:_BOX_BYTES], int.from_bytes(header[:4], "big")
            if start == 0 and len(header) >= _BOX_BYTES and kind != b"ftyp":
                return "streamed"
            if kind == b"moov":
                return "finished" if has_media else "streamed"
            has_media = has_media or kind == b"mdat"
            if size == 1 and len(header) == _LARGE_BOX_BYTES:  # the size follows in 64 bits
                size = int.from_bytes(header[_BOX_BYTES:], "big")
            if len(header) < _BOX_BYTES or size < _BOX_BYTES:  # 0: up to the end of the file, wherever that will be
                return "unindexed" if has_media else "unknown"
            start += size
