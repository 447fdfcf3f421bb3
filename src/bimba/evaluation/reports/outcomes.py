"""Questions and what was said to them in; which option that is, and whether it is right, out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from bimba.evaluation.benchmarks import Question
from bimba.evaluation.extraction import LETTERS, extract_option, released_first_word
from bimba.evaluation.metrics import Outcome


class Said(Protocol):
    """An answer, whoever made it."""

    @property
    def id(self) -> str:
        """Of the question."""

    @property
    def prediction(self) -> str | None:
        """In words; None if the video failed."""

    @property
    def failed(self) -> str | None:
        """What is wrong with the video; None if nothing is."""

    @property
    def tied(self) -> bool:
        """Several letters are the likeliest."""


@dataclass(frozen=True)
class Read:
    """An answer that was read.

    Attributes:
        question: that it is to.
        prediction: in words.
        letter: of the option that it means; None if it cannot be read.
    """

    question: Question
    prediction: str
    letter: str | None

    @property
    def outcome(self) -> Outcome:
        """Right or wrong; what cannot be read is wrong.

        Raises:
            ValueError: the right answer is not public.
        """
        if self.question.answer is None:
            raise ValueError(f"the answer to {self.question.id!r} is not public")
        return Outcome(
            self.question.id,
            self.question.video,
            self.letter == self.question.answer,
            item=self.question.item or "",
            tags=self.question.tags,
        )


def read_answers(questions: Iterable[Question], answers: Iterable[Said], extract: str) -> list[Read]:
    """Read what was said, in the order of the questions; failed and missing ones are left out.

    Args:
        questions: of a benchmark.
        answers: to them.
        extract: "option" (`extract_option`) or "released" (the public code's first word).
    """
    said = {answer.id: answer.prediction for answer in answers if answer.failed is None}
    found = []
    for question in questions:
        prediction = said.get(question.id)
        if prediction is not None:
            found.append(Read(question, prediction, _letter(prediction, question.options, extract)))
    return found


def outcomes_of(questions: Iterable[Question], answers: Iterable[Said], extract: str) -> list[Outcome]:
    """Right or wrong, of questions whose answers are public."""
    return [read.outcome for read in read_answers(questions, answers, extract) if read.question.answer is not None]


def _letter(prediction: str, options: Sequence[str], extract: str) -> str | None:
    if extract == "option":
        return extract_option(prediction, options)
    word = released_first_word(prediction).upper()
    return word if len(word) == 1 and word in LETTERS[: len(options)] else None
