"""A video that nobody vouches for in, its frames out; they are decoded in a process of its own, within limits.

FFmpeg is a million lines of C that parse what strangers send. A file that crashes it, keeps it busy for ever or makes
it take all memory ends that process and becomes a `VideoError`; the caller goes on. `worker` is the other side.
"""

import logging
import math
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Literal, get_args

import numpy as np

from bimba.errors import BimbaError, InputError, VideoError
from bimba.video.containers.opening import MAX_PIXELS
from bimba.video.info import FileStamp, Kind, RGBFrame, VideoInfo
from bimba.video.isolation.messages import Message, read_message, write_message

logger = logging.getLogger(__name__)

_GIBI = 2**30
_LAST_MOMENT_SECONDS = 2.0


@dataclass(frozen=True)
class Limits:
    """How much decoding one video may take.

    Attributes:
        seconds: of waiting for the worker: once for what the file holds, and once for each request of frames.
        memory_bytes: of the worker's address space; kept by the system, on Linux only.
    """

    seconds: float = 120.0
    memory_bytes: int = 4 * _GIBI

    def __post_init__(self) -> None:
        if not (0 < self.seconds < math.inf and self.memory_bytes >= _GIBI // 2):
            raise InputError(
                f"The limits are {self.seconds} seconds and {self.memory_bytes / _GIBI:.2f} GiB.",
                fix="allow more than 0 seconds, not without end, and at least half a GiB; Python and FFmpeg need that.",
            )


class IsolationError(VideoError):
    """The process that decoded a video was ended, or ended itself.

    Attributes:
        reason: "crash" (a signal, or an exit on its own), "time" or "memory".
    """

    def __init__(self, problem: str, *, fix: str, reason: Literal["crash", "time", "memory"]) -> None:
        super().__init__(problem, fix=fix)
        self.reason = reason


class Worker:
    """A process that has one video open.

    Args:
        path: the file or folder.
        options: keyword arguments of `probe`.
        backend: as `iter_frames` takes it.
        limits: what ends it.

    Attributes:
        info: what the video holds.

    Raises:
        VideoError: the video cannot be read, or not within the limits.
    """

    def __init__(self, path: Path, options: dict[str, Any], backend: str, limits: Limits) -> None:
        self._path, self._limits = path, limits
        if sys.platform != "linux":
            logger.warning("the memory limit of isolated decoding is not kept on %s", sys.platform)
        self._process = subprocess.Popen(
            # -P: a file in the working folder must not stand in for a module.
            [sys.executable, "-P", "-m", "bimba.video.isolation.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self.close = weakref.finalize(self, _end, self._process)
        self._is_answering = False
        request = {"path": str(path), "options": options, "backend": backend, "limits": asdict(limits)}
        patience = _Patience(limits.seconds)
        self._send(request, patience)
        self.info = self._read_info(patience)

    @property
    def is_free(self) -> bool:
        """Whether it can be asked for frames: it has not ended, and is not in the middle of an answer."""
        return self._process.poll() is None and not self._is_answering

    def frames(self, indices: Sequence[int]) -> Generator[RGBFrame]:
        """Decode wanted frames, ascending; an iteration that is given up ends the process.

        Raises:
            VideoError: a frame does not come, or not within the limits.
        """
        patience = _Patience(self._limits.seconds)
        self._is_answering = True
        try:
            self._send({"frames": [int(index) for index in indices]}, patience)
            for _ in indices:
                yield self._read_frame(patience)
            self._next("done", patience)
            self._is_answering = False
        finally:
            if self._is_answering:
                self.close()

    def _read_info(self, patience: "_Patience") -> VideoInfo:
        header, seconds = self._next("info", patience)
        try:
            fields: dict[str, Any] = header["info"]
            fields["stamp"] = None if fields["stamp"] is None else FileStamp(*fields["stamp"])
            fields["pictures"] = tuple(Path(picture) for picture in fields["pictures"])
            frame_seconds = np.frombuffer(seconds)
            if _is_plausible(fields, len(frame_seconds)) and np.isfinite(frame_seconds).all():
                return VideoInfo(path=self._path, frame_seconds=frame_seconds, **fields)
        except (KeyError, TypeError, ValueError) as error:
            raise self._lost() from error
        raise self._lost()

    def _read_frame(self, patience: "_Patience") -> RGBFrame:
        _, content = self._next("frame", patience)
        try:
            return np.frombuffer(content, dtype=np.uint8).reshape(self.info.height, self.info.width, 3).copy()
        except ValueError as error:
            raise self._lost() from error

    def _send(self, request: dict[str, Any], patience: "_Patience") -> None:
        try:
            with patience.limiting(self._process):
                write_message(_pipe(self._process.stdin), request)
        except OSError as error:
            raise (self._late() if patience.is_over else self._lost()) from error

    def _next(self, kind: str, patience: "_Patience") -> Message:
        """The next message of a kind; logs on the way are logged here, errors raised here."""
        while True:
            with patience.limiting(self._process):
                message = read_message(_pipe(self._process.stdout))
            if patience.is_over:
                raise self._late()
            if message is None:
                raise self._lost()
            header, _ = message
            if kind in header:
                return message
            try:
                if "error" in header:
                    raise self._told(header["error"])
                name, level, text = header["log"]
                logging.getLogger(name).log(level, "%s", text)
            except (KeyError, TypeError, ValueError) as error:  # no worker of ours sends such a message
                raise self._lost() from error

    def _told(self, error: dict[str, str]) -> BimbaError:
        self.close()
        if error["type"] == "MemoryError":
            return IsolationError(
                f"{self._path} needs more than {self._limits.memory_bytes / _GIBI:.1f} GiB to be decoded.",
                fix="allow more if the file is good, e.g. isolate=Limits(memory_bytes=8 * 2**30).",
                reason="memory",
            )
        kind = InputError if error["type"] == InputError.__name__ else VideoError
        return kind(error["problem"], fix=error["fix"])

    def _late(self) -> IsolationError:
        self.close()
        return IsolationError(
            f"{self._path} was not decoded within {self._limits.seconds:g} seconds.",
            fix="allow more time if the file is good, e.g. isolate=Limits(seconds=600).",
            reason="time",
        )

    def _lost(self) -> IsolationError:
        try:
            # A process closes its pipe shortly before it ends; killed in between, it would not tell how it ended.
            code = self._process.wait(timeout=_LAST_MOMENT_SECONDS)
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
        except subprocess.TimeoutExpired:
            how = "killed, because it sent what is no message"
        self.close()
        if self._process.returncode > 0:
            return IsolationError(
                f"the process that was to decode {self._path} failed ({how}).",
                fix="see whether this starts without a word: python -P -m bimba.video.isolation.worker < /dev/null",
                reason="crash",
            )
        return IsolationError(
            f"{self._path} ended the process that decoded it ({how}).",
            fix="the file is damaged or hostile; re-encode it where it plays: ffmpeg -i in.mp4 -c:v libx264 out.mp4.",
            reason="crash",
        )


class _Patience:
    """Kills a process that is waited for too long; only waiting counts, so that a slow reader is not its fault."""

    def __init__(self, seconds: float) -> None:
        self._left = seconds
        self.is_over = False

    @contextmanager
    def limiting(self, process: "subprocess.Popen[bytes]") -> Iterator[None]:
        """A block of waiting, which ends within the time that is left: killed, the process sends no more."""

        def end() -> None:
            self.is_over = True
            process.kill()

        start = time.monotonic()
        timer = threading.Timer(self._left, end)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            self._left = max(self._left - (time.monotonic() - start), 0.0)


def _is_plausible(fields: dict[str, Any], num_times: int) -> bool:
    """Whether a worker tells what it may tell; one that a file has taken over may send anything."""
    sizes = [fields[name] for name in ("width", "height", "num_frames")]
    rates = [fields[name] for name in ("average_fps", "pixel_aspect", "start_seconds")]
    return (
        all(type(size) is int and size > 0 for size in sizes)
        and sizes[0] * sizes[1] <= MAX_PIXELS
        and all(type(rate) in (int, float) and 0 <= rate < float("inf") for rate in rates)
        and all(rates[:2])
        and type(fields["is_timed"]) is bool
        and type(fields["codec"]) is str
        and fields["kind"] in get_args(Kind)
        and num_times == sizes[2]
    )


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise ValueError("the worker was started without pipes")
    return pipe


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):  # closing sends what it did not take
                pipe.close()
