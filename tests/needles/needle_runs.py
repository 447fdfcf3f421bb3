"""Small runs and exact readers that the needle tests share."""

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from bimba.needles import NeedleRun, NeedleSettings, Progress, make_needles


def small_run(
    out: Path,
    *,
    seed: int = 0,
    videos: int = 1,
    fps: float = 10,
    codec: str = "libx264",
    needles: int = 3,
    kinds: str | list[str] | None = None,
    pictures: Path | None = None,
    overwrite: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> NeedleRun:
    """Make videos of 3 seconds that take a moment."""
    return make_needles(
        out,
        seed=seed,
        videos=videos,
        seconds=3.0,
        size=(64, 48),
        fps=fps,
        codec=codec,
        needles=needles,
        needle_seconds=0.5,
        kinds=kinds,
        pictures=pictures,
        overwrite=overwrite,
        on_progress=on_progress,
    )


def small_settings(**changes: object) -> NeedleSettings:
    values: dict[str, object] = {
        "seconds": 3.0,
        "width": 64,
        "height": 48,
        "fps": 10,
        "num_needles": 3,
        "needle_seconds": 0.5,
    }
    return NeedleSettings.checked(values | changes)


def decoded_frames(path: Path) -> list[NDArray[np.uint8]]:
    with av.open(str(path)) as container:
        return [np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8) for frame in container.decode(video=0)]


def folder_contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
