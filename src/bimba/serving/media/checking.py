"""A video file in, whether it is one and within the limits out; it is looked at in a process of its own."""

from pathlib import Path

from bimba.errors import InputError, VideoError
from bimba.serving.settings import MediaLimits
from bimba.video.info import VideoInfo
from bimba.video.isolation import Limits
from bimba.video.source import Video


def open_isolated(
    path: Path, limits: MediaLimits, start: str | float | None = None, end: str | float | None = None
) -> Video:
    """A video whose frames come from a process of its own; nothing is read yet."""
    isolation = Limits(seconds=limits.decode_seconds, memory_bytes=limits.decode_bytes)
    return Video(path, start=start, end=end, isolate=isolation)


def check_video(video: Video, limits: MediaLimits) -> VideoInfo:
    """What a video holds, if that is within the limits.

    Raises:
        VideoError: it cannot be read.
        InputError: it is larger or longer than is allowed.
    """
    info = video.info
    if info.width * info.height > limits.pixels:
        raise InputError(
            f"its frames have {info.width} x {info.height} pixels; this server takes {limits.pixels:,} at most.",
            fix="scale it down: ffmpeg -i in.mp4 -vf scale=1280:-2 out.mp4.",
        )
    if info.duration_seconds > limits.duration_seconds:
        raise InputError(
            f"it lasts {info.duration_seconds:,.0f} seconds; this server takes {limits.duration_seconds:,.0f} at most.",
            fix="send a part of it.",
        )
    if info.num_frames > limits.frames:
        raise InputError(
            f"it has {info.num_frames:,} frames; this server takes {limits.frames:,} at most.",
            fix="send a part of it, or fewer frames a second.",
        )
    return info


def check_file(path: Path, limits: MediaLimits) -> VideoInfo:
    """As `check_video`, of a file; a frame is decoded, since a header may promise what does not come.

    Raises:
        VideoError: it cannot be read.
        InputError: it is larger or longer than is allowed.
    """
    with open_isolated(path, limits) as video:
        info = check_video(video, limits)
        if not list(video.frames([0])):
            raise VideoError(f"{path} gives no frame.", fix="re-encode it (ffmpeg -i in.mp4 out.mp4).")
        return info
