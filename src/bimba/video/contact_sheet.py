"""Frames and their times in, one picture of them all out: a grid to look at what the model sees.

Letters: T frames.
"""

import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from bimba.errors import InputError
from bimba.video.info import RGBFrame

_COLUMNS = 8
_THUMBNAIL_WIDTH = 200
_GAP, _LABEL_HEIGHT = 6, 18
_BACKGROUND, _INK = (24, 24, 27), (228, 228, 231)


def contact_sheet(frames: Iterable[RGBFrame], labels: Sequence[str], *, aspect: float | None = None) -> Image.Image:
    """Draw small pictures of frames in rows, each with a label below.

    Args:
        frames: T arrays, uint8 RGB [H, W, 3]; read one by one.
        labels: T texts, such as times.
        aspect: width over height at which they are shown; the first frame's own if not given.

    Returns:
        a picture up to 8 frames wide.

    Raises:
        ValueError: there is no label.
    """
    if not labels:
        raise ValueError("a contact sheet needs at least one frame")
    columns = min(len(labels), _COLUMNS)
    sheet: Image.Image | None = None
    size = (_THUMBNAIL_WIDTH, _THUMBNAIL_WIDTH)
    font = ImageFont.load_default(size=12)
    for place, (frame, label) in enumerate(zip(frames, labels, strict=True)):
        if sheet is None:
            shape = aspect or frame.shape[1] / frame.shape[0]
            size = (_THUMBNAIL_WIDTH, max(1, round(_THUMBNAIL_WIDTH / shape)))
            sheet = _empty_sheet(columns, math.ceil(len(labels) / columns), size)
        x = _GAP + place % columns * (size[0] + _GAP)
        y = _GAP + place // columns * (size[1] + _LABEL_HEIGHT + _GAP)
        sheet.paste(Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS), (x, y))
        ImageDraw.Draw(sheet).text((x + 2, y + size[1] + 2), label, fill=_INK, font=font)
    if sheet is None:
        raise ValueError("a contact sheet needs at least one frame")
    return sheet


def save_picture(picture: Image.Image, path: Path) -> None:
    """Write a picture; the file is complete or not there.

    Raises:
        InputError: Pillow knows no format for the name, or the folder is missing.
    """
    if not path.suffix:
        raise InputError(f"{path} does not name a kind of picture.", fix="name a .png or .jpg file.")
    temporary = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        picture.save(temporary)
        temporary.replace(path)
    except (ValueError, OSError) as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise InputError(f"{path} cannot be written: {error}.", fix="name a .png or .jpg file in a folder.") from error


def _empty_sheet(columns: int, rows: int, size: tuple[int, int]) -> Image.Image:
    width = _GAP + columns * (size[0] + _GAP)
    height = _GAP + rows * (size[1] + _LABEL_HEIGHT + _GAP)
    return Image.new("RGB", (width, height), _BACKGROUND)
