"""Frames of a needle video and its record in, one picture of them out: each needle outlined, with time and name."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from bimba.cli.units import at_time
from bimba.needles import Needle, VideoRecord
from bimba.video.info import RGBFrame

COLUMNS = 6
WIDTH = 240
"""Of each small picture, in pixels."""
_GAP, _LINE, _TITLE = 10, 18, 34
_GROUND, _INK, _FAINT, _ACCENT = (24, 24, 27), (240, 240, 242), (140, 140, 148), (255, 196, 46)


@dataclass(frozen=True)
class Shot:
    """A frame to draw, and the needle that is visible in it, or none."""

    frame_index: int
    needle: Needle | None = None


def shots_of(video: VideoRecord) -> list[Shot]:
    """The middle frame of each needle, and of each stretch between them."""
    shots = []
    bare_from = 0
    for needle in video.needles:
        if needle.first_frame > bare_from:
            shots.append(Shot((bare_from + needle.first_frame - 1) // 2))
        shots.append(Shot((needle.first_frame + needle.last_frame) // 2, needle))
        bare_from = needle.last_frame + 1
    if bare_from < video.num_frames:
        shots.append(Shot((bare_from + video.num_frames - 1) // 2))
    return shots


def draw_sheet(video: VideoRecord, shots: Sequence[Shot], frames: Iterable[RGBFrame], title: str) -> Image.Image:
    """Draw frames in rows, what they show written below.

    Args:
        video: the record.
        shots: T frames that are drawn.
        frames: T arrays, uint8 RGB [H, W, 3], read one by one.
        title: written above.
    """
    size = (WIDTH, max(1, round(WIDTH * video.height / video.width)))
    columns = min(COLUMNS, len(shots))
    rows = math.ceil(len(shots) / columns)
    step = (size[0] + _GAP, size[1] + 2 * _LINE + _GAP + 4)
    sheet = Image.new("RGB", (_GAP + columns * step[0], _TITLE + rows * step[1] + _GAP), _GROUND)
    draw = ImageDraw.Draw(sheet)
    _write(draw, (_GAP, 9), title, _INK, sheet.width - 2 * _GAP, 15)
    for place, (shot, frame) in enumerate(zip(shots, frames, strict=True)):
        left, top = _GAP + place % columns * step[0], _TITLE + place // columns * step[1]
        sheet.paste(_small(frame, size), (left, top))
        if shot.needle is not None:
            for box in shot.needle.boxes:
                _outline(draw, _scaled(box, (video.width, video.height), (left, top, *size)), (left, top, *size))
        _label(draw, shot, video, (left, top + size[1] + 4))
    return sheet


def _small(frame: RGBFrame, size: tuple[int, int]) -> Image.Image:
    """A frame in another size; where it is smaller than that, its own pixels stay visible."""
    image = Image.fromarray(frame)
    is_enlarged = image.width * 2 <= size[0]
    return image.resize(size, Image.Resampling.NEAREST if is_enlarged else Image.Resampling.LANCZOS)


def _scaled(
    box: tuple[int, int, int, int], frame: tuple[int, int], cell: tuple[int, int, int, int]
) -> tuple[int, int, int, int]:
    """A box of a frame (its exclusive right and bottom made inclusive) where the frame is drawn on the sheet."""
    left, top, width, height = cell
    x, y = width / frame[0], height / frame[1]
    return (
        left + math.floor(box[0] * x),
        top + math.floor(box[1] * y),
        left + math.ceil(box[2] * x) - 1,
        top + math.ceil(box[3] * y) - 1,
    )


def _outline(draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], cell: tuple[int, int, int, int]) -> None:
    """Draw a box inside a cell, its line dark on both sides so that it is seen on every ground."""
    left, top, width, height = cell
    for grow, colour in ((2, _GROUND), (1, _ACCENT), (0, _ACCENT), (-1, _GROUND)):
        inside = (
            max(left, box[0] - grow),
            max(top, box[1] - grow),
            min(left + width - 1, box[2] + grow),
            min(top + height - 1, box[3] + grow),
        )
        if inside[0] <= inside[2] and inside[1] <= inside[3]:  # a thin box has no inner line
            draw.rectangle(inside, outline=colour)


def _label(draw: ImageDraw.ImageDraw, shot: Shot, video: VideoRecord, place: tuple[int, int]) -> None:
    below = (place[0], place[1] + _LINE)
    if shot.needle is None:
        _write(draw, place, at_time(float(shot.frame_index / video.fps)), _FAINT, WIDTH)
        return
    needle = shot.needle
    _write(draw, place, f"{at_time(needle.start_seconds)} to {at_time(needle.end_seconds)}", _ACCENT, WIDTH)
    _write(draw, below, ", ".join(_said(needle)), _INK, WIDTH)


def _said(needle: Needle) -> Iterator[str]:
    yield needle.description if len(needle.boxes) == 1 else f"{needle.description} x {len(needle.boxes)}"
    if needle.held_out:
        yield "held out"


def _write(
    draw: ImageDraw.ImageDraw,
    place: tuple[int, int],
    text: str,
    colour: tuple[int, int, int],
    room: int,
    size: int = 14,
) -> None:
    """Write a text, cut off where it would leave its room in pixels."""
    font = ImageFont.load_default(size=size)
    if draw.textlength(text, font=font) > room:
        while text and draw.textlength(f"{text}...", font=font) > room:
            text = text[:-1]
        text = f"{text.rstrip()}..."
    draw.text(place, text, fill=colour, font=font)
