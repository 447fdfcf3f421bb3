"""Shares by name in, a chart of bars with their intervals out: two ways of asking side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bimba.evaluation.pictures.canvas import INK, LINE, PALE, SMALL, TEXT, TITLE, Canvas, Colour, width_of

COLOURS: tuple[Colour, Colour] = (0, 114, 178), (230, 159, 0)
"""Blue and orange of M. Okabe and K. Ito's colours, which everybody tells apart."""

WIDTH = 1100
_GROUP, _BAR, _TOP, _BOTTOM, _MARGIN = 74, 24, 128, 64, 20
_NUMBERS = 150
"""Pixels right of the bars for numbers."""


@dataclass(frozen=True)
class Bar:
    """One bar.

    Attributes:
        share: 0 to 1.
        low: of its interval.
        high: of its interval.
        count: of questions.
        chance: what guessing gives, if that is known.
    """

    share: float
    low: float
    high: float
    count: int
    chance: float | None = None


def size_of(num_groups: int) -> tuple[int, int]:
    """Width and height in pixels of a chart."""
    return WIDTH, _TOP + num_groups * _GROUP + _BOTTOM


def draw_bars(
    path: Path,
    title: str,
    subtitle: str,
    names: tuple[str, str],
    groups: Sequence[tuple[str, tuple[Bar | None, Bar | None]]],
) -> None:
    """Draw bars from left to right into a PNG file.

    Args:
        path: of the file.
        title: in large letters.
        subtitle: in small letters below.
        names: of the two ways of asking.
        groups: label, and a bar for each way, or None.
    """
    width, height = size_of(len(groups))
    canvas = Canvas(width, height)
    canvas.text((_MARGIN, 32), title, size=TITLE, anchor="lm")
    canvas.text((_MARGIN, 66), subtitle, size=SMALL, colour=PALE, anchor="lm")
    _draw_legend(canvas, names)
    left = _MARGIN + 16 + max(width_of(label, TEXT) for label, _ in groups)
    long, bottom = width - left - _NUMBERS, height - _BOTTOM
    for percent in range(0, 101, 25):
        x = left + long * percent / 100
        canvas.draw.line((x, _TOP, x, bottom), fill=LINE)
        canvas.text((x, bottom + 20), f"{percent}%", size=SMALL)
    for number, (label, bars) in enumerate(groups):
        middle = _TOP + (number + 0.5) * _GROUP
        canvas.text((left - 12, middle), label, anchor="rm")
        for way, bar in enumerate(bars):
            top = middle + (way - 1) * (_BAR + 2) + 1
            if bar is not None:
                _draw_bar(canvas, (left, top), long, bar, COLOURS[way])
    canvas.image.save(path)


def _draw_legend(canvas: Canvas, names: tuple[str, str]) -> None:
    x, y = float(_MARGIN), 100
    for name, colour in zip(names, COLOURS, strict=True):
        canvas.draw.rectangle((x, y - 8, x + 22, y + 8), fill=colour)
        canvas.text((x + 30, y), name, size=SMALL, anchor="lm")
        x += 60 + width_of(name, SMALL)
    canvas.draw.line((x, y, x + 22, y), fill=INK, width=2)
    canvas.text((x + 30, y), "95% interval", size=SMALL, anchor="lm")
    x += 60 + width_of("95% interval", SMALL)
    canvas.draw.line((x + 11, y - 9, x + 11, y + 9), fill=INK, width=4)
    canvas.text((x + 22, y), "guessing", size=SMALL, anchor="lm")


def _draw_bar(canvas: Canvas, corner: tuple[float, float], long: float, bar: Bar, colour: Colour) -> None:
    left, top = corner
    middle = top + _BAR / 2
    canvas.draw.rectangle((left, top, left + long * bar.share, top + _BAR), fill=colour)
    low, high = left + long * bar.low, left + long * bar.high
    canvas.draw.line((low, middle, high, middle), fill=INK, width=2)
    for end in (low, high):
        canvas.draw.line((end, middle - 5, end, middle + 5), fill=INK, width=2)
    if bar.chance is not None:
        x = left + long * bar.chance
        canvas.draw.line((x, top, x, top + _BAR), fill=INK, width=4)
    words = f"{100 * bar.share:.0f}% of {bar.count}"
    canvas.text((left + long + 12, middle), words, size=SMALL, anchor="lm")
