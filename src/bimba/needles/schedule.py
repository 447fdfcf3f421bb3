"""When needles are visible: the frame counts of a video and its needles go in, first frames come out."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from bimba.errors import InputError
from bimba.needles.settings import NeedleSettings


def most_needles(num_frames: int, needle_frames: int, gap: int = 1) -> int:
    """Return how many needles of `needle_frames` frames fit into a video, with `gap` bare frames between them."""
    return (num_frames + gap) // (needle_frames + gap)


def check_schedule(settings: NeedleSettings) -> None:
    """Check that the most and longest needles that settings allow fit into a video.

    Raises:
        InputError: they do not.
    """
    longest, most, gap = settings.needle_frames[1], settings.num_needles[1], settings.gap_frames
    lengths = [longest] * most
    if settings.pair_window is not None:
        lengths = [longest] * (most - 2) + [2 * settings.pair_window - 1]
        gap = _gap_of_windows(gap, settings.pair_window)
    _bare_frames(lengths, settings.num_frames, settings.fps, gap)


def schedule_needles(
    rng: np.random.Generator, *, lengths: Sequence[int], num_frames: int, fps: Fraction, gap: int = 1
) -> list[int]:
    """Return the first frame of each needle in order of time, without overlap.

    Where a single needle begins is uniform. Of several, the bare frames before each are drawn uniformly and sorted, so
    that two which follow each other as closely as `gap` lets them come less often than among all ways to place them.

    Args:
        rng: random generator.
        lengths: frames for which each needle is visible, in order of time.
        num_frames: of the video.
        fps: frames a second.
        gap: bare frames between two needles.

    Raises:
        InputError: the needles do not fit into the video.
    """
    # What is left of the video is dealt out between the needles: sorted draws are the bare frames before each of them.
    bare_frames = _bare_frames(lengths, num_frames, fps, gap)
    bare_before = np.sort(rng.integers(0, bare_frames + 1, size=len(lengths)))
    taken_before = np.cumsum([0, *(length + gap for length in lengths[:-1])])
    return [int(place) for place in bare_before + taken_before]


def _bare_frames(lengths: Sequence[int], num_frames: int, fps: Fraction, gap: int) -> int:
    """Frames that are left beside needles of these lengths and the gaps between them.

    Raises:
        InputError: there are none left.
    """
    bare_frames = num_frames - sum(lengths) - (len(lengths) - 1) * gap
    if bare_frames < 0:
        fitting = most_needles(num_frames, max(lengths), gap)
        longer = "shorten them (--needle-seconds), or lengthen the video (--seconds)."
        raise InputError(
            f"{len(lengths)} needles of {float(max(lengths) / fps):g} seconds do not fit into a video of "
            f"{float(num_frames / fps):g} seconds ({max(lengths)} and {num_frames} frames): {fitting} fit.",
            fix=f"ask for at most {fitting} needles (--needles), {longer}" if fitting else longer,
        )
    return bare_frames


def schedule_pair(
    rng: np.random.Generator, *, lengths: Sequence[int], window: int, num_frames: int, fps: Fraction, gap: int = 1
) -> tuple[list[int], list[int]]:
    """Place needles so that two that follow each other share one window of frames and nothing else does.

    Windows begin at multiples of `window` frames, as those do that are pooled together. The two are visible for one
    frame each.

    Args:
        rng: random generator.
        lengths: frames of each needle; those of the two are not used.
        window: frames.
        num_frames: of the video.
        fps: frames a second.
        gap: bare frames between two needles that do not share the window.

    Returns:
        first frame and length of each needle in order of time.

    Raises:
        InputError: the needles do not fit into the video.
    """
    first = int(rng.integers(len(lengths) - 1))
    # Wherever a block of 2 window - 1 frames lies, a whole window lies inside it.
    block = 2 * window - 1
    blocks = [*lengths[:first], block, *lengths[first + 2 :]]
    apart = _gap_of_windows(gap, window)
    starts = schedule_needles(rng, lengths=blocks, num_frames=num_frames, fps=fps, gap=apart)
    inside = -(-starts[first] // window) * window
    earlier, later = sorted(int(place) for place in rng.choice(window, size=2, replace=False))
    starts[first : first + 1] = [inside + earlier, inside + later]
    return starts, [*lengths[:first], 1, 1, *lengths[first + 2 :]]


def _gap_of_windows(gap: int, window: int) -> int:
    """Bare frames after which no window holds both the last frame of a needle and the first of the next."""
    return max(gap, window - 1)
