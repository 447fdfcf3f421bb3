"""Points of several series in, a chart of lines with their intervals out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bimba.evaluation.pictures.canvas import INK, LINE, PALE, SMALL, TITLE, Canvas, Colour, width_of

WIDTH, HEIGHT = 1100, 640
PALETTE: tuple[Colour, ...] = (
    (0, 114, 178), (230, 159, 0), (0, 158, 115), (204, 121, 167), (213, 94, 0), (86, 180, 233), (90, 90, 90),
    (150, 130, 0), (120, 60, 140),
)  # fmt: skip
"""M. Okabe and K. Ito's colours, without yellow, which is too pale for a line, and two more."""
_LEFT, _RIGHT, _TOP, _BOTTOM, _MARGIN = 96, 250, 100, 92, 20
_FEW = 12
"""Points below which each is marked."""
_APART = 10
"""Pixels between marked points of two lines at one place, so that equal ones do not hide each other."""

Place = Callable[[float, float], tuple[float, float]]


@dataclass(frozen=True)
class Point:
    """A point of a line.

    Attributes:
        x: its place from left to right, 0 to 1.
        y: its value.
        low: of its interval; None without one.
        high: of its interval.
    """

    x: float
    y: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Series:
    """A line with its name."""

    name: str
    points: Sequence[Point]


@dataclass(frozen=True)
class Scale:
    """An axis.

    Attributes:
        title: what it shows.
        marks: place and words of each mark; of the lower axis 0 to 1, of the left one in its own unit.
    """

    title: str
    marks: Sequence[tuple[float, str]]


def draw_curves(
    path: Path,
    title: str,
    subtitle: str,
    across: Scale,
    up: Scale,
    series: Sequence[Series],
    *,
    chance: float | None = None,
) -> None:
    """Draw lines into a PNG file.

    Args:
        path: of the file.
        title: in large letters.
        subtitle: in small letters below.
        across: the lower axis.
        up: the left axis, from its lowest mark to its highest.
        series: the lines.
        chance: what guessing gives, if that is one number.
    """
    canvas = Canvas(WIDTH, HEIGHT)
    canvas.text((_MARGIN, 32), title, size=TITLE, anchor="lm")
    canvas.text((_MARGIN, 66), subtitle, size=SMALL, colour=PALE, anchor="lm")
    right, bottom = WIDTH - _RIGHT, HEIGHT - _BOTTOM
    least, most = up.marks[0][0], up.marks[-1][0]

    def place(x: float, y: float) -> tuple[float, float]:
        share = min(max((y - least) / (most - least), 0.0), 1.0)
        return _LEFT + x * (right - _LEFT), bottom - share * (bottom - _TOP)

    for value, words in up.marks:
        _, y = place(0, value)
        canvas.draw.line((_LEFT, y, right, y), fill=LINE)
        canvas.text((_LEFT - 10, y), words, size=SMALL, anchor="rm")
    for x, words in across.marks:
        canvas.text((place(x, least)[0], bottom + 20), words, size=SMALL)
    canvas.text(((_LEFT + right) / 2, bottom + 56), across.title, size=SMALL + 2)
    canvas.upright((_MARGIN + 8, (_TOP + bottom) // 2), up.title, size=SMALL + 2)
    if chance is not None:
        _, y = place(0, chance)
        canvas.draw.line((_LEFT, y, right, y), fill=INK, width=2)
        canvas.text((right + 12, y), "guessing", size=SMALL, anchor="lm")
    for number, line in enumerate(series):
        aside = (number - (len(series) - 1) / 2) * _APART if len(line.points) < _FEW else 0.0
        places = [(place(point.x, point.y), _ends(point, place)) for point in line.points]
        colour = PALETTE[number % len(PALETTE)]
        _draw_line(canvas, [((x + aside, y), ends) for (x, y), ends in places], colour)
    _draw_legend(canvas, [line.name for line in series], right + 100 if chance is not None else right + 24)
    canvas.image.save(path)


def _ends(point: Point, place: Place) -> tuple[float, float] | None:
    """Heights in pixels of an interval's ends."""
    if point.low is None or point.high is None:
        return None
    return place(point.x, point.low)[1], place(point.x, point.high)[1]


def _draw_line(
    canvas: Canvas, points: Sequence[tuple[tuple[float, float], tuple[float, float] | None]], colour: Colour
) -> None:
    if len(points) > 1:
        canvas.draw.line([xy for xy, _ in points], fill=colour, width=3)
    for (x, y), ends in points:
        if ends is not None:
            canvas.draw.line((x, ends[0], x, ends[1]), fill=colour, width=2)
            for end in ends:
                canvas.draw.line((x - 6, end, x + 6, end), fill=colour, width=2)
            canvas.draw.ellipse((x - 5, y - 5, x + 5, y + 5), fill=colour)
        elif len(points) < _FEW:
            canvas.draw.ellipse((x - 5, y - 5, x + 5, y + 5), fill=colour)


def _draw_legend(canvas: Canvas, names: Sequence[str], left: float) -> None:
    left = min(left, WIDTH - 50 - max(width_of(name, SMALL) for name in names))
    for number, name in enumerate(names):
        y = _TOP + 12 + number * 26
        canvas.draw.line((left, y, left + 24, y), fill=PALETTE[number % len(PALETTE)], width=4)
        canvas.text((left + 32, y), name, size=SMALL, anchor="lm")
