"""Losses of a run in, a picture of them out: a self-contained SVG."""

import math
from collections.abc import Iterable, Sequence
from itertools import accumulate

WIDTH, HEIGHT = 640, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 16, 44
_NUM_TICKS = 5
_MOST_POINTS = 1000
_SMOOTHING = 0.05
"""Share of the run over which the smooth line averages."""


def loss_curve(losses: Sequence[tuple[int, float]]) -> str:
    """Draw losses over steps: each entry pale, their running mean strong.

    Args:
        losses: (step, loss), in order; entries that are not finite are left out.

    Returns:
        text of an SVG file.
    """
    points = [(step, loss) for step, loss in losses if math.isfinite(loss)]
    if not points:
        return _svg(f'<text x="{WIDTH / 2}" y="{HEIGHT / 2}" text-anchor="middle">no finite loss</text>')
    step_ticks = _ticks(points[0][0], points[-1][0])
    loss_ticks = _ticks(min(loss for _, loss in points), max(loss for _, loss in points))

    def place(step: float, loss: float) -> tuple[float, float]:
        across = (step - step_ticks[0]) / (step_ticks[-1] - step_ticks[0])
        up = (loss - loss_ticks[0]) / (loss_ticks[-1] - loss_ticks[0])
        return _LEFT + across * (WIDTH - _LEFT - _RIGHT), HEIGHT - _BOTTOM - up * (HEIGHT - _TOP - _BOTTOM)

    parts = []
    for loss in loss_ticks:
        _, y = place(step_ticks[0], loss)
        parts.append(f'<path d="M{_LEFT} {y:.1f}H{WIDTH - _RIGHT}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{loss:g}</text>')
    for step in step_ticks:
        x, _ = place(step, loss_ticks[0])
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - _BOTTOM + 18}" text-anchor="middle">{step:g}</text>')
    middle = (WIDTH + _LEFT - _RIGHT) / 2
    parts.append(f'<text x="{middle:.0f}" y="{HEIGHT - 6}" text-anchor="middle">step</text>')
    parts.append(_line((place(*point) for point in _thinned(points)), "#9ec5e8", 1))
    parts.append(_line((place(*point) for point in _thinned(_smooth(points))), "#0b5394", 2))
    return _svg("\n".join(parts))


def _ticks(lowest: float, highest: float) -> list[float]:
    """Round numbers that enclose a range."""
    if highest <= lowest:
        lowest, highest = lowest - 0.5, highest + 0.5
    rough = (highest - lowest) / _NUM_TICKS
    unit = 10 ** math.floor(math.log10(rough))
    step = next(factor * unit for factor in (1, 2, 5, 10) if factor * unit >= rough)
    first, last = math.floor(lowest / step), math.ceil(highest / step)
    return [round(index * step, 10) for index in range(first, last + 1)]


def _smooth(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """Mean of each entry and its neighbours on both sides."""
    half = int(_SMOOTHING * len(points) / 2)
    sums = [0.0, *accumulate(loss for _, loss in points)]
    smooth = []
    for index, (step, _) in enumerate(points):
        first, last = max(index - half, 0), min(index + half + 1, len(points))
        smooth.append((step, (sums[last] - sums[first]) / (last - first)))
    return smooth


def _thinned(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """Every n-th point and the last, so that the file stays small."""
    stride = -(-len(points) // _MOST_POINTS)
    return [*points[:-1:stride], points[-1]]


def _line(points: Iterable[tuple[float, float]], colour: str, width: int) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return (
        f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}" stroke-linecap="square"'
        ' stroke-linejoin="round"/>'
    )


def _svg(content: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
        ' font-family="sans-serif" font-size="12" fill="#333">\n'
        f'<title>Loss over steps</title>\n<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>\n{content}\n</svg>\n'
    )
