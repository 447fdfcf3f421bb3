"""What a needle looks like: its content and the frame's size go in, a transparent picture of it comes out.

A tile is uint8 ``[h, w, 4]``, RGB and opacity. Everything is drawn four times too large and reduced, which makes edges
smooth; a white rim and a thin dark line around it keep any colour apart from any background.
"""

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

from bimba.errors import VideoError
from bimba.needles.contents import COLOURS, GLYPHS, Content, Picture
from bimba.needles.haystacks import FrameArray
from bimba.needles.openmoji import openmoji_picture
from bimba.needles.records import Box
from bimba.needles.settings import NeedleKind

OVERSAMPLING = 4
MAX_SHARE = 0.9
"""No tile is wider or higher than this share of the frame."""

WHITE = (255, 255, 255)
INK = (16, 18, 24)
PLATE = (248, 247, 242)

MASTER_SIDES = (64, 128, 256)
"""Sizes in pixels that needles are drawn at, to be reduced; larger ones are drawn as they are."""
FULL_SCALE = 0.68
"""Size of a needle that has the frame to itself."""

Point = tuple[float, float]


def draw_needle(content: Content, width: int, height: int, scale: float) -> NDArray[np.uint8]:
    """Return the tile uint8 ``[h, w, 4]`` of a needle for a frame of width x height pixels.

    Args:
        content: what to draw.
        width: of the frame, in pixels.
        height: of the frame, in pixels.
        scale: size of the needle as a share of the frame's shorter side; for captions, of two lines of text.

    Raises:
        VideoError: the picture file cannot be opened.
        InputError: the picture is OpenMoji's, which is not installed.
    """
    if content.kind == "caption":
        return np.asarray(_caption(content.attributes["text"], width, height, scale))
    side = max(16, round(scale * min(width, height) * (1.3 if content.kind == "picture" else 1)))
    # Drawn once at the next larger of a few sizes and reduced: a stream of small videos draws nothing twice. Beyond
    # these hardly two are of one size, and a thousand of them would fill gigabytes.
    master = next((size for size in MASTER_SIDES if size >= side), side)
    draw = _kept_master if master in MASTER_SIDES else _master
    tile = draw(content.kind, tuple(sorted(content.attributes.items())), content.picture, master)
    shrink = side / master
    size = (max(1, round(tile.width * shrink)), max(1, round(tile.height * shrink)))
    return np.asarray(tile if size == tile.size else tile.resize(size, Image.Resampling.BOX))


def _master(
    kind: NeedleKind, attributes: tuple[tuple[str, str], ...], picture: Picture | None, side: int
) -> Image.Image:
    """Return the tile of a needle `side` pixels large."""
    says = dict(attributes)
    if kind == "shape":
        return _sticker(_shape_mask(says["shape"], side), says["colour"])
    if kind in GLYPHS:
        return _sticker(_glyph_mask(says[kind], side), says["colour"])
    if picture is None:
        raise ValueError(f"a picture without a source: {says}")
    return _photo(picture, side)


_kept_master = lru_cache(maxsize=2048)(_master)


def fill_frame(content: Content, width: int, height: int, plate: tuple[int, int, int]) -> FrameArray:
    """Return a frame uint8 ``[height, width, 3]`` that shows a needle and nothing else, on a plate of one colour."""
    frame = np.broadcast_to(np.array(plate, dtype=np.uint8), (height, width, 3))
    tile = draw_needle(content, width, height, FULL_SCALE)
    top, left = (height - tile.shape[0]) // 2, (width - tile.shape[1]) // 2
    return paste(frame, tile, (left, top, left + tile.shape[1], top + tile.shape[0]))


def paste(frame: FrameArray, tile: NDArray[np.uint8], box: Box) -> FrameArray:
    """Return a copy of the frame ``[H, W, 3]`` with the tile ``[h, w, 4]`` over the box.

    Raises:
        ValueError: the box is not of the tile's size or not inside the frame.
    """
    left, top, right, bottom = box
    inside = min(left, top) >= 0 and right <= frame.shape[1] and bottom <= frame.shape[0]
    if not inside or tile.shape[:2] != (bottom - top, right - left):
        raise ValueError(f"tile {tile.shape} does not go to box {box} of frame {frame.shape}")
    opacity = tile[:, :, 3:].astype(np.uint16)
    under = frame[top:bottom, left:right]
    mixed = (tile[:, :, :3] * opacity + under * (255 - opacity) + 127) // 255
    result = frame.copy()
    result[top:bottom, left:right] = mixed.astype(np.uint8)
    return result


