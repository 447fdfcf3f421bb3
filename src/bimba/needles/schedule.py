"""When needles are visible: the frame counts of a video and its needles go in, first frames come out."""

from fractions import Fraction

import numpy as np

from bimba.errors import InputError

GAP_FRAMES = 1
"""Bare frames between two needles, so that each is an appearance of its own."""


def most_needles(num_frames: int, needle_frames: int) -> int:
    """Return how many needles of `needle_frames` frames fit into a video, with a bare frame between them."""
    return (num_frames + GAP_FRAMES) // (needle_frames + GAP_FRAMES)


def schedule_needles(
    rng: np.random.Generator, *, num_needles: int, num_frames: int, needle_frames: int, fps: Fraction
) -> list[int]:
    """Return the first frame of each needle in order of time, uniform over all ways to place them without overlap.

    Raises:
        InputError: the needles do not fit into the video.
    """
    fitting = most_needles(num_frames, needle_frames)
    if num_needles > fitting:
        longer = "shorten them (--needle-seconds), or lengthen the video (--seconds)."
        raise InputError(
            f"{num_needles} needles of {float(needle_frames / fps):g} seconds do not fit into a video of "
            f"{float(num_frames / fps):g} seconds ({needle_frames} and {num_frames} frames): {fitting} fit.",
            fix=f"ask for at most {fitting} needles (--needles), {longer}" if fitting else longer,
        )
    # What is left of the video is dealt out between the needles: sorted draws are the bare frames before each of them.
    bare_frames = num_frames - num_needles * needle_frames - (num_needles - 1) * GAP_FRAMES
    before = np.sort(rng.integers(0, bare_frames + 1, size=num_needles))
    return [int(bare) + index * (needle_frames + GAP_FRAMES) for index, bare in enumerate(before)]
