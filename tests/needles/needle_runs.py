"""Small runs, planned videos and exact readers that the needle tests share."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from bimba.needles import NeedleRun, NeedleSettings, NeedleStream, Progress, StreamedVideo, make_needles
from bimba.needles.settings import NEEDLE_KINDS

SMALL: dict[str, object] = {
    "seconds": 3.0,
    "width": 64,
    "height": 48,
    "fps": 10,
    "num_needles": 3,
    "needle_seconds": 0.5,
}

VARIED: dict[str, dict[str, object]] = {
    "plain": {},
    "all kinds": {"kinds": NEEDLE_KINDS, "num_needles": "2-8", "inserted": 0.5, "num_questions": 24},
    "train": {"split": "train", "kinds": NEEDLE_KINDS, "num_needles": "1-6", "num_questions": 24},
    "repeats": {"repeats": 0.7, "num_needles": "2-9", "needle_seconds": "0.5-3", "num_questions": 24},
    "copies": {"copies": "1-4", "width": 160, "height": 120, "fps": 1, "num_questions": 16, "repeats": 0.3},
    "one needle": {"num_needles": 1, "num_questions": 8},
    "crowded": {"num_needles": "20-40", "needle_seconds": 0.5, "num_questions": 24},
    "no gap": {"num_needles": 16, "needle_seconds": 4, "gap_frames": 0},
    "all the digits": {"kinds": ("digit",), "num_needles": "8-14", "needle_seconds": 1, "num_questions": 24},
    "captions": {"kinds": ("caption",), "num_needles": "1-5", "num_questions": 12},
    "pair": {"pair_window": 8, "num_needles": "2-5", "needle_seconds": "0.5-4"},
    "short moments": {"fps": 100, "seconds": 1.0, "num_needles": 20, "needle_seconds": 0.01},
    "television": {"fps": "29.97", "seconds": 20.0, "num_needles": "2-6", "needle_seconds": "0.1-2"},
}
"""Settings whose videos are planned by the hundred, but not drawn."""
NUM_PLANNED = 200


def small_run(
    out: Path,
    *,
    overwrite: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
    **options: Any,
) -> NeedleRun:
    """Make videos of 3 seconds that take a moment."""
    small: dict[str, Any] = {"seconds": 3.0, "size": (64, 48), "fps": 10, "needles": 3, "needle_seconds": 0.5}
    return make_needles(out, **(small | options), overwrite=overwrite, on_progress=on_progress)


def small_settings(**changes: object) -> NeedleSettings:
    return NeedleSettings.checked(SMALL | changes)


def planned_stream(num_unknown: float = 0.0, **changes: object) -> NeedleStream:
    """Videos of a minute in tiny frames: planning them is what takes the time."""
    values: dict[str, object] = {"seconds": 64.0, "width": 32, "height": 32, "fps": 2, "num_videos": NUM_PLANNED}
    return NeedleStream(NeedleSettings.checked(values | changes), num_unknown=num_unknown)


@cache
def varied_videos(name: str) -> tuple[NeedleSettings, tuple[StreamedVideo, ...]]:
    """The videos of some of the `VARIED` settings, planned once."""
    stream = planned_stream(num_unknown=2, **VARIED[name])
    return stream.settings, tuple(stream)


def decoded_frames(path: Path) -> list[NDArray[np.uint8]]:
    with av.open(str(path)) as container:
        return [np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8) for frame in container.decode(video=0)]


def folder_contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
