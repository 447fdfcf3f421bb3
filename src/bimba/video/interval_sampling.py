"""Which frames, one of each interval: a frame count and a frame rate go in, frame indices and their seconds come out.

This is how Vamba was trained and tested: a video is cut into as many intervals as frames are wanted, and one frame is
taken of each, its middle or a random one; or the middle of every second. Integers and a few divisions only, without
torch. Letters: n is the number of frames the file has, T the number of frames chosen.
"""

import math
from typing import Literal, get_args

import numpy as np

from bimba.errors import InputError
from bimba.video.sampling import (
    RELEASED_FPS,
    FrameChoice,
    choose_frames,
    frame_step,
    intervals,
    middle_indices,
    uniform_indices,
)

IntervalSampling = Literal["middle", "random", "fps", "uniform"]
"""The middle of each interval, a random frame of each, the middle of each second, or from first to last frame."""

IntervalSamplingOrRate = str | float
"""An `IntervalSampling`, or the frames a second that are wanted as long as they fit."""

Seed = int | np.random.Generator


def random_indices(num_available: int, num_frames: int, seed: Seed) -> list[int]:
    """Take a random frame of each of T equal intervals, all frames of an interval being equally likely.

    The public code never takes an interval's last frame, and where that leaves an interval without any it shuffles the
    whole video instead.

    Args:
        num_available: n, how many frames the file has.
        num_frames: how many are wanted, at least 1.
        seed: decides which; a generator goes on from where it is.

    Returns:
        min(n, num_frames) ascending indices in [0, n), none twice.

    Raises:
        InputError: one of the counts is below 1.
    """
    starts, ends = intervals(num_available, num_frames)
    drawn: list[int] = np.random.default_rng(seed).integers(starts, ends).tolist()
    return drawn


def middles_at_rate(num_available: int, average_fps: float, fps: float) -> list[int]:
    """Take the frame in the middle of every 1 / fps seconds, however many that gives.

    A middle between two frames is rounded up, so that distances are even; the public code rounds it to an even number.
    A file shorter than half an interval gives its middle frame, of which the public code takes none.

    Args:
        num_available: n, how many frames the file has.
        average_fps: the file's frames a second.
        fps: the wanted frames a second; from the file's own rate on, every frame is taken once.

    Returns:
        At least one ascending index in [0, n), none twice.

    Raises:
        InputError: the file has no frame, or a rate is not a positive finite number.
    """
    frame_step(average_fps, fps)  # refuses rates that are none
    everything = uniform_indices(num_available, max(num_available, 1))
    if fps >= average_fps:
        return everything
    distance = average_fps / fps
    middles = np.floor((np.arange(math.ceil(num_available / distance)) + 0.5) * distance + 0.5).astype(int)
    chosen: list[int] = middles[middles < num_available].tolist()
    return chosen or middle_indices(num_available, 1)


def choose_in_intervals(
    num_available: int,
    average_fps: float,
    num_frames: int,
    *,
    sampling: IntervalSamplingOrRate = "middle",
    seed: Seed | None = None,
) -> FrameChoice:
    """Choose frames as Vamba's public code does, and where that loses or repeats some, as one would want it.

    The public code takes so many frames a second whatever number is allowed, or only the first ones of them; here
    middles spread over the whole video take their place where they are too many.

    Args:
        num_available: n, how many frames the file has.
        average_fps: the file's frames a second.
        num_frames: the most frames to choose, at least 1.
        sampling: "middle", "random" (the public code's `rand`), a number of frames a second (`fps<x>`), "fps" for one
            a second, or "uniform", which is `choose_frames`.
        seed: of "random", which needs one; ignored otherwise.

    Raises:
        InputError: a count is below 1, a rate is not a positive finite number, the mode is unknown, or "random" has no
            seed.
    """
    rate = _wanted_rate(sampling)
    everywhere = choose_frames(num_available, average_fps, num_frames)  # checks the counts and the file's rate
    if sampling == "uniform":
        return everywhere
    if rate is not None:
        at_rate = middles_at_rate(num_available, average_fps, rate)
        if len(at_rate) <= num_frames:
            return _timed(at_rate, average_fps, at_fixed_rate=True)
    if sampling == "random":
        if seed is None:
            raise InputError("Random frames were asked for without a seed.", fix="pass a seed, for example seed=0.")
        return _timed(random_indices(num_available, num_frames, seed), average_fps)
    return _timed(middle_indices(num_available, num_frames), average_fps)


def _wanted_rate(sampling: IntervalSamplingOrRate) -> float | None:
    if isinstance(sampling, int | float) and not isinstance(sampling, bool):
        return float(sampling)
    if sampling not in get_args(IntervalSampling):
        raise InputError(
            f"Sampling is {sampling!r}, which is none of {', '.join(get_args(IntervalSampling))} and no number.",
            fix="pass middle (frames in the middles of equal intervals), fps (one a second), or a number of frames a "
            "second.",
        )
    return RELEASED_FPS if sampling == "fps" else None


def _timed(indices: list[int], average_fps: float, *, at_fixed_rate: bool = False) -> FrameChoice:
    seconds = tuple(index / average_fps for index in indices)
    return FrameChoice(tuple(indices), seconds, at_fixed_rate=at_fixed_rate)
