"""A video of the user's as a haystack: a file and a start go in, its frames at chosen times come out."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from bimba.errors import InputError
from bimba.needles.haystacks.procedural import FrameArray
from bimba.video.info import VIDEO_SUFFIXES
from bimba.video.source import Video

FRAMES_AT_ONCE = 32
"""Frames that are decoded together: bounds the memory."""


class FromVideo:
    """Frames of a video, from a random moment on; where it ends it begins anew."""

    def __init__(self, rng: np.random.Generator, width: int, height: int, path: Path) -> None:
        self.kind = f"video {path.name}"
        self._size = (width, height)
        self._video = Video(path)
        info = self._video.info
        self._num_frames = info.num_frames
        self._fps = info.average_fps
        self._offset = int(rng.integers(self._num_frames))

    def frame(self, seconds: float) -> FrameArray:
        """Return the frame uint8 ``[H, W, 3]`` at a time in seconds."""
        return next(self.frames([seconds]))

    def frames(self, times: Sequence[float]) -> Iterator[FrameArray]:
        """Yield the frames uint8 ``[H, W, 3]`` at times in seconds, cut to the frame's shape.

        Raises:
            VideoError: the file cannot be decoded.
        """
        # A little more, since 0.29 s at 100 frames a second are 28.999999999999996 frames.
        numbers = [(self._offset + int(seconds * self._fps + 1e-6)) % self._num_frames for seconds in times]
        for start in range(0, len(numbers), FRAMES_AT_ONCE):
            chunk = numbers[start : start + FRAMES_AT_ONCE]
            wanted = sorted(set(chunk))
            decoded = dict(zip(wanted, map(self._fitted, self._video.frames(wanted)), strict=True))
            yield from (decoded[number] for number in chunk)

    def _fitted(self, frame: FrameArray) -> FrameArray:
        """The middle of a frame, as large as it can be cut in the shape that is asked for."""
        height, width = frame.shape[:2]
        share = min(width / self._size[0], height / self._size[1])
        cut = (self._size[0] * share, self._size[1] * share)
        left, top = (width - cut[0]) / 2, (height - cut[1]) / 2
        image = Image.fromarray(frame)
        box = (left, top, left + cut[0], top + cut[1])
        return np.asarray(image.resize(self._size, Image.Resampling.BICUBIC, box=box))


def list_videos(folder: Path) -> tuple[Path, ...]:
    """Return the videos of a folder in order of name.

    Raises:
        InputError: there is no such folder, or it has no videos.
    """
    if not folder.is_dir():
        known = ", ".join(VIDEO_SUFFIXES)
        raise InputError(f"there is no folder of videos {folder}.", fix=f"pass a folder of {known} files.")
    videos = tuple(sorted(path for path in folder.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES))
    if not videos:
        raise InputError(f"{folder} has no videos.", fix="put some there, or leave --haystack out.")
    return videos
