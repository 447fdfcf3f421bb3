"""Questions about one video: its needles go in, questions with four options and the right answer come out.

Every answer follows from the list of needles alone. Needles that share a description (possible only when there are more
needles than things to show) are never asked for by that description, so no question has two right answers.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np

from bimba.needles.contents import (
    CAPTION_FIRST_WORDS,
    CAPTION_SECOND_WORDS,
    COLOURS,
    SHAPES,
    Picture,
    descriptions_of,
)
from bimba.needles.records import Evidence, Needle, Question
from bimba.needles.seeds import generator
from bimba.needles.settings import NeedleKind

T = TypeVar("T")

LETTERS = "ABCD"
NUM_WRONG = len(LETTERS) - 1

PLURALS: dict[NeedleKind, str] = {
    "shape": "coloured shapes",
    "digit": "digits",
    "caption": "captions",
    "picture": "pictures",
}


@dataclass(frozen=True)
class Story:
    """What happens in a video: its needles in order of time, its length, and the pictures that could be shown."""

    needles: tuple[Needle, ...]
    seconds: float
    pictures: tuple[Picture, ...] = ()

    @cached_property
    def unique(self) -> list[int]:
        """Indices of the needles whose description no other needle has."""
        counts = Counter(needle.description for needle in self.needles)
        return [i for i, needle in enumerate(self.needles) if counts[needle.description] == 1]


@dataclass(frozen=True)
class Draft:
    """A question before its options are shuffled; `evidence` are indices of needles."""

    question: str
    answer: str
    wrong: Sequence[str]
    evidence: Sequence[int]


Asker = Callable[[Story, np.random.Generator], Draft | None]
"""Asks one kind of question, or returns None where the video has nothing to ask it about."""


def ask_questions(story: Story, *, seed: int, name: str) -> tuple[Question, ...]:
    """Return one question of each kind that the video allows.

    Args:
        story: what happens in the video.
        seed: of the video; each kind of question has its own random stream of it.
        name: of the video, the first part of the questions' ids.
    """
    questions = []
    for kind, asker in QUESTION_KINDS.items():
        rng = generator(seed, f"question:{kind}")
        draft = asker(story, rng)
        if draft is not None:
            questions.append(_finish(draft, story, rng, kind=kind, identity=f"{name}-{kind}"))
    return tuple(questions)


def _finish(draft: Draft, story: Story, rng: np.random.Generator, *, kind: str, identity: str) -> Question:
    """Shuffle the options, which makes the answer's letter uniform, and attach the evidence.

    Raises:
        ValueError: the draft does not have three wrong answers that differ from each other and from the right one.
    """
    options = [draft.answer, *draft.wrong]
    if len(set(options)) != len(LETTERS) or len(options) != len(LETTERS):
        raise ValueError(f"question kind {kind} drafted the options {options}")
    a, b, c, d = (options[int(place)] for place in rng.permutation(len(options)))
    return Question(
        id=identity,
        kind=kind,
        question=draft.question,
        options=(a, b, c, d),
        answer=draft.answer,
        answer_letter=LETTERS[(a, b, c, d).index(draft.answer)],
        evidence=tuple(_evidence(index, story.needles[index]) for index in draft.evidence),
    )


def _evidence(index: int, needle: Needle) -> Evidence:
    return Evidence(
        needle=index,
        start_seconds=needle.start_seconds,
        end_seconds=needle.end_seconds,
        first_frame=needle.first_frame,
        last_frame=needle.last_frame,
        box=needle.box,
    )


def _appears(story: Story, rng: np.random.Generator) -> Draft | None:
    index = int(rng.integers(len(story.needles)))
    needle = story.needles[index]
    shown = {other.description for other in story.needles}
    absent = [text for text in descriptions_of(needle.kind, story.pictures) if text not in shown]
    if len(absent) < NUM_WRONG:
        return None
    question = f"Which of these {PLURALS[needle.kind]} appears in the video?"
    evidence = [i for i, other in enumerate(story.needles) if other.description == needle.description]
    return Draft(question, needle.description, _some(absent, NUM_WRONG, rng), evidence)


def _colour(story: Story, rng: np.random.Generator) -> Draft | None:
    named = [n.attributes.get("shape", n.attributes.get("digit")) for n in story.needles]
    single = [i for i, name in enumerate(named) if name is not None and named.count(name) == 1]
    if not single:
        return None
    index = _one(single, rng)
    subject = f"digit {named[index]}" if story.needles[index].kind == "digit" else named[index]
    answer = story.needles[index].attributes["colour"]
    return Draft(f"What colour is the {subject}?", answer, _some(COLOURS, NUM_WRONG, rng, besides=answer), [index])


def _shape(story: Story, rng: np.random.Generator) -> Draft | None:
    colours = [n.attributes["colour"] if n.kind == "shape" else None for n in story.needles]
    single = [i for i, colour in enumerate(colours) if colour is not None and colours.count(colour) == 1]
    if not single:
        return None
    index = _one(single, rng)
    answer = story.needles[index].attributes["shape"]
    return Draft(f"Which shape is {colours[index]}?", answer, _some(SHAPES, NUM_WRONG, rng, besides=answer), [index])


def _caption(story: Story, rng: np.random.Generator) -> Draft | None:
    captions = [i for i, needle in enumerate(story.needles) if needle.kind == "caption"]
    if not captions:
        return None
    starts = [_seconds(story.needles[i].start_seconds) for i in captions]
    if len(set(starts)) < len(starts):
        return None  # captions of a few frames each can start within the same tenth of a second
    index = _one(captions, rng)
    needle = story.needles[index]
    answer = needle.attributes["text"]
    first, second = answer.split()
    # The options are two first words times two second words, so that none can be picked by comparing them. Where it
    # can be, the other two words are those of a caption of another moment: half a look is not enough.
    others = [tuple(story.needles[i].attributes["text"].split()) for i in captions]
    others = [words for words in others if words[0] != first and words[1] != second]
    if others:
        other_first, other_second = _one(others, rng)
    else:
        (other_first,) = _some(CAPTION_FIRST_WORDS, 1, rng, besides=first)
        (other_second,) = _some(CAPTION_SECOND_WORDS, 1, rng, besides=second)
    wrong = [f"{first} {other_second}", f"{other_first} {second}", f"{other_first} {other_second}"]
    moment = "" if len(captions) == 1 else f" that appears at about {_seconds(needle.start_seconds)}"
    return Draft(f"What does the caption{moment} say?", answer, wrong, [index])


def _count(story: Story, rng: np.random.Generator) -> Draft | None:
    kind = _one(sorted({needle.kind for needle in story.needles}), rng)
    evidence = [i for i, needle in enumerate(story.needles) if needle.kind == kind]
    number = len(evidence)
    # Four numbers in a row that hold the right one; which of the four it is says nothing, except that none is 0.
    lowest = int(rng.integers(max(1, number - NUM_WRONG), number + 1))
    wrong = [str(n) for n in range(lowest, lowest + len(LETTERS)) if n != number]
    return Draft(f"How many {PLURALS[kind]} appear in the video?", str(number), wrong, evidence)


def _first(story: Story, rng: np.random.Generator) -> Draft | None:
    return _named(story, rng, "What appears first in the video?", 0, [0]) if len(story.needles) > 1 else None


def _last(story: Story, rng: np.random.Generator) -> Draft | None:
    last = len(story.needles) - 1
    return _named(story, rng, "What appears last in the video?", last, [last]) if last > 0 else None


def _after(story: Story, rng: np.random.Generator) -> Draft | None:
    followed = [i for i in story.unique if i + 1 < len(story.needles)]
    if not followed:
        return None
    before = _one(followed, rng)
    subject = story.needles[before].description
    question = f"What is the next thing that appears after {_the(subject)}?"
    return _named(story, rng, question, before + 1, [before, before + 1], besides=subject)


def _at(story: Story, rng: np.random.Generator) -> Draft | None:
    index = int(rng.integers(len(story.needles)))
    needle = story.needles[index]
    # The middle of a needle, written with one decimal, has to lie inside it.
    moment = _seconds((needle.start_seconds + needle.end_seconds) / 2)
    if not needle.start_seconds <= float(moment.split()[0]) < needle.end_seconds:
        return None
    return _named(story, rng, f"What is shown at {moment}?", index, [index])


def _order(story: Story, rng: np.random.Generator) -> Draft | None:
    num_asked = 3
    if len(story.unique) < num_asked:
        return None
    evidence = sorted(_some(story.unique, num_asked, rng))
    in_time = [story.needles[i].description for i in evidence]
    orders = [", then ".join(order) for order in itertools.permutations(in_time)]
    mentioned = _some(in_time, num_asked, rng)
    question = f"In which order do these appear: {mentioned[0]}, {mentioned[1]} and {mentioned[2]}?"
    return Draft(question, orders[0], _some(orders[1:], NUM_WRONG, rng), evidence)


def _when(story: Story, rng: np.random.Generator) -> Draft | None:
    if not story.unique:
        return None
    index = _one(story.unique, rng)
    needle = story.needles[index]
    # Wrong times are whole steps away, far enough that the needle is visible at none of them.
    step = max(story.seconds / 6, 1.5 * (needle.end_seconds - needle.start_seconds), 0.2)
    times = [needle.start_seconds + count * step for count in range(-6, 7) if count]
    wrong = [_seconds(time) for time in times if 0 <= time < story.seconds]
    if len(wrong) < NUM_WRONG:
        return None
    question = f"At about what time does {_the(needle.description)} appear?"
    return Draft(question, _seconds(needle.start_seconds), _some(wrong, NUM_WRONG, rng), [index])


QUESTION_KINDS: dict[str, Asker] = {
    "appears": _appears,
    "colour": _colour,
    "shape": _shape,
    "caption": _caption,
    "count": _count,
    "first": _first,
    "last": _last,
    "after": _after,
    "at": _at,
    "order": _order,
    "when": _when,
}
"""Every kind of question by name; a new kind is one function and one line."""


def _named(
    story: Story, rng: np.random.Generator, question: str, answer: int, evidence: Sequence[int], besides: str = ""
) -> Draft:
    """Draft a question whose answer is a needle; others of the video are the wrong answers as far as they reach."""
    right = story.needles[answer]
    excluded = {right.description, besides}
    shown = sorted({needle.description for needle in story.needles} - excluded)
    wrong = _some(shown, min(NUM_WRONG, len(shown)), rng)
    # Every kind has enough descriptions to fill up from, since few are shown when this is reached.
    others = [text for text in descriptions_of(right.kind, story.pictures) if text not in {*excluded, *shown}]
    return Draft(question, right.description, wrong + _some(others, NUM_WRONG - len(wrong), rng), evidence)


def _one(values: Sequence[T], rng: np.random.Generator) -> T:
    """Return one of the values, uniformly."""
    return values[int(rng.integers(len(values)))]


def _some(values: Iterable[T], count: int, rng: np.random.Generator, besides: object = None) -> list[T]:
    """Return `count` different values in random order, uniformly, leaving out `besides`."""
    left = [value for value in values if value != besides]
    return [left[int(place)] for place in rng.permutation(len(left))[:count]]


def _the(description: str) -> str:
    """Return the description of a needle that was seen before: "the red star" for "a red star"."""
    article, _, rest = description.partition(" ")
    return f"the {rest}" if article in ("a", "an") else description


def _seconds(time: float) -> str:
    """Return a time as questions write it."""
    return f"{time:.1f} seconds"
