"""What an answer rests on and the frames it saw in, one picture out: a curve over time, and a strip of frames below.

Shapes: T sampled frames, M moments.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

from bimba.cli.evidence_page import when
from bimba.video.info import RGBFrame

if TYPE_CHECKING:
    from bimba.inference.evidence import Evidence, Moment

WIDTH = 1280
_MARGIN, _GAP = 24, 6
_CHART_TOP, _CHART_HEIGHT, _LINKS, _LABEL = 92, 150, 34, 22
_NUM_STRETCHES = 8
_NUM_MARKED = 3
_GROUND, _INK, _FAINT, _LINE = (24, 24, 27), (240, 240, 242), (150, 150, 158), (63, 63, 70)
_CURVE, _ACCENT = (86, 180, 233), (255, 196, 46)


def draw_evidence(
    evidence: "Evidence", frames: Iterable[RGBFrame], question: str, *, aspect: float | None = None
) -> Image.Image:
    """Draw the share of each moment over time; below, of each stretch of the video the frame that mattered most.

    Args:
        evidence: of the answer.
        frames: T arrays, uint8 RGB [H, W, 3], read one by one.
        question: written above.
        aspect: width over height at which frames are shown; the first one's own if not given.
    """
    moments = evidence.moments
    marked = {moments.index(moment) for moment in evidence.top(_NUM_MARKED)}
    cells = shown_of(moments, marked)
    wanted = {_shown(moments[number]) for number in cells}
    images = {place: Image.fromarray(frame) for place, frame in enumerate(frames) if place in wanted}
    first = next(iter(images.values()))
    cell_width = (WIDTH - 2 * _MARGIN - (len(cells) - 1) * _GAP) // len(cells)
    size = _fitting(aspect or first.width / first.height, cell_width)
    strip_top = _CHART_TOP + _CHART_HEIGHT + _LINKS
    picture = Image.new("RGB", (WIDTH, strip_top + size[1] + _LABEL + _MARGIN), _GROUND)
    draw = ImageDraw.Draw(picture)
    _write(draw, (_MARGIN, 16), question, _INK, 20)
    _write(draw, (_MARGIN, 48), evidence.answer or "(nothing said)", _ACCENT, 20)
    _draw_curve(draw, moments, marked)
    for place, number in enumerate(cells):
        left = _MARGIN + place * (cell_width + _GAP) + (cell_width - size[0]) // 2
        colour = _ACCENT if number in marked else _FAINT
        middle = _place((number + 0.5) / len(moments))
        draw.line(
            (middle, _CHART_TOP + _CHART_HEIGHT + 2, left + size[0] / 2, strip_top - 4),
            fill=colour if number in marked else _LINE, width=2 if number in marked else 1,
        )  # fmt: skip
        picture.paste(_small(images[_shown(moments[number])], size), (left, strip_top))
        if number in marked:
            draw.rectangle(
                (left - 2, strip_top - 2, left + size[0] + 1, strip_top + size[1] + 1), outline=_ACCENT, width=2
            )
        label = f"{when(moments[number])}, {moments[number].share:.0%}"
        _write(draw, (left, strip_top + size[1] + 5), label, colour, 13, room=cell_width)
    return picture


def shown_of(moments: Sequence["Moment"], marked: set[int]) -> list[int]:
    """Numbers of the moments that are shown: the marked ones, and the strongest of each stretch without one.

    Args:
        moments: M of them, which are cut into stretches of about one length.
        marked: numbers of those that matter most.
    """
    num_stretches = min(_NUM_STRETCHES, len(moments))
    edges = [place * len(moments) // num_stretches for place in range(num_stretches + 1)]
    stretches = [range(start, stop) for start, stop in pairwise(edges)]
    others = [stretch for stretch in stretches if marked.isdisjoint(stretch)]
    return sorted(marked | {max(stretch, key=lambda number: moments[number].score) for stretch in others})


def _shown(moment: "Moment") -> int:
    """The frame that stands for a moment: its middle one."""
    return (moment.first_frame + moment.last_frame) // 2


def _draw_curve(draw: ImageDraw.ImageDraw, moments: Sequence["Moment"], marked: set[int]) -> None:
    """Steps, one a moment, as high as its share of the highest; the marked ones in another colour."""
    bottom = _CHART_TOP + _CHART_HEIGHT
    highest = max(moment.share for moment in moments)
    draw.line((_MARGIN, bottom, WIDTH - _MARGIN, bottom), fill=_LINE)
    for number, moment in enumerate(moments):
        if moment.share > 0:
            left, right = (_place((number + side) / len(moments)) for side in (0, 1))
            top = bottom - max(1, round((_CHART_HEIGHT - 18) * moment.share / highest))
            colour = _ACCENT if number in marked else _CURVE
            draw.rectangle((left, top, max(left, right - 1), bottom - 1), fill=colour)
    if highest > 0:
        _write(draw, (_MARGIN, _CHART_TOP - 8), f"share of what speaks for the answer, up to {highest:.0%}", _FAINT, 13)
    else:
        _write(draw, (_MARGIN, _CHART_TOP - 8), "no moment speaks for the answer more than the others", _FAINT, 13)


def _place(share: float) -> float:
    """Pixels from the left at which a share of the video has passed."""
    return _MARGIN + share * (WIDTH - 2 * _MARGIN)


def _fitting(aspect: float, side: int) -> tuple[int, int]:
    """Size of a small picture that fits into a square."""
    return (side, max(1, round(side / aspect))) if aspect >= 1 else (max(1, round(side * aspect)), side)


def _small(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """A frame in another size; where it is much smaller than that, its own pixels stay visible."""
    is_enlarged = image.width * 2 <= size[0]
    return image.resize(size, Image.Resampling.NEAREST if is_enlarged else Image.Resampling.LANCZOS)


def _write(
    draw: ImageDraw.ImageDraw,
    place: tuple[float, float],
    text: str,
    colour: tuple[int, int, int],
    size: int,
    *,
    room: float = WIDTH - 2 * _MARGIN,
) -> None:
    """Write a text in one line, cut off where it would leave its room in pixels."""
    font = ImageFont.load_default(size=size)
    text = " ".join(text.split())
    if draw.textlength(text, font=font) > room:
        while text and draw.textlength(f"{text}...", font=font) > room:
            text = text[:-1]
        text = f"{text.rstrip()}..."
    draw.text(place, text, fill=colour, font=font)
