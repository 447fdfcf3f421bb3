"""A video as people have it in, its chosen frames and their times out.

Shapes: T chosen frames, H x W of a frame.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from bimba.errors import InputError
from bimba.models.kinds import VideoFeatures
from bimba.video.sampling import (
    RELEASED_FPS,
    SamplingOrRate,
    check_sampling,
    choose_frames,
    every_nth,
    wanted_rate,
)
from bimba.video.source import Video

logger = logging.getLogger(__name__)

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
        indices: their numbers in the file; empty where they come from no file.
        features: of a video that was encoded before; None where its frames are to be looked at.
        frame_size: (H, W); None where nobody knows.
        pooling: by how much time and the sides of a frame were pooled when it was encoded; None where its frames are to
            be looked at, or nobody knows.
    """

    num_frames: int
    frames: Frames
    frame_seconds: tuple[float, ...]
    printed_seconds: tuple[float, ...]
    duration_seconds: float
    indices: tuple[int, ...] = ()
    features: VideoFeatures | None = None
    frame_size: tuple[int, int] | None = None
    pooling: tuple[int, int] | None = None

    @property
    def has_times(self) -> bool:
        """Whether a time sentence can be said of it; the public code leaves it out for images, too."""
        return self.duration_seconds > 0


class ClipFile:
    """A video from which frames may be chosen several times.

    Args:
        video: a file, a folder of pictures or a pipe, with the part of it that matters.

    Raises:
        VideoError: it cannot be read.
        InputError: the part that matters lies outside of it.
    """

    def __init__(self, video: Video) -> None:
        self.video, self.info = video, video.info
        self._part = video.indices

    def choose(self, num_frames: int, sampling: SamplingOrRate) -> Clip:
        """Choose frames: "uniform", "fps" (one a second, if they fit) or a number (so many a second, if they fit)."""
        rate = wanted_rate(sampling)
        if rate is not None:
            self.check_timed()
            if len(every_nth(len(self._part), self.info.average_fps, rate)) > num_frames:
                logger.warning(
                    "%s is more than %d frames; they are chosen uniformly over %.0f seconds.",
                    "one frame a second" if rate == 1 else f"{rate:g} frames a second",
                    num_frames,
                    len(self._part) / self.info.average_fps,
                )
        return self.shortened(num_frames, sampling)

    def shortened(self, num_frames: int, sampling: SamplingOrRate) -> Clip:
        """As `choose`, without a word; to find out how many frames would fit into a prompt."""
        info, part, video = self.info, self._part, self.video
        choice = choose_frames(len(part), info.average_fps, num_frames, sampling=sampling)
        indices = tuple(part[index] for index in choice.indices)
        seconds = tuple(float(info.frame_seconds[index]) for index in indices)
        # Of whole videos the model learned times that are not quite right, see `choose_frames`; where the true ones
        # differ by more, they are told. Nothing was learned at other rates.
        as_learned = choice.at_fixed_rate and wanted_rate(sampling) == RELEASED_FPS
        as_learned = as_learned and len(part) == info.num_frames and info.kind == "video"
        as_learned = as_learned and info.average_fps >= 1 and not info.start_seconds
        return Clip(
            num_frames=len(indices),
            frames=lambda: video.frames(indices),
            # A still image stands at 0; pictures of which nobody knows the rate have no times.
            frame_seconds=seconds if info.is_timed or info.is_image else (),
            printed_seconds=choice.printed_seconds if as_learned else seconds,
            duration_seconds=info.duration_seconds,
            indices=indices,
            frame_size=(info.height, info.width),
        )

    @property
    def num_available(self) -> int:
        """Frames of the part that matters."""
        return len(self._part)

    @property
    def average_fps(self) -> float | None:
        """Frames a second; None for pictures whose rate nobody named."""
        return self.info.average_fps if self.info.is_timed or self.info.is_image else None

    def check_timed(self) -> None:
        """Refuse to count frames by the second where nobody knows how many there are.

        Raises:
            InputError: it is a folder of pictures whose rate nobody named.
        """
        if self.average_fps is None:
            raise InputError(
                f"{self.info.path} is a folder of pictures without times, so that none can be taken each second.",
                fix="tell how many a second with --image-fps, or leave --sampling and --fps out.",
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

    def choose(self, num_frames: int, sampling: SamplingOrRate) -> Clip:
        """All frames, whatever is asked: they are chosen already."""
        check_sampling(sampling)
        return self.shortened(max(num_frames, len(self._frames)), sampling)

    def shortened(self, num_frames: int, sampling: SamplingOrRate) -> Clip:
        """The first frames only; to find out how many would fit into a prompt."""
        del sampling
        frames = self._frames[:num_frames]
        return Clip(len(frames), lambda: iter(frames), (), (), 0.0, frame_size=frames.shape[1:3])
