"""Pictures of shares: their sizes, their colours, and what is where."""

from pathlib import Path

import pytest
from PIL import Image

from bimba.evaluation.pictures import Axis, Bar, Cell, bars, draw_bars, draw_heat_map, heat_map
from bimba.evaluation.pictures.canvas import EMPTY, INK, WHITE, colour_of, ink_on

ROWS = Axis("frames", ["64", "128", "512"])
COLUMNS = Axis("place", [f"{tenth * 10}%" for tenth in range(10)])


def contrast(first: tuple[int, int, int], second: tuple[int, int, int]) -> float:
    """As WCAG 2 defines it."""

    def light(colour: tuple[int, int, int]) -> float:
        parts = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    low, high = sorted((light(first), light(second)))
    return (high + 0.05) / (low + 0.05)


def test_heat_map_has_a_cell_for_each_pair_in_the_colour_of_its_share(tmp_path: Path) -> None:
    path = tmp_path / "map.png"
    cells = {(0, 0): Cell(0.0, 4), (2, 9): Cell(1.0, 4), (1, 3): Cell(0.5, 4)}
    draw_heat_map(path, "title", "subtitle", ROWS, COLUMNS, cells)
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    assert picture.size == heat_map.size_of(ROWS, COLUMNS)
    assert picture.width >= 10 * heat_map.CELL_WIDTH
    left, top = picture.width - 10 * heat_map.CELL_WIDTH - 150, 100
    for row in range(3):
        for column in range(10):
            place = (left + column * heat_map.CELL_WIDTH + 5, top + row * heat_map.CELL_HEIGHT + 5)
            cell = cells.get((row, column))
            assert picture.getpixel(place) == (EMPTY if cell is None else colour_of(cell.share))


def test_heat_map_of_one_row_has_room_for_its_scale(tmp_path: Path) -> None:
    rows = Axis("frames", ["64"])
    draw_heat_map(tmp_path / "map.png", "title", "subtitle", rows, COLUMNS, {})
    with Image.open(tmp_path / "map.png") as picture:
        assert picture.height >= 300


def test_bars_are_as_long_as_their_shares(tmp_path: Path) -> None:
    path = tmp_path / "bars.png"
    half, whole = Bar(0.5, 0.4, 0.6, 10), Bar(1.0, 0.9, 1.0, 10, chance=0.25)
    groups = [("a", (half, whole)), ("b", (half, None))]
    draw_bars(path, "title", "subtitle", ("one", "two"), groups)
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    assert picture.size == bars.size_of(2)
    lengths = dict.fromkeys(bars.COLOURS, 0)
    for x in range(picture.width):
        column = {picture.getpixel((x, y)) for y in range(128, picture.height)}
        for colour in bars.COLOURS:
            lengths[colour] += colour in column
    blue, orange = (lengths[colour] for colour in bars.COLOURS)
    assert blue / orange == pytest.approx(0.5, abs=0.02)


def test_colours_get_lighter_with_the_share() -> None:
    lights = [contrast((0, 0, 0), colour_of(percent / 100)) for percent in range(101)]
    assert lights == sorted(lights)
    assert colour_of(-1) == colour_of(0)
    assert colour_of(2) == colour_of(1)


@pytest.mark.parametrize("percent", range(0, 101, 5))
def test_numbers_can_be_read_on_every_colour(percent: int) -> None:
    colour = colour_of(percent / 100)
    assert ink_on(colour) in (INK, WHITE)
    assert contrast(ink_on(colour), colour) >= 3.9
