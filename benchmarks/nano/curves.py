"""Stages of a training in, their losses over steps out: a self-contained SVG with a panel for each stage.

Losses stand on a logarithmic axis, since they begin at many times what they end at.
"""

import math
from collections.abc import Sequence

from benchmarks.nano.stages import Point, Stage
from bimba.evaluation.pictures.bars import COLOURS

WIDTH, HEIGHT = 960, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 58, 46
_NUM_TICKS = 4
_LEAST = 1e-4
"""Smaller losses are drawn as this one; a logarithmic axis has no 0."""
_LINES = {"words": ("words of the video's tokens", COLOURS[0]), "answers": ("answers", COLOURS[1])}
"""What the lines are, by the point's attribute."""


def draw_curves(stages: Sequence[Stage]) -> str:
    """Draw the losses of each stage that has any.

    Returns:
        text of an SVG file.
    """
    drawn = [stage for stage in stages if _values(stage.curve)]
    panel = WIDTH / max(len(drawn), 1)
    parts = [_panel(stage, number * panel, panel) for number, stage in enumerate(drawn)]
    if not drawn:
        parts = [_text(WIDTH / 2, HEIGHT / 2, "nothing was logged", "middle")]
    content = "\n".join([*_legend(), *parts])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
        ' font-family="sans-serif" font-size="12" fill="#333">\n'
        "<title>Losses of training over steps, by stage</title>\n"
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>\n{content}\n</svg>\n'
    )


def _legend() -> list[str]:
    parts, x = [], float(_LEFT)
    for words, colour in _LINES.values():
        parts.append(f'<path d="M{x:.0f} 18h26" stroke="{_hex(colour)}" stroke-width="3"/>')
        parts.append(_text(x + 34, 22, words))
        x += 60 + 7 * len(words)
    return parts


def _panel(stage: Stage, left: float, width: float) -> str:
    """Axes, title and lines of a stage."""
    begin, end, bottom = left + _LEFT, left + width - _RIGHT, HEIGHT - _BOTTOM
    values = _values(stage.curve)
    heights = _loss_ticks(min(values), max(values))
    steps = _step_ticks(stage.curve[-1].step)

    def x_of(step: float) -> float:
        return begin + (end - begin) * step / steps[-1]

    def y_of(loss: float) -> float:
        up = math.log(max(loss, _LEAST) / heights[0]) / math.log(heights[-1] / heights[0])
        return bottom - (bottom - _TOP) * up

    parts = [_text((begin + end) / 2, _TOP - 14, f"stage {stage.name}", "middle", weight="bold")]
    for loss in heights:
        parts.append(f'<path d="M{begin:.1f} {y_of(loss):.1f}H{end:.1f}" stroke="#ddd"/>')
        parts.append(_text(begin - 7, y_of(loss) + 4, f"{loss:g}", "end"))
    parts += [_text(x_of(step), bottom + 18, f"{step:,.0f}", "middle") for step in steps]
    parts.append(_text((begin + end) / 2, HEIGHT - 8, "step", "middle"))
    for name, (_, colour) in _LINES.items():
        points = [(point.step, getattr(point, name)) for point in stage.curve]
        line = " ".join(f"{x_of(step):.1f},{y_of(loss):.1f}" for step, loss in points if loss is not None)
        if line:
            parts.append(
                f'<polyline points="{line}" fill="none" stroke="{_hex(colour)}" stroke-width="2"'
                ' stroke-linejoin="round"/>'
            )
    return "\n".join(parts)


def _values(curve: Sequence[Point]) -> list[float]:
    return [loss for point in curve for loss in (point.words, point.answers) if loss is not None]


def _step_ticks(last: int) -> list[float]:
    """Round numbers from 0, a few of them, until the last step is enclosed."""
    rough = max(last, 1) / _NUM_TICKS
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * unit for factor in (1, 2, 2.5, 5, 10) if factor * unit >= rough * (1 - 1e-9))
    return [index * step for index in range(math.ceil(last / step - 1e-9) + 1)]


def _loss_ticks(lowest: float, highest: float) -> list[float]:
    """1, 2 and 5 of each power of ten, from the last one below the losses to the first one above."""
    lowest, highest = max(lowest, _LEAST), max(highest, _LEAST)
    powers = range(math.floor(math.log10(lowest)) - 1, math.floor(math.log10(highest)) + 2)
    ticks = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
    first = max(index for index, tick in enumerate(ticks) if tick <= lowest * (1 + 1e-9))
    last = next(index for index, tick in enumerate(ticks) if tick >= highest * (1 - 1e-9) and index > first)
    return ticks[first : last + 1]


def _text(x: float, y: float, words: str, anchor: str = "start", *, weight: str = "normal") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}">{words}</text>'


def _hex(colour: tuple[int, int, int]) -> str:
    return "#" + bytes(colour).hex()
