"""A video as people have it in (a file, a folder of pictures, a pipe; a part of it), its frames out.

`Video` ties the stages of this package together, and remembers what was found, so that a file is probed once.
"""

import shutil
import stat
import sys
import tempfile
import weakref
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from bimba.errors import InputError, VideoError
from bimba.video.decode import check_backend, check_indices, iter_frames
from bimba.video.info import RGBFrame, VideoInfo
from bimba.video.isolation import Limits, Worker
from bimba.video.probe import probe
from bimba.video.sampling import frames_between, parse_seconds

STDIN = "-"
"""Names the standard input, as everywhere on command lines."""


class Video:
    """A video file, an image, an animation, a folder of pictures or a pipe, and how to read it.

    Nothing is read until it is needed. What comes through a pipe is written to a temporary file first, since frames are
    not asked for in one go; the file goes away with the object, or at `close`.

    Args:
        source: a path; "-" for the standard input; or a binary file object, which is read to its end.
        start: where the part of interest begins, in seconds or as "1:02:03.5"; times stay those of the file.
        end: where it ends.
        video_stream: which of several video streams, from 0; the default one if not given.
        image_fps: pictures a second of a folder, which has no times otherwise.
        allow_truncated: of a file that ends early, use what is there.
        backend: "pyav", or "torchcodec" (extra `torchcodec`).
        isolate: decode in a process of its own, so that a hostile file ends that process and not this one; True, or
            the limits of time and memory.

    Raises:
        InputError: an option is out of range.
    """

    def __init__(
        self,
        source: str | Path | BinaryIO,
        *,
        start: str | float | None = None,
        end: str | float | None = None,
        video_stream: int | None = None,
        image_fps: float | None = None,
        allow_truncated: bool = False,
        backend: str = "pyav",
        isolate: bool | Limits = False,
    ) -> None:
        check_backend(backend)
        self.source = source
        self.start = None if start is None else parse_seconds(start)
        self.end = None if end is None else parse_seconds(end)
        self._options: dict[str, Any] = {
            "video_stream": video_stream,
            "image_fps": image_fps,
            "allow_truncated": allow_truncated,
        }
        self._backend = backend
        self._limits = Limits() if isolate is True else isolate or None
        self._worker: Worker | None = None
        self._remove_copy: weakref.finalize[..., Any] | None = None

    def __repr__(self) -> str:
        """As it was made."""
        return f"Video({self.source!r}, start={self.start}, end={self.end})"

    def __enter__(self) -> "Video":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def reading(self) -> dict[str, Any]:
        """Options that decide which frame has which number."""
        return dict(self._options)

    @cached_property
    def info(self) -> VideoInfo:
        """What it holds.

        Raises:
            VideoError: it cannot be read.
            InputError: an option does not fit it.
        """
        if self._limits is not None:
            return self._isolated().info
        return probe(self._path, **self._options)

    @property
    def indices(self) -> range:
        """Frame numbers of the part between `start` and `end`.

        Raises:
            VideoError: the video cannot be read.
            InputError: the part lies outside of it, or it has no times.
        """
        if self.start is None and self.end is None:
            return range(self.info.num_frames)
        if not self.info.is_timed:
            raise InputError(
                f"{self.info.path} has no times, so that no part of it can be named by time.",
                fix="leave --start and --end out; of a folder of pictures, tell how many a second with --image-fps.",
            )
        return frames_between(self.info.frame_seconds, self.info.duration_seconds, self.start, self.end)

    def frames(self, indices: Sequence[int], *, on_frame: Callable[[int], None] | None = None) -> Generator[RGBFrame]:
        """Decode frames, one at a time.

        Args:
            indices: T frame numbers of the whole video, ascending.
            on_frame: called after each frame with the number of frames so far.

        Returns:
            A generator of T arrays, uint8 RGB [H, W, 3], upright.

        Raises:
            VideoError: while iterating, a frame does not come.
        """
        if self._limits is None:
            return iter_frames(self.info, indices, on_frame=on_frame, backend=self._backend)
        check_indices(self.info, indices)
        return self._isolated_frames(indices, on_frame)

    def close(self) -> None:
        """End the worker and remove the copy of what came through a pipe; reading again starts anew, if it can."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None
        if self._remove_copy is not None:
            self._remove_copy()

    def _isolated_frames(self, indices: Sequence[int], on_frame: Callable[[int], None] | None) -> Generator[RGBFrame]:
        self.info.check_unchanged()  # another worker may have found the numbers
        with closing(self._isolated().frames(indices)) as frames:
            for num_delivered, frame in enumerate(frames, start=1):
                yield frame
                if on_frame is not None:
                    on_frame(num_delivered)
        self.info.check_unchanged()  # the worker is ahead, and may have looked before

    def _isolated(self) -> Worker:
        """The worker; a new one if the last was ended, or answers another iteration just now."""
        if self._limits is None:
            raise ValueError("this video is not decoded in isolation")
        if self._worker is None or not self._worker.is_free:
            self._worker = Worker(self._path, self._options, self._backend, self._limits)
        return self._worker

    @cached_property
    def _path(self) -> Path:
        """The file or folder; a copy of what comes through a pipe."""
        if isinstance(self.source, str | Path):
            path = Path(self.source)
            if str(self.source) == STDIN:
                if sys.stdin is None or sys.stdin.isatty():
                    raise InputError(
                        "- stands for a video that comes through a pipe, but none does.",
                        fix='pass one: bimba ask - "What happens?" < talk.mp4',
                    )
                return self._copied(sys.stdin.buffer)
            if not _is_pipe(path):
                return path
            try:
                with path.open("rb") as pipe:
                    return self._copied(pipe)
            except PermissionError as error:
                raise VideoError(f"{path} may not be read by you.", fix="ask for the right to read it.") from error
        return self._copied(self.source)

    def _copied(self, pipe: BinaryIO) -> Path:
        folder = tempfile.mkdtemp(prefix="bimba-")
        self._remove_copy = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        path = Path(folder) / "piped-video"
        try:
            with path.open("wb") as copy:
                shutil.copyfileobj(pipe, copy, 2**20)
        except (TypeError, UnicodeDecodeError) as error:  # a file that was opened as text
            self._remove_copy()
            raise InputError("the file object gives text.", fix='open it with "rb".') from error
        except OSError as error:
            self._remove_copy()
            raise VideoError(
                f"what came through the pipe could not be kept in {folder}: {error.strerror}.",
                fix="make room there, or set TMPDIR to a folder that has some.",
            ) from error
        if not path.stat().st_size:
            self._remove_copy()
            raise VideoError(
                "nothing came through the pipe.",
                fix="check that the command before it works, and writes to its output.",
            )
        return path


def _is_pipe(path: Path) -> bool:
    try:
        return stat.S_ISFIFO(path.stat().st_mode)
    except (OSError, ValueError):  # `probe` says what is wrong with it
        return False