def load_picture(picture: Picture, side: int) -> Image.Image:
    """Return a picture as an upright RGBA image; OpenMoji's are drawn `side` pixels large.

    Raises:
        VideoError: the file is no picture, broken, or too large to open safely.
        InputError: OpenMoji is not installed.
    """
    if picture.hexcode is not None:
        return openmoji_picture(picture.hexcode, side)
    if picture.path is None:
        raise ValueError(f"the picture {picture.name} has no source")
    try:
        with Image.open(picture.path) as image:
            return ImageOps.exif_transpose(image).convert("RGBA")
    # Pillow reports a broken png as SyntaxError or ValueError, everything else as OSError.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise VideoError(
            f"the picture {picture.path} cannot be opened: {error}.", fix="replace it or take it out of the folder."
        ) from error


def _sticker(mask: Image.Image, colour: str) -> Image.Image:
    """Return a mask (mode L, oversampled) as a coloured RGBA tile with a white rim and a dark line around that."""
    image = Image.new("RGBA", mask.size)
    unit = min(mask.size) / 100
    image.paste((*INK, 255), mask=_grown(mask, 5.2 * unit))
    image.paste((*WHITE, 255), mask=_grown(mask, 3.8 * unit))
    image.paste((*COLOURS[colour], 255), mask=mask)
    return image.reduce(OVERSAMPLING)


def _grown(mask: Image.Image, pixels: float) -> Image.Image:
    """Return a mask with its edge moved outwards by about so many pixels, corners rounded."""
    # A blur leaves 0.16 of the white one sigma outside a straight edge. Small steps keep tips and notches in shape.
    for _ in range(4):
        mask = mask.filter(ImageFilter.GaussianBlur(pixels / 4)).point([0] * 40 + [255] * 216)
    return mask


def _shape_mask(shape: str, side: int) -> Image.Image:
    """Return the mask (mode L, oversampled) of a shape that fills a square of `side` pixels up to the rim."""
    size = side * OVERSAMPLING
    mask = Image.new("L", (size, size))
    draw = ImageDraw.Draw(mask)
    # Shapes are drawn in a square from -1 to 1 with y downwards; the margin of 0.14 is the rim's.
    middle, reach = size / 2, size / 2 * 0.86

    def place(points: list[Point]) -> list[Point]:
        return [(middle + reach * x, middle + reach * y) for x, y in points]

    if shape in ROUND_SHAPES:
        for centre_x, centre_y, radius, ink in ROUND_SHAPES[shape]:
            (corner,) = place([(centre_x - radius, centre_y - radius)])
            (opposite,) = place([(centre_x + radius, centre_y + radius)])
            draw.ellipse((*corner, *opposite), fill=ink)
    else:
        draw.polygon(place(CORNERED_SHAPES[shape]()), fill=255)
    return mask


ROUND_SHAPES: dict[str, tuple[tuple[float, float, float, int], ...]] = {
    "circle": ((0.0, 0.0, 0.95, 255),),
    "crescent": ((-0.05, 0.0, 0.95, 255), (0.42, -0.1, 0.75, 0)),
}
"""Discs (x, y, radius, 255 to fill or 0 to cut out), painted one over the other."""


def _regular(corners: int, turn: float = 0.0) -> list[Point]:
    return [
        (math.sin(turn + 2 * math.pi * k / corners), -math.cos(turn + 2 * math.pi * k / corners))
        for k in range(corners)
    ]


def _star() -> list[Point]:
    tips, notches = _regular(5), _regular(5, math.pi / 5)
    points = [point for tip, (x, y) in zip(tips, notches, strict=True) for point in (tip, (0.45 * x, 0.45 * y))]
    return [(x, y + 0.08) for x, y in points]


def _heart() -> list[Point]:
    turns = [2 * math.pi * k / 120 for k in range(120)]
    curve = [
        (16 * math.sin(a) ** 3, 13 * math.cos(a) - 5 * math.cos(2 * a) - 2 * math.cos(3 * a) - math.cos(4 * a))
        for a in turns
    ]
    return [(x / 17, -(y + 2.5) / 17) for x, y in curve]


def _cross() -> list[Point]:
    a = 0.3
    b = 0.92
    return [(-a, -b), (a, -b), (a, -a), (b, -a), (b, a), (a, a), (a, b), (-a, b), (-a, a), (-b, a), (-b, -a), (-a, -a)]


CORNERED_SHAPES: dict[str, Callable[[], list[Point]]] = {
    "square": lambda: [(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)],
    "triangle": lambda: [(0.0, -0.85), (0.95, 0.8), (-0.95, 0.8)],
    "star": _star,
    "diamond": lambda: [(0.0, -1.0), (0.66, 0.0), (0.0, 1.0), (-0.66, 0.0)],
    "hexagon": lambda: _regular(6, math.pi / 6),
    "heart": _heart,
    "cross": _cross,
    "arrow": lambda: [(-1, -0.28), (0.1, -0.28), (0.1, -0.75), (1, 0), (0.1, 0.75), (0.1, 0.28), (-1, 0.28)],
}
"""Polygons in the square from -1 to 1, y downwards."""


