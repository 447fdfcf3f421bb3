"""Charts of means with intervals: what is where, and what is left out."""

from pathlib import Path

import pytest
from PIL import Image

from bimba.evaluation.pictures import Dot, Point, Scale, Series, curves, dots, draw_curves, draw_dots
from bimba.evaluation.pictures.bars import COLOURS
from bimba.evaluation.pictures.canvas import INK

MARKS = [(0.0, "0%"), (0.5, "50%"), (1.0, "100%")]


def columns_of(path: Path, colour: tuple[int, int, int], below: int) -> list[int]:
    """Columns that hold a colour, under a row."""
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    return [
        x for x in range(picture.width) if any(picture.getpixel((x, y)) == colour for y in range(below, picture.height))
    ]


def test_an_interval_is_as_long_as_it_is(tmp_path: Path) -> None:
    widths = []
    for name, low, high in (("narrow", 0.45, 0.55), ("wide", 0.3, 0.7)):
        draw_dots(tmp_path / f"{name}.png", "t", "s", [Dot("a", 0.5, low, high, ())], each="one seed")
        found = columns_of(tmp_path / f"{name}.png", COLOURS[0], 128)
        widths.append(max(found) - min(found))
    assert widths[1] / widths[0] == pytest.approx(4, rel=0.1)


def test_a_row_without_an_interval_has_its_point_and_its_values(tmp_path: Path) -> None:
    path = tmp_path / "dots.png"
    draw_dots(path, "t", "s", [Dot("a", 0.5, None, None, (0.4, 0.6))], each="one seed", chance=0.5)
    with Image.open(path) as picture:
        assert picture.size == dots.size_of(1)
    blue, orange = columns_of(path, COLOURS[0], 128), columns_of(path, COLOURS[1], 128)
    assert max(blue) - min(blue) < 20
    assert min(orange) < min(blue) < max(blue) < max(orange)
    assert columns_of(path, INK, 128)


def test_lines_have_a_colour_each_and_end_where_their_points_do(tmp_path: Path) -> None:
    path = tmp_path / "curves.png"
    series = [
        Series("one", [Point(0, 0.2, 0.1, 0.3), Point(1, 0.8)]),
        Series("other", [Point(0, 0.9), Point(0.5, 2.0)]),
    ]
    draw_curves(path, "t", "s", Scale("x", MARKS), Scale("y", MARKS), series, chance=0.5)
    with Image.open(path) as picture:
        assert picture.size == (curves.WIDTH, curves.HEIGHT)
    plot = curves.WIDTH - 250
    one, other = ([x for x in columns_of(path, colour, 100) if x <= plot + 5] for colour in curves.PALETTE[:2])
    assert max(one) >= plot
    assert max(other) < plot - 300


def test_no_two_lines_of_a_chart_look_alike() -> None:
    assert len(set(curves.PALETTE)) == len(curves.PALETTE) >= 9
