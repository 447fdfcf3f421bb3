"""What a request of lmms-eval shows in, frames that our model looks at out.

Shapes: T frames, H x W of a frame.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bimba.errors import InputError
from bimba.inference.clip import Clip
from bimba.inference.opening import open_video
from bimba.video.source import Video

_PATHS = ("url", "path", "video_path", "video")
"""Names under which a visual that is a dictionary may hold its file."""
_START, _END = "video_start", "video_end"


@dataclass(frozen=True)
class Shown:
    """What a request is about.

    Attributes:
        key: tells it from others, so that one video is looked at once for questions that follow each other; None for
            pictures, which are not compared.
        clip: its frames.
    """

    key: tuple[Any, ...] | None
    clip: Clip


def shown(visuals: Iterable[Any] | None, num_frames: int, sampling: str) -> Shown | None:
    """Frames of a request; None if it shows nothing.

    Several pictures are read as the frames of one video, whose times nobody knows.

    Args:
        visuals: what `doc_to_visual` gives: paths, pictures of Pillow, or dictionaries with a path and, of a part of a
            video, "video_start" and "video_end" in seconds.
        num_frames: at most so many of a video; pictures are all taken.
        sampling: "uniform", "fps" or "middle".

    Raises:
        InputError: something else is shown, or several videos at once.
        VideoError: a file cannot be read.
    """
    found = list(_flat(visuals))
    if not found:
        return None
    pictures = [one for one in found if isinstance(one, Image.Image)]
    if len(pictures) == len(found):
        return Shown(None, Clip(len(pictures), lambda: map(_pixels, pictures), (), (), 0.0))
    if len(found) > 1:
        return Shown(None, _several(found))
    path, start, end = _part(found[0])
    clip = open_video(Video(path, start=start, end=end)).choose(num_frames, sampling)
    return Shown((path, start, end), clip)


def _several(found: Sequence[Any]) -> Clip:
    """Pictures, some of them files.

    Raises:
        InputError: one is a video.
    """
    frames: list[NDArray[np.uint8]] = []
    for one in found:
        if isinstance(one, Image.Image):
            frames.append(_pixels(one))
            continue
        clip = open_video(Video(_part(one)[0])).choose(2, "uniform")
        if clip.num_frames > 1:
            raise InputError(
                f"a request shows {len(found)} things, one of them the video {_part(one)[0]}; our models read one "
                "video at a time.",
                fix="leave this task out, or change its doc_to_visual.",
            )
        frames += clip.frames()
    return Clip(len(frames), lambda: iter(frames), (), (), 0.0)


def _flat(visuals: Iterable[Any] | None) -> Iterator[Any]:
    """Visuals without lists in lists."""
    for one in visuals or ():
        if isinstance(one, list | tuple):
            yield from _flat(one)
        elif one is not None:
            yield one


def _part(visual: Any) -> tuple[str, float | None, float | None]:
    """Path, start and end in seconds.

    Raises:
        InputError: it is neither a path nor a dictionary with one.
    """
    if isinstance(visual, str | Path):
        return str(visual), None, None
    if isinstance(visual, Mapping):
        path = next((visual[name] for name in _PATHS if isinstance(visual.get(name), str | Path)), None)
        if path is not None:
            return str(path), _seconds(visual.get(_START)), _seconds(visual.get(_END))
    raise InputError(
        f"a request shows a {type(visual).__name__}; our models read videos and pictures.", fix="leave this task out."
    )


def _seconds(value: Any) -> float | None:
    return None if value is None else float(value)


def _pixels(picture: Image.Image) -> NDArray[np.uint8]:
    """Frame uint8 [H, W, 3]."""
    return np.asarray(picture.convert("RGB"))
