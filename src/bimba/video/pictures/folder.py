"""A folder of pictures in, its frames out, in the order in which people number files: 2 before 10."""

import logging
import re
from collections.abc import Generator, Sequence
from pathlib import Path

import numpy as np

from bimba.errors import InputError, VideoError
from bimba.video.info import RGBFrame, VideoInfo
from bimba.video.pictures.images import picture_size, read_picture, scaled

logger = logging.getLogger(__name__)

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})
"""What pictures are called."""

_NUMBERS = re.compile(r"(\d+)")


def probe_folder(path: Path, image_fps: float | None) -> VideoInfo:
    """What a folder of pictures holds: each png, jpeg, webp or bmp file directly in it is a frame.

    Args:
        path: the folder.
        image_fps: pictures a second; without it the frames have no times.

    Raises:
        VideoError: no picture is in it, or the first one is damaged.
        InputError: the rate is no positive number.
    """
    if image_fps is not None and not 0 < image_fps < float("inf"):
        raise InputError(f"image_fps is {image_fps}.", fix="give pictures a second, e.g. --image-fps 1.")
    others = [file for file in sorted(path.iterdir()) if file.is_file() and not file.name.startswith(".")]
    pictures = sorted((file for file in others if file.suffix.lower() in PICTURE_SUFFIXES), key=_natural)
    if not pictures:
        files = "file" if len(others) == 1 else "files"
        inside = f"{len(others)} other {files}, such as {others[0].name}" if others else "no file at all"
        raise VideoError(
            f"{path} is a folder without a picture: it holds {inside}.",
            fix="pass a video file, or a folder of png, jpeg, webp or bmp files.",
        )
    size = picture_size(pictures[0])
    if size is None:
        raise VideoError(f"{pictures[0]} is named like a picture, but is none.", fix="remove it, or save it again.")
    rate = image_fps or 1.0
    times = np.arange(len(pictures)) / rate if image_fps else np.zeros(len(pictures))
    return VideoInfo(
        path=path,
        kind="folder",
        width=size[0],
        height=size[1],
        num_frames=len(pictures),
        average_fps=rate,
        frame_seconds=times,
        is_timed=image_fps is not None,
        codec=pictures[0].suffix.lower().removeprefix("."),
        pictures=tuple(pictures),
    )


def read_pictures(info: VideoInfo, indices: Sequence[int]) -> Generator[RGBFrame]:
    """Decode pictures of a folder; those of another size than the first are scaled to it.

    Raises:
        VideoError: a picture is gone, damaged, too large or none.
    """
    for num_done, index in enumerate(indices):
        path = info.pictures[index]
        if not path.is_file():
            raise VideoError(
                f"{info.path} gave {num_done} of the {len(indices)} wanted pictures: {path.name} is gone.",
                fix="wait until whatever changes the folder is done.",
            )
        picture = read_picture(path)
        if picture is None:
            raise VideoError(f"{path} is named like a picture, but is none.", fix="remove it, or save it again.")
        height, width, _ = picture.shape
        if (width, height) != (info.width, info.height):
            logger.info("%s: scaled from %d x %d to %d x %d", path, width, height, info.width, info.height)
            picture = scaled(picture, (info.width, info.height))
        yield picture


def refuse_rate(path: Path, image_fps: float | None) -> None:
    """Refuse a rate for what has times of its own, or needs none.

    Raises:
        InputError: there is a rate, and the path is not a folder.
    """
    if image_fps is not None:
        raise InputError(
            f"image_fps is {image_fps}, but {path} is not a folder of pictures.",
            fix="leave --image-fps out; videos store their own times.",
        )


def _natural(path: Path) -> tuple[list[str | int], str]:
    """Key that sorts the numbers in names by value, and a name without a number before those with one."""
    parts: list[str | int] = list(_NUMBERS.split(path.stem.lower()))
    parts[1::2] = [int(number) for number in parts[1::2]]
    return parts, path.name
