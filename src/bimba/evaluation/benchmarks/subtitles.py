"""A file of subtitles and the times of frames in, what stands on the screen in one of the frames out, in order."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bimba.errors import InputError

_SRT_TIME = re.compile(
    r"(\d+):(\d{2}):(\d{2})[,.](\d{1,3})\s*-->\s*(\d+):(\d{2}):(\d{2})[,.](\d{1,3})",
)
_TAG = re.compile(r"<[^>]*>|\{\\[^}]*\}")
_SHORTEST_SECONDS = 1.0
"""Shorter ones count as so long, around their middle, as in LongVideoBench's own evaluation."""


@dataclass(frozen=True)
class Subtitle:
    """What is said from one second to another."""

    start_seconds: float
    end_seconds: float
    text: str


def read_subtitles(file: Path) -> list[Subtitle]:
    """Read an .srt file (Video-MME), or a JSON list of {start, end, line} or {timestamp, text} (LongVideoBench).

    Raises:
        InputError: it is neither.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
        if file.suffix != ".json":
            return _from_srt(text)
        return [_from_record(record) for record in json.loads(text)]
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{file} holds no subtitles that can be read: {error!r}.", fix="get it again.") from error


def at_frames(subtitles: Sequence[Subtitle], frame_seconds: Sequence[float], *, start_seconds: float = 0.0) -> str:
    """Lines that stand on the screen in one of the frames; a repeated line is told once.

    Args:
        subtitles: of a video.
        frame_seconds: when its frames are, from the video's beginning.
        start_seconds: when the video begins, on the subtitles' clock.
    """
    lines: list[str] = []
    for subtitle in subtitles:
        start, end = subtitle.start_seconds - start_seconds, subtitle.end_seconds - start_seconds
        if end - start < _SHORTEST_SECONDS:
            middle = (start + end) / 2
            start, end = middle - _SHORTEST_SECONDS / 2, middle + _SHORTEST_SECONDS / 2
        is_seen = any(start <= seconds <= end for seconds in frame_seconds)
        if is_seen and subtitle.text and subtitle.text not in lines[-1:]:
            lines.append(subtitle.text)
    return "\n".join(lines)


def _from_srt(text: str) -> list[Subtitle]:
    found = []
    for block in re.split(r"\n\s*\n", text.replace("\r\n", "\n")):
        match = _SRT_TIME.search(block)
        if match is not None:
            times = [int(part) for part in match.groups()]
            start, end = (
                hours * 3600 + minutes * 60 + seconds + thousandths / 1000
                for hours, minutes, seconds, thousandths in (times[:4], times[4:])
            )
            found.append(Subtitle(start, end, _plain(block[match.end() :])))
    if not found and text.strip():
        raise ValueError("no line is a time")
    return found


def _from_record(record: dict[str, Any]) -> Subtitle:
    if "timestamp" in record:
        start, end = record["timestamp"]
        # An end that was not written is that of the video.
        return Subtitle(float(start), float("inf") if end is None else float(end), _plain(record["text"]))
    return Subtitle(_clock(record["start"]), _clock(record["end"]), _plain(record["line"]))


def _clock(text: str) -> float:
    hours, minutes, seconds = text.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def _plain(text: str) -> str:
    return " ".join(_TAG.sub("", text).split())
