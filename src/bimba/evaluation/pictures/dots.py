"""Means with their intervals in, a chart of one row each out: a point, its interval, and what it is the mean of."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bimba.evaluation.pictures.bars import COLOURS
from bimba.evaluation.pictures.canvas import INK, LINE, PALE, SMALL, TEXT, TITLE, Canvas, width_of

WIDTH = 1100
ROW = 46
_TOP, _BOTTOM, _MARGIN, _NUMBERS = 128, 64, 20, 230


@dataclass(frozen=True)
class Dot:
    """One row.

    Attributes:
        label: of the row.
        mean: 0 to 1.
        low: of its interval; None without one.
        high: of its interval.
        values: what it is the mean of.
    """

    label: str
    mean: float
    low: float | None
    high: float | None
    values: Sequence[float]


def size_of(num_rows: int) -> tuple[int, int]:
    """Width and height in pixels of a chart."""
    return WIDTH, _TOP + num_rows * ROW + _BOTTOM


def draw_dots(
    path: Path, title: str, subtitle: str, dots: Sequence[Dot], *, each: str, chance: float | None = None
) -> None:
    """Draw rows from top to bottom into a PNG file.

    Args:
        path: of the file.
        title: in large letters.
        subtitle: in small letters below.
        dots: the rows.
        each: what a value is of: "one seed"; empty where there are none.
        chance: what guessing gives, if that is one number.
    """
    width, height = size_of(len(dots))
    canvas = Canvas(width, height)
    canvas.text((_MARGIN, 32), title, size=TITLE, anchor="lm")
    canvas.text((_MARGIN, 66), subtitle, size=SMALL, colour=PALE, anchor="lm")
    _draw_legend(canvas, each, has_chance=chance is not None)
    left = _MARGIN + 16 + max(width_of(dot.label, TEXT) for dot in dots)
    long, bottom = width - left - _NUMBERS, height - _BOTTOM
    for percent in range(0, 101, 25):
        x = left + long * percent / 100
        canvas.draw.line((x, _TOP, x, bottom), fill=LINE)
        canvas.text((x, bottom + 20), f"{percent}%", size=SMALL)
    if chance is not None:
        canvas.draw.line((left + long * chance, _TOP, left + long * chance, bottom), fill=INK, width=2)
    for number, dot in enumerate(dots):
        middle = _TOP + (number + 0.5) * ROW
        canvas.text((left - 12, middle), dot.label, anchor="rm")
        _draw_dot(canvas, (left, middle), long, dot)
    canvas.image.save(path)


def _draw_legend(canvas: Canvas, each: str, *, has_chance: bool) -> None:
    x, y = float(_MARGIN), 100
    canvas.draw.ellipse((x, y - 8, x + 16, y + 8), fill=COLOURS[0])
    for words, shift in (("mean", 26), ("95% interval", 34)):
        canvas.text((x + shift, y), words, size=SMALL, anchor="lm")
        x += shift + 26 + width_of(words, SMALL)
        if words == "mean":
            canvas.draw.line((x, y, x + 26, y), fill=COLOURS[0], width=4)
    if each:
        canvas.draw.ellipse((x, y - 4, x + 8, y + 4), fill=COLOURS[1])
        canvas.text((x + 18, y), each, size=SMALL, anchor="lm")
        x += 44 + width_of(each, SMALL)
    if has_chance:
        canvas.draw.line((x, y - 9, x, y + 9), fill=INK, width=2)
        canvas.text((x + 12, y), "guessing", size=SMALL, anchor="lm")


def _draw_dot(canvas: Canvas, place: tuple[float, float], long: float, dot: Dot) -> None:
    left, middle = place
    words = f"{100 * dot.mean:.1f}%"
    if dot.low is not None and dot.high is not None:
        low, high = left + long * dot.low, left + long * dot.high
        canvas.draw.line((low, middle, high, middle), fill=COLOURS[0], width=4)
        for end in (low, high):
            canvas.draw.line((end, middle - 8, end, middle + 8), fill=COLOURS[0], width=3)
        words += f"  ({100 * dot.low:.0f} to {100 * dot.high:.0f})"
    x = left + long * dot.mean
    canvas.draw.ellipse((x - 8, middle - 8, x + 8, middle + 8), fill=COLOURS[0])
    for value in dot.values:
        x = left + long * value
        canvas.draw.ellipse((x - 4, middle + 9, x + 4, middle + 17), fill=COLOURS[1])
    canvas.text((left + long + 14, middle), words, size=SMALL, anchor="lm")
