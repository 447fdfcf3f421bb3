"""A video as people have it in, its chosen frames and their times out.

Shapes: T chosen frames, H x W of a frame.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from bimba.errors import InputError
from bimba.video.decode import iter_frames
from bimba.video.probe import probe
from bimba.video.sampling import check_sampling, choose_frames, every_nth

logger = logging.getLogger(__name__)

Video = str | Path | np.ndarray | torch.Tensor
"""A file (video or image), or frames that are chosen already, uint8 [T, H, W, 3]."""

Frames = Callable[[], Iterator[np.ndarray]]


@dataclass(frozen=True)
class Clip:
    """Chosen frames of a video, not decoded yet.

    Args:
        num_frames: T.
        frames: decodes them when called, one by one, each uint8 [H, W, 3].
        frame_seconds: their times from the file's start; empty where they are unknown.
        printed_seconds: times as the time sentence prints them.
        duration_seconds: length of the file, 0 for an image or where it is unknown.
    """

    num_frames: int
    frames: Frames
    frame_seconds: tuple[float, ...]
    printed_seconds: tuple[float, ...]
    duration_seconds: float

    @property
    def has_times(self) -> bool:
        """Whether a time sentence can be said of it; the public code leaves it out for images, too."""
        return self.duration_seconds > 0


class ClipFile:
    """A video file that was probed once, from which frames may be chosen several times."""

    def __init__(self, path: str | Path) -> None:
        self._info = probe(path)

    def choose(self, num_frames: int, sampling: str) -> Clip:
        """Choose frames: "uniform" or "fps" (one a second, if they fit)."""
        info = self._info
        if sampling == "fps" and len(every_nth(info.num_frames, info.average_fps, fps=1.0)) > num_frames:
            logger.warning(
                "one frame a second is more than %d frames; they are chosen uniformly over %.0f seconds.",
                num_frames,
                info.duration_seconds,
            )
        return self.shortened(num_frames, sampling)

    def shortened(self, num_frames: int, sampling: str) -> Clip:
        """As `choose`, without a word; to find out how many frames would fit into a prompt."""
        info = self._info
        choice = choose_frames(info.num_frames, info.average_fps, num_frames, sampling=sampling)
        seconds = tuple(float(info.frame_seconds[index]) for index in choice.indices)
        return Clip(
            num_frames=len(choice.indices),
            frames=lambda: iter_frames(info, choice.indices),
            frame_seconds=seconds,
            # At a constant rate both are index / average fps; where the rate varies, the true times are told.
            printed_seconds=choice.printed_seconds if sampling == "fps" else seconds,
            duration_seconds=info.duration_seconds,
        )


class ClipArray:
    """Frames that the caller decoded and chose; they are all taken, and their times are unknown."""

    def __init__(self, frames: np.ndarray | torch.Tensor) -> None:
        if frames.dtype not in (np.uint8, torch.uint8) or frames.ndim != 4 or frames.shape[-1] != 3 or not len(frames):
            raise InputError(
                f"frames must be uint8 [T, H, W, 3] with T >= 1; these are {frames.dtype} {list(frames.shape)}.",
                fix="convert them, e.g. (frames * 255).astype('uint8'), or pass the path of the video.",
            )
        self._frames: np.ndarray = frames.cpu().numpy() if isinstance(frames, torch.Tensor) else frames

    def choose(self, num_frames: int, sampling: str) -> Clip:
        """All frames, whatever is asked: they are chosen already."""
        check_sampling(sampling)
        return self.shortened(max(num_frames, len(self._frames)), sampling)

    def shortened(self, num_frames: int, sampling: str) -> Clip:
        """The first frames only; to find out how many would fit into a prompt."""
        del sampling
        frames = self._frames[:num_frames]
        return Clip(len(frames), lambda: iter(frames), (), (), 0.0)


def open_video(video: Video) -> ClipFile | ClipArray:
    """Probe a file, or check frames.

    Raises:
        VideoError: the file cannot be read as a video or image.
        InputError: frames of another shape or dtype.
    """
    if isinstance(video, str | Path):
        return ClipFile(video)
    if isinstance(video, np.ndarray | torch.Tensor):
        return ClipArray(video)
    raise InputError(
        f"the video is a {type(video).__name__}.", fix="pass a path, or frames as a uint8 array [T, H, W, 3]."
    )
