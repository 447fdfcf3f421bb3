"""Chosen frames in, the seconds that decoding and resizing all of them take out, from some of them."""

from collections.abc import Callable, Generator
from itertools import islice

import numpy as np

from bimba.inference.calibration.measuring import LONG_ENOUGH_SECONDS, Clock
from bimba.inference.clip import Clip

_MOST_DECODED = 16


def time_reading(clip: Clip, resize: Callable[[list[np.ndarray]], object], clock: Clock) -> tuple[float, float]:
    """Seconds of decoding and of resizing all chosen frames.

    Args:
        clip: the chosen frames; some of them are decoded.
        resize: what makes pixels of them.
        clock: what the time is taken from.

    Raises:
        VideoError: a frame cannot be decoded.
    """
    frames: list[np.ndarray] = []
    moments = [clock()]
    decoded = clip.frames()
    for frame in islice(decoded, _MOST_DECODED):
        frames.append(frame)
        moments.append(clock())
        if moments[-1] - moments[0] > LONG_ENOUGH_SECONDS:
            break
    if isinstance(decoded, Generator):  # it may hold a file open
        decoded.close()
    begun = clock()
    resize(frames)
    resized = (clock() - begun) / len(frames)
    opened, others = moments[1] - moments[0], len(frames) - 1  # the file is opened once
    each = (moments[-1] - moments[1]) / others if others else 0.0
    return opened + each * (clip.num_frames - 1), resized * clip.num_frames
