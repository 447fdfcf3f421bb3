"""Which frames: a frame count and a frame rate go in, frame indices and the seconds printed for them come out.

Integers and a few divisions only: no file is opened, and neither torch nor FFmpeg is imported. Letters: n is the number
of frames the file has, T the number of frames chosen.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from bimba.errors import InputError

# Times such as index / 29.97 are rounded; a segment that starts at a frame's time is meant to hold that frame.
_ROUNDING_SECONDS = 1e-6
_RATE_FIX = "pass a number of frames a second above 0, for example --fps 1."

Sampling = Literal["uniform", "fps", "middle"]
"""How frames are chosen: evenly from the first to the last, one a second as long as they fit, or the middles of equal
intervals."""

SamplingOrRate = str | float
"""A `Sampling`, or the frames a second that are wanted as long as they fit."""

RELEASED_FPS = 1.0
"""Frames a second of the mode "fps"."""


@dataclass(frozen=True)
class FrameChoice:
    """The frames the model looks at.

    Attributes:
        indices: T frame numbers, ascending, none twice.
        printed_seconds: T times as the public code prints them in the prompt's time sentence.
        at_fixed_rate: whether so many frames a second were taken, and not fallen back from.
    """

    indices: tuple[int, ...]
    printed_seconds: tuple[float, ...]
    at_fixed_rate: bool = False


def uniform_indices(num_available: int, num_frames: int) -> list[int]:
    """Spread frames evenly from the first to the last, as the public code does: `linspace(0, n - 1, T)`, rounded down.

    The public code repeats frames of a file that is shorter than asked; here such a file gives every frame once.

    Args:
        num_available: n, how many frames the file has.
        num_frames: how many are wanted, at least 1; a single frame is the first.

    Returns:
        min(n, num_frames) ascending indices in [0, n), none twice.

    Raises:
        InputError: one of the counts is below 1, so that there is nothing to choose.
    """
    _check_counts(num_available, num_frames)
    if num_available <= num_frames:
        return list(range(num_available))
    positions: list[int] = np.linspace(0, num_available - 1, num_frames, dtype=int).tolist()
    return positions


def middle_indices(num_available: int, num_frames: int) -> list[int]:
    """Take the middle frame of each of T equal intervals.

    The public code repeats the last frame of a file that is shorter than asked; here such a file gives each frame once.

    Args:
        num_available: n, how many frames the file has.
        num_frames: how many are wanted, at least 1.

    Returns:
        min(n, num_frames) ascending indices in [0, n), none twice.

    Raises:
        InputError: one of the counts is below 1.
    """
    starts, ends = intervals(num_available, num_frames)
    middles: list[int] = ((starts + ends - 1) // 2).tolist()
    return middles


def intervals(num_available: int, num_frames: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """First frame of each of T equal intervals, and the first behind it.

    Raises:
        InputError: one of the counts is below 1.
    """
    num_intervals = len(uniform_indices(num_available, num_frames))  # checks the counts
    bounds = np.linspace(0, num_available, num_intervals + 1, dtype=int)
    return bounds[:-1], bounds[1:]


def frame_step(average_fps: float, fps: float) -> int:
    """How many frames of the file pass between two that are `1 / fps` seconds apart, rounded, at least 1.

    Args:
        average_fps: the file's frames a second.
        fps: the wanted frames a second.

    Raises:
        InputError: a rate is not a positive finite number.
    """
    _check_rate(fps, "The wanted frame rate", fix=_RATE_FIX)
    _check_rate(
        average_fps,
        "The file's average frame rate",
        fix="re-encode the file with a frame rate: ffmpeg -i in.mp4 -r 25 out.mp4.",
    )
    return max(1, round(average_fps / fps))


def every_nth(num_available: int, average_fps: float, fps: float) -> list[int]:
    """Take `fps` frames a second from the whole file, however many that gives.

    Args:
        num_available: n, how many frames the file has.
        average_fps: the file's frames a second.
        fps: the wanted frames a second; above the file's own rate, every frame is taken once.

    Returns:
        Ascending indices 0, step, 2 step, ... below n, with the step of `frame_step`.

    Raises:
        InputError: the file has no frame, or a rate is not a positive finite number.
    """
    _check_counts(num_available, 1)
    return list(range(0, num_available, frame_step(average_fps, fps)))


def choose_frames(
    num_available: int,
    average_fps: float,
    num_frames: int,
    *,
    sampling: SamplingOrRate = "uniform",
    fps: float = RELEASED_FPS,
) -> FrameChoice:
    """Choose frames and the times printed for them, equal to the public code for every file that is long enough.

    `uniform` spreads `num_frames` over the file and prints index / average_fps. `fps` takes `fps` frames a second when
    that gives at most `num_frames`, and falls back to `uniform` otherwise; the public code calls it force_sample off.
    When the frames of `fps` fit, the public code prints index / step and not index / average_fps. A model was trained
    on such prompts, so the oddity is kept: with fps 1 it is within 0.1 percent for film rates (29.97 counts as 30),
    with fps 5 the printed times run five times too fast. Real times are `VideoInfo.frame_seconds[indices]`.

    Args:
        num_available: n, how many frames the file has.
        average_fps: the file's frames a second.
        num_frames: the most frames to choose, at least 1.
        sampling: "uniform", "fps", a number of frames a second, which is the mode "fps" with that rate, or "middle" (as
            Vamba's public code has it).
        fps: frames a second of the mode "fps"; ignored otherwise.

    Raises:
        InputError: a count is below 1, a rate is not a positive finite number, or the mode is unknown.
    """
    rate = wanted_rate(sampling, fps)
    _check_counts(num_available, num_frames)
    if rate is not None:
        indices = every_nth(num_available, average_fps, rate)
        if len(indices) <= num_frames:
            return replace(_timed(indices, frame_step(average_fps, rate)), at_fixed_rate=True)
    choose = middle_indices if sampling == "middle" else uniform_indices
    return _timed(choose(num_available, num_frames), average_fps)


def parse_seconds(time: str | float) -> float:
    """Seconds of a time as people write it: 90, "90.5", "1:30" or "1:02:03.5".

    Raises:
        InputError: it is no time.
    """
    fix = "write seconds (90.5), minutes and seconds (1:30), or hours too (1:02:03)."
    parts = str(time).split(":")
    try:
        values = [float(part) for part in parts]
    except ValueError as error:
        raise InputError(f"{time!r} is no time.", fix=fix) from error
    wrong = len(parts) > 3 or any(value >= 60 for value in values[1:]) or any(part != part.strip() for part in parts)
    wrong = wrong or not all(value.is_integer() for value in values[:-1])  # one and a half minutes and some seconds
    if wrong or not all(math.isfinite(value) and value >= 0 for value in values):
        raise InputError(f"{time!r} is no time.", fix=fix)
    seconds = 0.0
    for value in values:
        seconds = seconds * 60 + value
    return seconds


def frames_between(
    frame_seconds: Sequence[float] | npt.NDArray[np.float64],
    duration_seconds: float,
    start: float | None,
    end: float | None,
) -> range:
    """Frames from `start` on and before `end`; where there is none, the one that is on show at `start`.

    Args:
        frame_seconds: T times, ascending.
        duration_seconds: when the last frame ends.
        start: seconds from the file's start; None for its start.
        end: seconds from the file's start; None for its end.

    Returns:
        Consecutive indices, at least one.

    Raises:
        InputError: the start is after the end of the file, or not before `end`.
    """
    times = np.asarray(frame_seconds)
    begin = 0.0 if start is None else start
    # The duration follows from an average rate, by which a frame of a variable rate may come late.
    video_end = max(duration_seconds, float(times[-1]) + _ROUNDING_SECONDS)
    if end is not None and end <= begin:
        raise InputError(
            f"The segment starts at {begin:g} s and ends at {end:g} s.", fix="let --end come after --start."
        )
    if begin >= video_end:
        raise InputError(
            f"The segment starts at {begin:g} s, but the video ends at {video_end:.2f} s.",
            fix="pass a --start before the end.",
        )
    if end is not None and end <= times[0]:
        raise InputError(
            f"The segment ends at {end:g} s, but the first picture comes at {times[0]:.2f} s.",
            fix="pass a later --end.",
        )
    first = int(np.searchsorted(times, begin - _ROUNDING_SECONDS))
    last = len(times) if end is None else int(np.searchsorted(times, end - _ROUNDING_SECONDS))
    return range(first, last) if first < last else range(max(first - 1, 0), max(first, 1))


def wanted_rate(sampling: SamplingOrRate, fps: float = RELEASED_FPS) -> float | None:
    """Frames a second of a way of choosing frames; None where they are spread over the whole video.

    Args:
        sampling: "uniform", "middle", "fps" or a number of frames a second.
        fps: what "fps" stands for.

    Raises:
        InputError: it is none of these.
    """
    check_sampling(sampling)
    if sampling in ("uniform", "middle"):
        return None
    return fps if sampling == "fps" else float(sampling)


def check_sampling(sampling: SamplingOrRate) -> None:
    """Refuse a way of choosing frames that there is none of.

    Raises:
        InputError: it is no `Sampling` and no positive finite number.
    """
    if isinstance(sampling, int | float) and not isinstance(sampling, bool):
        _check_rate(sampling, "The wanted frame rate", fix=_RATE_FIX)
    elif sampling not in get_args(Sampling):
        raise InputError(
            f"Sampling is {sampling!r}, which is none of {', '.join(get_args(Sampling))} and no number.",
            fix="pass --sampling uniform (frames spread over the whole video) or --sampling fps (one a second), or a "
            "number of frames a second (--fps).",
        )


def _timed(indices: list[int], frames_a_second: float) -> FrameChoice:
    _check_rate(
        frames_a_second,
        "The file's average frame rate",
        fix="re-encode the file with a frame rate: ffmpeg -i in.mp4 -r 25 out.mp4.",
    )
    return FrameChoice(tuple(indices), tuple(index / frames_a_second for index in indices))


def _check_counts(num_available: int, num_frames: int) -> None:
    if num_frames < 1:
        raise InputError(
            f"{num_frames} frames were asked for, but at least 1 is needed.", fix="pass --frames 1 or more, such as 64."
        )
    if num_available < 1:
        raise InputError(
            f"The video has {num_available} frames, so none of the {num_frames} wanted can be chosen.",
            fix="pass a file that holds at least one picture.",
        )


def _check_rate(rate: float, name: str, *, fix: str) -> None:
    if not (math.isfinite(rate) and rate > 0):
        raise InputError(f"{name} is {rate}, but it must be a positive number.", fix=fix)
