"""What a needle may show: kinds and a random generator go in, shapes, digits, captions and pictures come out."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bimba.errors import InputError
from bimba.needles.settings import NeedleKind

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

THINGS = _words(
    """
    apple bicycle book bridge camera candle chair clock cloud drum elephant feather guitar hammer helmet
    horse ladder lamp leaf moon mountain owl piano rabbit ship shoe spoon train tree umbrella
    """
)
"""Names for wrong answers where the user's pictures are too few."""

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class Picture:
    """A picture file of the user: its name as questions say it, and the hash that tells whether it was changed."""

    name: str
    path: Path
    sha256: str


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


def describe_shape(shape: str, colour: str) -> str:
    """Return how a shape is named: "a red star", "an orange star"."""
    return f"{'an' if colour[0] in 'aeiou' else 'a'} {colour} {shape}"


def describe_digit(digit: str) -> str:
    """Return how a digit is named."""
    return f"the digit {digit}"


def describe_caption(text: str) -> str:
    """Return how a caption is named."""
    return f'the caption "{text}"'


def describe_picture(name: str) -> str:
    """Return how a picture of the user is named."""
    return f'the picture "{name}"'


def descriptions_of(kind: NeedleKind, pictures: Sequence[Picture]) -> list[str]:
    """Return every description that a needle of this kind could have, and for pictures some that none has."""
    if kind == "shape":
        return [describe_shape(shape, colour) for shape in SHAPES for colour in COLOURS]
    if kind == "digit":
        return [describe_digit(digit) for digit in DIGITS]
    if kind == "caption":
        return [describe_caption(f"{a} {b}") for a in CAPTION_FIRST_WORDS for b in CAPTION_SECOND_WORDS]
    known = {picture.name.casefold() for picture in pictures}
    names = [picture.name for picture in pictures] + [thing for thing in THINGS if thing not in known]
    return [describe_picture(name) for name in names]


def choose_contents(
    rng: np.random.Generator, *, num_needles: int, kinds: Sequence[NeedleKind], pictures: Sequence[Picture]
) -> list[Content]:
    """Return what the needles of a video show, in order of time.

    Each needle's kind is uniform over `kinds`. Within a kind nothing is shown twice before everything was shown once.
    """
    left: dict[NeedleKind, list[Content]] = {}
    chosen = []
    for _ in range(num_needles):
        kind = kinds[int(rng.integers(len(kinds)))]
        if not left.get(kind):
            left[kind] = _pool(rng, kind, pictures)
        chosen.append(left[kind].pop())
    return chosen


def _pool(rng: np.random.Generator, kind: NeedleKind, pictures: Sequence[Picture]) -> list[Content]:
    """Return all contents of a kind in random order."""
    colours = list(COLOURS)
    contents: list[Content]
    if kind == "shape":
        pairs = [(shape, colour) for shape in SHAPES for colour in colours]
        contents = [Content(kind, describe_shape(s, c), {"shape": s, "colour": c}) for s, c in pairs]
    elif kind == "digit":
        drawn = [(digit, colours[int(rng.integers(len(colours)))]) for digit in DIGITS]
        contents = [Content(kind, describe_digit(d), {"digit": d, "colour": c}) for d, c in drawn]
    elif kind == "caption":
        texts = [f"{a} {b}" for a in CAPTION_FIRST_WORDS for b in CAPTION_SECOND_WORDS]
        contents = [Content(kind, describe_caption(text), {"text": text}) for text in texts]
    else:
        contents = [Content(kind, describe_picture(p.name), {"name": p.name, "file": p.path.name}, p) for p in pictures]
    return [contents[int(place)] for place in rng.permutation(len(contents))]
