"""Answers in, one line of JSON each in a file out; and back, as far as the file goes."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from bimba.errors import InputError
from bimba.evaluation.answering import Reply
from bimba.evaluation.needles.asked import Asked
from bimba.evaluation.scoring import is_right
from bimba.needles.questions import CANNOT_TELL

LINES_NAME = "questions.jsonl"
_DIGITS = 6


class Line(BaseModel):
    """A question, what the model said, and whether it is right."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    kind: str
    """Of question; "unknown" where the video does not hold the answer."""
    variant: str
    """How what is asked for is shown: "edited", "overlaid" or "inserted"; empty if not alike, or if nothing is."""
    frames: int
    size: tuple[int, int]
    num_needles: int
    """In the video."""
    num_evidence: int
    """Needles that the answer rests on."""
    place: float | None
    """Middle of the evidence, as a share of the video's length; None without evidence."""
    held_out: bool | None
    """A picture stands where none of the training split does; None if the question is about no picture."""
    question: str
    options: tuple[str, ...]
    answer: str
    said: str
    right: bool
    refused: bool
    """It was said that one cannot tell; right where the kind is "unknown"."""
    scores: tuple[float, ...]
    """Log-probability of each option as the whole answer."""
    chosen: str | None
    """The likeliest option; None without options."""
    right_by_likelihood: bool | None

    @classmethod
    def of(cls, asked: Asked, reply: Reply) -> Self:
        """Score a reply."""
        scores = tuple(round(score, _DIGITS) for score in reply.scores)
        chosen = asked.options[scores.index(max(scores))] if scores else None
        return cls(
            **asdict(asked),
            said=reply.said,
            right=is_right(reply.said, asked.answer),
            refused=is_right(reply.said, CANNOT_TELL),
            scores=scores,
            chosen=chosen,
            right_by_likelihood=None if chosen is None else chosen == asked.answer,
        )


def append_lines(file: Path, lines: Sequence[Line]) -> None:
    """Write lines behind those that are there; each is on its way to the disk before the next."""
    with file.open("a", encoding="utf-8") as stream:
        for line in lines:
            stream.write(json.dumps(line.model_dump(mode="json"), ensure_ascii=False) + "\n")
            stream.flush()


def read_lines(file: Path) -> list[Line]:
    """Read lines; one that was cut off at the file's end is left out.

    Raises:
        InputError: a whole line is not one of ours.
    """
    if not file.is_file():
        return []
    lines = []
    for number, text in enumerate(_whole_lines(file), start=1):
        try:
            lines.append(Line.model_validate_json(text))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise InputError(
                f"line {number} of {file} is no answer of this version: {where}: {first['msg']}.",
                fix="name another folder (--out DIR), or remove this one.",
            ) from error
    return lines


def cut_torn_line(file: Path) -> None:
    """Remove a last line that was interrupted while it was written."""
    if file.is_file():
        whole = sum(len(line) + 1 for line in _whole_lines(file))
        if whole < file.stat().st_size:
            with file.open("r+b") as stream:
                stream.truncate(whole)


def _whole_lines(file: Path) -> list[bytes]:
    """Lines that end."""
    return file.read_bytes().split(b"\n")[:-1]