def _glyph_mask(glyph: str, side: int) -> Image.Image:
    """Return the mask (mode L, oversampled) of a bold digit or letter, `side` pixels high with its rim."""
    height = side * OVERSAMPLING
    margin = round(0.12 * height)
    font = ImageFont.load_default(size=height)
    stroke = round(0.028 * height)
    left, top, right, bottom = font.getbbox(glyph, stroke_width=stroke)
    drawn = Image.new("L", (math.ceil(right - left), math.ceil(bottom - top)))
    ImageDraw.Draw(drawn).text((-left, -top), glyph, fill=255, font=font, stroke_width=stroke)
    inner = height - 2 * margin
    drawn = drawn.resize((max(1, round(drawn.width * inner / drawn.height)), inner), Image.Resampling.LANCZOS)
    # reduce() rounds up, so the width is made a multiple of it and no column is a mixture with nothing.
    width = math.ceil((drawn.width + 2 * margin) / OVERSAMPLING) * OVERSAMPLING
    mask = Image.new("L", (width, height))
    mask.paste(drawn, ((width - drawn.width) // 2, margin))
    return mask


@lru_cache(maxsize=16)  # its size is asked for when a video is planned, the picture when it is drawn
def _caption(text: str, width: int, height: int, scale: float) -> Image.Image:
    """Return dark words on a light plate, on one line where that is large enough to read, else one word a line."""
    wanted = max(12.0, min(width, height) * scale / 2.0)
    one_line = _fitted_size([text], width, height, wanted)
    lines = [text] if one_line >= wanted else text.split()
    size = _fitted_size(lines, width, height, wanted)
    font = ImageFont.load_default(size=size * OVERSAMPLING)
    line_height = round(size * 1.25 * OVERSAMPLING)
    pad = round(0.45 * size * OVERSAMPLING)
    text_width = max(font.getlength(line) for line in lines)
    step = OVERSAMPLING
    plate_size = (
        math.ceil((text_width + 2.6 * pad) / step) * step,
        math.ceil((line_height * len(lines) + 1.4 * pad) / step) * step,
    )
    image = Image.new("RGBA", plate_size)
    draw = ImageDraw.Draw(image)
    box = (0, 0, plate_size[0] - 1, plate_size[1] - 1)
    line = max(1, round(0.07 * size * OVERSAMPLING))
    draw.rounded_rectangle(box, radius=0.9 * pad, fill=(*PLATE, 255), outline=(*INK, 255), width=line)
    for number, words in enumerate(lines):
        middle = (plate_size[0] / 2, plate_size[1] / 2 + (number - (len(lines) - 1) / 2) * line_height)
        draw.text(middle, words, fill=(*INK, 255), font=font, anchor="mm", stroke_width=size * OVERSAMPLING / 60)
    return image.reduce(OVERSAMPLING)


def _fitted_size(lines: list[str], width: int, height: int, wanted: float) -> float:
    """Return the largest font size up to `wanted` pixels at which the lines and their plate stay inside the frame."""
    font = ImageFont.load_default(size=100)
    widest = max(font.getlength(line) for line in lines) / 100
    # In units of the font size the plate adds 2.6 x 0.45 to the width, 1.4 x 0.45 to the height.
    return min(wanted, MAX_SHARE * width / (widest + 1.2), MAX_SHARE * height / (1.25 * len(lines) + 0.7))


def _photo(picture: Picture, side: int) -> Image.Image:
    """Return a picture, its longer side `side` pixels: cut-outs as they are with a rim, others like a photo print."""
    side *= OVERSAMPLING
    image = load_picture(picture, side)
    rim = round(0.035 * side)
    room = side - 2 * rim
    factor = room / max(image.size)
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    image = image.resize(size, Image.Resampling.LANCZOS)
    tile = Image.new("RGBA", (size[0] + 2 * rim, size[1] + 2 * rim))
    if image.getchannel("A").getextrema()[0] == 255:
        line = rim // 4
        tile.paste((*INK, 255), (0, 0, *tile.size))
        tile.paste((*WHITE, 255), (line, line, tile.width - line, tile.height - line))
    else:
        opacity = Image.new("L", tile.size)
        opacity.paste(image.getchannel("A"), (rim, rim))
        tile.paste((*INK, 255), mask=_grown(opacity, 0.7 * rim))
        tile.paste((*WHITE, 255), mask=_grown(opacity, 0.5 * rim))
    tile.alpha_composite(image, (rim, rim))
    return tile.reduce(OVERSAMPLING)
