"""What is wanted of a video in, how many of its frames are read out, by a model that reads every token of them.

Its videos take no room in the prompt: what limits them is memory and time, and what the model was tried with.
"""

from collections.abc import Callable

from bimba.errors import InputError
from bimba.inference.budget import AUTO_FPS, DEFAULT_FRAMES, Fit, Wanted
from bimba.video.sampling import SamplingOrRate, every_nth

MOST_FRAMES = 1024
"""Frames that "auto" takes at most: as many as Vamba's paper reads on one GPU."""

AS_TRAINED = "middle"
"""How "auto" chooses them: as Vamba was trained."""


def fit_frames(wanted: Wanted, tokens_of: Callable[[int], int]) -> Fit:
    """Choose how many frames are read.

    A rate or a number is kept, and refused if its tokens are more than are allowed. "auto" takes one frame a second at
    most, or the rate that is named; 64 at least, 1,024 at most; of pictures without times all; and no more than the
    tokens allow.

    Args:
        wanted: the video, and how much of it.
        tokens_of: tokens of the video by the number of its frames.

    Raises:
        InputError: the tokens are more than are allowed, or these pictures have no times to take some a second.
    """
    most, sampling = _asked(wanted)
    limit = wanted.max_video_tokens
    if limit is None or tokens_of(most) <= limit:
        return Fit(most, sampling, 1, tokens_of(most))
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if tokens_of(middle) <= limit else (low, middle)
    if low and isinstance(wanted.frames, str):
        return Fit(low, AS_TRAINED, 1, tokens_of(low))
    fix = f"take at most {low:,} frames (--frames {low})" if low else f"allow {tokens_of(1):,} or more"
    raise InputError(
        f"{most:,} frames are {tokens_of(most):,} tokens of the video, and {limit:,} may be taken "
        "(--max-video-tokens).",
        fix=f"{fix}, or leave the limit out.",
    )


def _asked(wanted: Wanted) -> tuple[int, SamplingOrRate]:
    """How many frames are asked for, and how they are chosen."""
    if not isinstance(wanted.frames, str):
        if wanted.fps is not None:
            return _num_at(wanted, wanted.fps), wanted.fps
        return min(wanted.frames, wanted.num_available), wanted.sampling
    if wanted.average_fps is None and wanted.fps is None:
        return min(wanted.num_available, MOST_FRAMES), AS_TRAINED
    if wanted.fps is not None:
        return min(_num_at(wanted, wanted.fps), MOST_FRAMES), AS_TRAINED
    return min(wanted.num_available, max(DEFAULT_FRAMES, min(_num_at(wanted, AUTO_FPS), MOST_FRAMES))), AS_TRAINED


def _num_at(wanted: Wanted, fps: float) -> int:
    """Frames at a rate."""
    if wanted.average_fps is None:
        raise InputError("these pictures have no times.", fix="tell how many a second with --image-fps.")
    return len(every_nth(wanted.num_available, wanted.average_fps, fps))
