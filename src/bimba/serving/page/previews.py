"""A video that a browser cannot play in, a small one that it can out: some of its frames, at their own times.

Shapes: H x W of a frame.
"""

import logging
import secrets
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
from av.video.stream import VideoStream

from bimba.errors import BimbaError
from bimba.serving.engine.ticket import Media
from bimba.serving.media.checking import check_video, open_isolated
from bimba.serving.refusals import RefusedError, refused
from bimba.serving.settings import MediaLimits
from bimba.video.info import VideoInfo
from bimba.video.source import Video

logger = logging.getLogger(__name__)

MOST_FRAMES = 600
MOST_A_SECOND = 5
MOST_HEIGHT, MOST_WIDTH = 360, 640
_MOST_PREVIEWS = 32
_TICKS = 1000
"""Of a second, in which times are told; whole frames a second would move them."""


class Previews:
    """Previews in a folder, by what the video holds; the oldest go.

    Args:
        folder: that holds them, and nothing else.
        limits: of decoding, which bound how long one takes.
    """

    def __init__(self, folder: Path, limits: MediaLimits) -> None:
        self._folder, self._limits = folder, limits
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.iterdir():  # of an earlier server
            left.unlink()

    def of(self, media: Media) -> Path:
        """The preview of a video; made now, if it is not there.

        Raises:
            RefusedError: none can be made.
        """
        path = self._folder / f"{media.sha256}.mp4"
        if path.is_file():
            return path
        partial = self._folder / f"{secrets.token_hex(8)}.partial"
        try:
            with open_isolated(media.path, self._limits) as video:
                check_video(video, self._limits)
                self._write(video, partial)
            partial.replace(path)
        except BimbaError as error:
            raise refused(error, "file", {media.path: media.name}) from error
        except (av.FFmpegError, OSError) as error:
            logger.warning("a preview could not be written: %s", type(error).__name__)
            raise _none("no preview of it can be made here") from error
        finally:
            partial.unlink(missing_ok=True)
        self._forget_oldest()
        return path

    def _write(self, video: Video, path: Path) -> None:
        info = video.info
        if not info.is_timed:
            raise _none("it has no times, so that there is nothing to play")
        indices = _chosen(info)
        deadline = time.monotonic() + self._limits.decode_seconds
        with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
            stream = _stream(container.add_stream("libx264", rate=MOST_A_SECOND, options=_ENCODER), info)
            for picture in _pictures(video, indices, stream):
                if time.monotonic() > deadline:
                    raise _none("making a preview took longer than this server allows")
                container.mux(stream.encode(picture))
            container.mux(stream.encode(None))

    def _forget_oldest(self) -> None:
        kept = sorted(self._folder.glob("*.mp4"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
        for old in kept[_MOST_PREVIEWS:]:
            old.unlink(missing_ok=True)


_ENCODER = {"preset": "veryfast", "crf": "28"}


def _chosen(info: VideoInfo) -> list[int]:
    """Frames from the first to the last, no more a second than a preview has, and no more than it may have."""
    wanted = min(MOST_FRAMES, info.num_frames, max(2, round(info.duration_seconds * MOST_A_SECOND)))
    step = max(wanted - 1, 1)
    return sorted({round(number * (info.num_frames - 1) / step) for number in range(wanted)})


def _stream(stream: object, info: VideoInfo) -> VideoStream:
    """The stream, set up for frames of a video."""
    if not isinstance(stream, VideoStream):
        raise TypeError("libx264 opened no video stream")
    width, height = info.display_size
    scale = min(1.0, MOST_WIDTH / width, MOST_HEIGHT / height)
    stream.width, stream.height = (max(2, round(side * scale) // 2 * 2) for side in (width, height))
    stream.pix_fmt = "yuv420p"
    stream.time_base = stream.codec_context.time_base = Fraction(1, _TICKS)
    return stream


def _pictures(video: Video, indices: list[int], stream: VideoStream) -> Iterator[av.VideoFrame]:
    """The frames at their times; the last one stands until the end."""
    picture = None
    for index, frame in zip(indices, video.frames(indices), strict=True):
        picture = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(stream.width, stream.height, "yuv420p")
        picture.pts, picture.time_base = round(video.info.frame_seconds[index] * _TICKS), Fraction(1, _TICKS)
        yield picture
    end = round(video.info.duration_seconds * _TICKS)
    if picture is not None and picture.pts is not None and end > picture.pts + 1:
        last = av.VideoFrame.from_ndarray(picture.to_ndarray(format="rgb24"), format="rgb24").reformat(format="yuv420p")
        last.pts, last.time_base = end - 1, Fraction(1, _TICKS)
        yield last


def _none(why: str) -> RefusedError:
    return RefusedError(400, f"{why}.", code="no_preview", param="file")
