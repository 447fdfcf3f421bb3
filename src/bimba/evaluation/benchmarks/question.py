"""Questions of a benchmark in, one line of JSON each in a file out; and back, checked."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bimba.errors import InputError
from bimba.evaluation.extraction import LETTERS
from bimba.files import write_whole

_WRITTEN_IF_SET = ("segment", "images_per_second")
"""Fields that few questions have; lines of the others are what they were before there were such questions."""


class Segment(BaseModel):
    """A part of a video.

    Attributes:
        start: in seconds from the video's start.
        end: in seconds, too; that it comes after the start is looked at when the video is there.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    start: float = Field(ge=0, allow_inf_nan=False)
    end: float = Field(ge=0, allow_inf_nan=False)

    def __str__(self) -> str:
        return f"{self.start:g} s to {self.end:g} s"


class Footage(NamedTuple):
    """What a question is about, and a model sees once for all questions about it.

    Attributes:
        video: name of the file, or of the folder of pictures.
        segment: the part that is meant; None for the whole.
        images_per_second: of a folder of pictures; None where it is a file.
    """

    video: str
    segment: Segment | None = None
    images_per_second: float | None = None

    @property
    def title(self) -> str:
        """For messages: "a.mp4", or "a.mp4, 3 s to 9 s"."""
        return self.video if self.segment is None else f"{self.video}, {self.segment}"


class Question(BaseModel):
    """A multiple-choice question about a video.

    Attributes:
        id: of the question, unique in its benchmark.
        video: name of the file, relative to the folder of the videos.
        question: as it is asked.
        options: texts in order, without letters.
        answer: the right letter; None where it is not public.
        item: what the tries of one question share; None where it is asked once.
        tags: what it can be grouped by; a question may stand in several groups of one kind.
        subtitles: name of a file; None where there is none.
        subtitles_start_seconds: when the video begins, on the subtitles' clock.
        segment: the part of the video that is meant; None for the whole.
        images_per_second: of a video that may be a folder of pictures; None where it is a file.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(min_length=1)
    video: str = Field(min_length=1)
    question: str
    options: tuple[str, ...]
    answer: str | None
    item: str | None = None
    tags: dict[str, str | tuple[str, ...]] = {}
    subtitles: str | None = None
    subtitles_start_seconds: float = 0.0
    segment: Segment | None = None
    images_per_second: float | None = Field(default=None, gt=0, allow_inf_nan=False)

    @property
    def footage(self) -> Footage:
        """What it is about."""
        return Footage(self.video, self.segment, self.images_per_second)


def check_questions(questions: Sequence[Question], origin: str) -> None:
    """Refuse questions that cannot be asked or scored.

    Args:
        questions: of a benchmark.
        origin: where they are from, for messages.

    Raises:
        InputError: there are none, two have one id, options are too few or too many, an answer is none of them, or a
            video lies outside of its folder.
    """
    fix = "get the annotations again; they are damaged, or of another version."
    if not questions:
        raise InputError(f"{origin} holds no questions.", fix=fix)
    twice = [name for name, count in Counter(question.id for question in questions).items() if count > 1]
    if twice:
        raise InputError(f"{origin} has several questions {twice[0]!r} (and {len(twice) - 1} more).", fix=fix)
    for question in questions:
        problem = _problem(question)
        if problem:
            raise InputError(f"{origin}, question {question.id!r}: {problem}.", fix=fix)


def _problem(question: Question) -> str | None:
    count = len(question.options)
    if not 2 <= count <= len(LETTERS):
        return f"there are {count} options, not 2 to {len(LETTERS)}"
    if question.answer is not None and question.answer not in LETTERS[:count]:
        return f"the answer {question.answer!r} is none of {LETTERS[0]} to {LETTERS[count - 1]}"
    for name in (question.video, question.subtitles or ""):
        if Path(name).is_absolute() or ".." in Path(name).parts:
            return f"{name!r} lies outside of its folder"
    return None


def oddities(questions: Sequence[Question]) -> list[str]:
    """What is strange and published all the same; it is asked as it is, so that scores stay comparable."""
    found = {
        "without a text": sum(not question.question.strip() for question in questions),
        "with an empty option": sum(not all(map(str.strip, question.options)) for question in questions),
        "with two equal options": sum(len(set(question.options)) < len(question.options) for question in questions),
        "about a part that ends before it begins": sum(
            question.segment is not None and question.segment.end <= question.segment.start for question in questions
        ),
    }
    return [f"{count} {'question' if count == 1 else 'questions'} {what}" for what, count in found.items() if count]


def write_questions(file: Path, questions: Iterable[Question]) -> None:
    """Write a file whole or not at all, a line each."""
    lines = []
    for question in questions:
        values = question.model_dump(mode="json")
        written = {name: each for name, each in values.items() if each is not None or name not in _WRITTEN_IF_SET}
        lines.append(json.dumps(written, ensure_ascii=False) + "\n")
    write_whole(file, "".join(lines))


def read_questions(file: Path) -> list[Question]:
    """Read what `write_questions` wrote, or what one wrote oneself in this form.

    Raises:
        InputError: it is not there, or a line is no question.
    """
    if not file.is_file():
        raise InputError(f"{file} is not there.", fix="make it: bimba eval prepare BENCHMARK --from DIR")
    questions: list[Question] = []
    for number, line in enumerate(file.read_bytes().removesuffix(b"\n").split(b"\n"), start=1):
        try:
            questions.append(Question.model_validate_json(line))
        except ValidationError as error:
            raise InputError(
                f"line {number} of {file} is no question: {_first(error)}.",
                fix="make the file again: bimba eval prepare BENCHMARK --from DIR",
            ) from error
    check_questions(questions, str(file))
    return questions


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else first["msg"]
