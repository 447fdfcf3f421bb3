"""Still pictures to move over: a photo or another picture goes in, frames of a camera that pans across it come out.

Shapes: H height, W width. A frame is uint8 ``[H, W, 3]``, RGB.
"""

import math
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from bimba.errors import InputError, VideoError
from bimba.needles.haystacks.procedural import FrameArray

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
MAX_SIDE = 2048
"""Photos are reduced to this many pixels on their longer side."""


class Panned:
    """A camera that wanders over a still picture, now nearer and now farther."""

    def __init__(self, rng: np.random.Generator, width: int, height: int, picture: Image.Image, kind: str) -> None:
        self.kind = kind
        self._size = (width, height)
        self._picture = picture
        # The largest window of the frame's shape; the camera sees 0.45 to 0.8 of it.
        reach = min(picture.width / width, picture.height / height)
        self._window = (reach * width, reach * height)
        self._zoom = rng.uniform(0.45, 0.65), rng.uniform(0.65, 0.8)
        self._phase = rng.uniform(0, 2 * math.pi, size=3)
        self._speed = rng.uniform(0.06, 0.25, size=3)

    def frame(self, seconds: float) -> FrameArray:
        """Return the frame uint8 ``[H, W, 3]`` at a time in seconds."""
        across, down, nearness = 0.5 + 0.5 * np.sin(self._phase + self._speed * seconds)
        zoom = self._zoom[0] + (self._zoom[1] - self._zoom[0]) * nearness
        width, height = zoom * self._window[0], zoom * self._window[1]
        left, top = across * (self._picture.width - width), down * (self._picture.height - height)
        box = (left, top, left + width, top + height)
        return np.asarray(self._picture.resize(self._size, Image.Resampling.BILINEAR, box=box))


def list_photos(folder: Path) -> tuple[Path, ...]:
    """Return the photos of a folder in order of name.

    Raises:
        InputError: there is no such folder, or it has no photos.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder of photos {folder}.", fix="pass a folder of jpg, png or webp files.")
    photos = tuple(sorted(path for path in folder.iterdir() if path.suffix.lower() in PHOTO_SUFFIXES))
    if not photos:
        raise InputError(f"{folder} has no jpg, png or webp files.", fix="put photos there, or leave --photos out.")
    return photos


@lru_cache(maxsize=64)
def open_photo(path: Path) -> Image.Image:
    """Return a photo, upright, RGB, at most 2048 pixels on its longer side.

    Raises:
        VideoError: it cannot be opened.
    """
    try:
        with Image.open(path) as image:
            photo = ImageOps.exif_transpose(image).convert("RGB")
    # Pillow reports a broken png as SyntaxError or ValueError, everything else as OSError.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise VideoError(
            f"the photo {path} cannot be opened: {error}.", fix="replace it or take it out of the folder."
        ) from error
    photo.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    return photo
