"""Shares of rows and columns in, a heat map with the numbers in its cells and a scale beside it out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bimba.evaluation.pictures.canvas import (
    EMPTY,
    INK,
    PALE,
    SMALL,
    TEXT,
    TITLE,
    WHITE,
    Canvas,
    colour_of,
    ink_on,
    width_of,
)

CELL_WIDTH, CELL_HEIGHT = 92, 68
_TOP, _BOTTOM, _RIGHT, _MARGIN = 100, 92, 150, 20
_SCALE_WIDTH, _LEAST_SCALE = 26, 200


@dataclass(frozen=True)
class Cell:
    """What a cell shows.

    Attributes:
        share: 0 to 1.
        count: of questions.
    """

    share: float
    count: int


@dataclass(frozen=True)
class Axis:
    """Rows or columns.

    Attributes:
        title: what they are.
        labels: of each.
    """

    title: str
    labels: Sequence[str]


def size_of(rows: Axis, columns: Axis) -> tuple[int, int]:
    """Width and height in pixels of a heat map."""
    height = max(len(rows.labels) * CELL_HEIGHT, _LEAST_SCALE)
    return _left(rows) + len(columns.labels) * CELL_WIDTH + _RIGHT, _TOP + height + _BOTTOM


def draw_heat_map(
    path: Path, title: str, subtitle: str, rows: Axis, columns: Axis, cells: Mapping[tuple[int, int], Cell]
) -> None:
    """Draw a heat map into a PNG file.

    Args:
        path: of the file.
        title: in large letters.
        subtitle: in small letters below.
        rows: from top to bottom.
        columns: from left to right.
        cells: by number of row and column; one that is missing is grey.
    """
    canvas = Canvas(*size_of(rows, columns))
    left = _left(rows)
    right, bottom = left + len(columns.labels) * CELL_WIDTH, _TOP + len(rows.labels) * CELL_HEIGHT
    canvas.text((_MARGIN, 32), title, size=TITLE, anchor="lm")
    canvas.text((_MARGIN, 66), subtitle, size=SMALL, colour=PALE, anchor="lm")
    canvas.upright((_MARGIN + TEXT // 2, (_TOP + bottom) // 2), rows.title)
    for row, label in enumerate(rows.labels):
        canvas.text((left - 12, _TOP + (row + 0.5) * CELL_HEIGHT), label, anchor="rm")
        for column in range(len(columns.labels)):
            corner = (left + column * CELL_WIDTH, _TOP + row * CELL_HEIGHT)
            _draw_cell(canvas, corner, cells.get((row, column)))
    for column, label in enumerate(columns.labels):
        canvas.text((left + (column + 0.5) * CELL_WIDTH, bottom + 22), label, size=SMALL + 1)
    canvas.text(((left + right) / 2, bottom + 58), columns.title)
    _draw_scale(canvas, right + 34, max(bottom, _TOP + _LEAST_SCALE))
    canvas.image.save(path)


def _left(rows: Axis) -> int:
    """Where the cells begin."""
    return _MARGIN + TEXT + 24 + max(width_of(label, TEXT) for label in rows.labels)


def _draw_cell(canvas: Canvas, corner: tuple[int, int], cell: Cell | None) -> None:
    left, top = corner
    colour = EMPTY if cell is None else colour_of(cell.share)
    canvas.draw.rectangle((left, top, left + CELL_WIDTH - 1, top + CELL_HEIGHT - 1), fill=colour, outline=WHITE)
    middle = left + CELL_WIDTH / 2
    if cell is None:
        canvas.text((middle, top + CELL_HEIGHT / 2), "none", size=SMALL, colour=PALE)
        return
    canvas.text((middle, top + CELL_HEIGHT * 0.4), f"{100 * cell.share:.0f}%", colour=ink_on(colour))
    canvas.text((middle, top + CELL_HEIGHT * 0.74), f"of {cell.count}", size=SMALL, colour=ink_on(colour))


def _draw_scale(canvas: Canvas, left: int, bottom: int) -> None:
    """The colours and what they stand for."""
    height = bottom - _TOP
    for row in range(height):
        colour = colour_of(1 - row / (height - 1))
        canvas.draw.line((left, _TOP + row, left + _SCALE_WIDTH, _TOP + row), fill=colour)
    for percent in range(0, 101, 25):
        y = _TOP + (1 - percent / 100) * (height - 1)
        canvas.draw.line((left + _SCALE_WIDTH, y, left + _SCALE_WIDTH + 6, y), fill=INK)
        canvas.text((left + _SCALE_WIDTH + 12, y), f"{percent}%", size=SMALL, anchor="lm")
    canvas.text((left, _TOP - 20), "right answers", size=SMALL, colour=PALE, anchor="lm")
