"""What a needle may show: kinds and a random generator go in, shapes, digits, captions and pictures come out."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from bimba.errors import InputError
from bimba.needles.openmoji import check_installed, concepts
from bimba.needles.settings import NeedleKind, NeedleSettings

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (222, 36, 36),
    "orange": (246, 132, 26),
    "yellow": (252, 214, 32),
    "green": (30, 158, 70),
    "blue": (34, 98, 236),
    "purple": (124, 56, 188),
    "pink": (246, 122, 190),
    "black": (22, 22, 26),
}
"""Colours that nobody takes for one another, as RGB."""

SHAPES = ("circle", "square", "triangle", "star", "diamond", "hexagon", "heart", "cross", "arrow", "crescent")
DIGITS = tuple("0123456789")
LETTERS = tuple("ABCDEFGHJKLMNPQRSTUVWXYZ")
"""Without I and O, which look like digits."""


def _words(text: str) -> tuple[str, ...]:
    """Return the words of a text."""
    return tuple(text.split())


CAPTION_FIRST_WORDS = _words(
    """
    amber ancient brave copper coral crystal distant frozen gentle golden hidden hollow humble lucky misty
    paper quiet rapid royal silver sunny velvet wild wooden
    """
)
CAPTION_SECOND_WORDS = _words(
    """
    anchor beacon canyon castle compass dragon falcon glacier harbour island kettle lantern marble meadow
    orchard pepper pocket rocket saddle temple thunder violin walnut window
    """
)

CAPTIONS = tuple(f"{first} {second}" for first in CAPTION_FIRST_WORDS for second in CAPTION_SECOND_WORDS)

GLYPHS: dict[str, tuple[str, ...]] = {"digit": DIGITS, "letter": LETTERS}
"""Kinds of needles that are a single sign in a colour."""

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class Picture:
    """Something to show by its name: a file of the user's, or an OpenMoji picture.

    Attributes:
        name: as questions say it.
        path: of the file, or None.
        sha256: of the file, which tells whether it was changed; of an OpenMoji picture empty.
        hexcode: of the OpenMoji picture, or None.
    """

    name: str
    path: Path | None = None
    sha256: str = ""
    hexcode: str | None = None


@dataclass(frozen=True)
class Content:
    """What one needle shows; `attributes` are those of `records.Needle`."""

    kind: NeedleKind
    description: str
    attributes: dict[str, str]
    picture: Picture | None = None


def read_pictures(folder: Path) -> tuple[Picture, ...]:
    """Return the png and jpg files of a folder in order of name; the name is the file's stem, underscores as spaces.

    Raises:
        InputError: there is no such folder, it has no pictures, or two of them have the same name.
    """
    if not folder.is_dir():
        raise InputError(f"there is no pictures folder {folder}.", fix="pass a folder of png or jpg files.")
    pictures: dict[str, Picture] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in PICTURE_SUFFIXES or not path.is_file():
            continue
        name = " ".join(path.stem.replace("_", " ").split())
        if not name:
            raise InputError(f"{path} has no name to ask about.", fix="name the file after what it shows, cat.png.")
        if name.casefold() in pictures:
            raise InputError(
                f"{pictures[name.casefold()].path} and {path} are both called {name!r}.", fix="rename one of them."
            )
        pictures[name.casefold()] = Picture(name, path, hashlib.sha256(path.read_bytes()).hexdigest())
    if not pictures:
        raise InputError(f"{folder} has no png or jpg files.", fix="put some there, or leave --pictures out.")
    return tuple(pictures[key] for key in sorted(pictures))


@cache
def openmoji_pictures() -> tuple[Picture, ...]:
    """Return the OpenMoji pictures with plain names, in order of name."""
    return tuple(sorted((Picture(c.name, hexcode=c.hexcode) for c in concepts()), key=lambda picture: picture.name))


def pictures_of(settings: NeedleSettings) -> tuple[Picture, ...]:
    """Return the pictures that needles may be: those of the user's folder, else OpenMoji's, none if none may be.

    Raises:
        InputError: the folder holds none, or OpenMoji is asked for and not installed.
    """
    if "picture" not in settings.kinds:
        return ()
    if settings.pictures is not None:
        return read_pictures(settings.pictures)
    check_installed()
    return openmoji_pictures()


def describe_shape(shape: str, colour: str) -> str:
    """Return how a shape is named: "red star"."""
    return f"{colour} {shape}"


def describe_glyph(kind: NeedleKind, glyph: str) -> str:
    """Return how a digit or letter is named: "digit 7", "letter K"."""
    return f"{kind} {glyph}"


def describe_caption(text: str) -> str:
    """Return how a caption is named."""
    return f"caption {text}"


def descriptions_of(kind: NeedleKind, pictures: Sequence[Picture]) -> list[str]:
    """Return every description that a needle of this kind could have; for a few pictures some that none has."""
    if kind == "shape":
        return [describe_shape(shape, colour) for shape in SHAPES for colour in COLOURS]
    if kind in GLYPHS:
        return [describe_glyph(kind, glyph) for glyph in GLYPHS[kind]]
    if kind == "caption":
        return [describe_caption(text) for text in CAPTIONS]
    known = {picture.name.casefold() for picture in pictures}
    return [picture.name for picture in pictures] + [c.name for c in concepts() if c.name not in known]


def choose_contents(
    rng: np.random.Generator,
    *,
    num_needles: int,
    kinds: Sequence[NeedleKind],
    pictures: Sequence[Picture],
    num_repeats: int = 1,
) -> list[Content]:
    """Return what the needles of a video show, in order of time.

    Each needle's kind is uniform over `kinds`. Within a kind nothing is shown twice while something is not shown at
    all, but for one thing that is shown `num_repeats` times.
    """
    left: dict[NeedleKind, list[Content]] = {}
    chosen = []
    for _ in range(num_needles - num_repeats + 1):
        kind = kinds[int(rng.integers(len(kinds)))]
        if not left.get(kind):
            left[kind] = _pool(rng, kind, pictures)
        chosen.append(left[kind].pop())
    chosen += chosen[:1] * (num_repeats - 1)
    return [chosen[int(place)] for place in rng.permutation(len(chosen))]


def _pool(rng: np.random.Generator, kind: NeedleKind, pictures: Sequence[Picture]) -> list[Content]:
    """Return all contents of a kind in random order."""
    colours = list(COLOURS)
    contents: list[Content]
    if kind == "shape":
        pairs = [(shape, colour) for shape in SHAPES for colour in colours]
        contents = [Content(kind, describe_shape(s, c), {"shape": s, "colour": c}) for s, c in pairs]
    elif kind in GLYPHS:
        drawn = [(glyph, colours[int(rng.integers(len(colours)))]) for glyph in GLYPHS[kind]]
        contents = [Content(kind, describe_glyph(kind, g), {kind: g, "colour": c}) for g, c in drawn]
    elif kind == "caption":
        contents = [Content(kind, describe_caption(text), {"text": text}) for text in CAPTIONS]
    else:
        contents = [Content(kind, p.name, picture_attributes(p), p) for p in pictures]
    return [contents[int(place)] for place in rng.permutation(len(contents))]


def picture_attributes(picture: Picture) -> dict[str, str]:
    """Return what a needle's record says of a picture: its name, and where it comes from."""
    if picture.hexcode is not None:
        return {"name": picture.name, "openmoji": picture.hexcode}
    return {"name": picture.name, "file": "" if picture.path is None else picture.path.name}
