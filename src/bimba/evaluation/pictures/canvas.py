"""Sizes in, an empty picture to write and draw on out; shares in, colours out."""

from functools import cache
from itertools import pairwise

from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]

INK: Colour = (34, 34, 34)
PALE: Colour = (110, 110, 110)
LINE: Colour = (216, 216, 216)
EMPTY: Colour = (240, 240, 240)
WHITE: Colour = (255, 255, 255)
TITLE, TEXT, SMALL = 26, 19, 15
"""Sizes of letters in pixels."""

_VIRIDIS = ("440154", "482878", "3e4a89", "31688e", "26828e", "1f9e89", "35b779", "6dcd59", "b4de2c", "fde725")
"""The colour map viridis (S. van der Walt and N. Smith, CC0) at ten places: as light as the value is high, whatever
colours one sees."""
_DARK = 0.21
"""Light of a colour below which white letters read better; relative luminance of WCAG."""


class Canvas:
    """A white picture.

    Args:
        width: pixels.
        height: pixels.
    """

    def __init__(self, width: int, height: int) -> None:
        self.image = Image.new("RGB", (width, height), WHITE)
        self.draw = ImageDraw.Draw(self.image)

    def text(
        self, place: tuple[float, float], words: str, *, size: int = TEXT, colour: Colour = INK, anchor: str = "mm"
    ) -> None:
        """Write words; the anchor is Pillow's: "mm" is the middle, "lm" the middle of the left side, ..."""
        self.draw.text(place, words, fill=colour, font=font(size), anchor=anchor)

    def upright(self, place: tuple[int, int], words: str, *, size: int = TEXT) -> None:
        """Write words from bottom to top, their middle at a place."""
        width, height = (int(side) for side in font(size).getbbox(words, anchor="lt")[2:])
        strip = Image.new("RGB", (width + 8, height + 8), WHITE)
        ImageDraw.Draw(strip).text((4, 4), words, fill=INK, font=font(size), anchor="lt")
        turned = strip.transpose(Image.Transpose.ROTATE_90)
        self.image.paste(turned, (place[0] - turned.width // 2, place[1] - turned.height // 2))


@cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font that comes with Pillow, so that pictures look alike on every machine."""
    return ImageFont.load_default(size=size)


def width_of(words: str, size: int) -> int:
    """Pixels that words take."""
    return round(font(size).getlength(words))


def colour_of(share: float) -> Colour:
    """Colour of a share, 0 to 1."""
    place = min(max(share, 0.0), 1.0) * (len(_VIRIDIS) - 1)
    below = min(int(place), len(_VIRIDIS) - 2)
    low, high = list(pairwise(_VIRIDIS))[below]
    mixed = [round(a + (b - a) * (place - below)) for a, b in zip(bytes.fromhex(low), bytes.fromhex(high), strict=True)]
    return mixed[0], mixed[1], mixed[2]


def ink_on(colour: Colour) -> Colour:
    """Black or white, whichever can be read on a colour."""
    light = sum(weight * (part / 255) ** 2.2 for weight, part in zip((0.2126, 0.7152, 0.0722), colour, strict=True))
    return WHITE if light < _DARK else INK
