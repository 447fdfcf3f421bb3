"""Every kind of question: what happens in a video goes in, a question about it comes out, or None.

An answer is written as it is expected in words, without an article or a full stop: "red star", "3", "yes".
"""

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from bimba.needles.contents import (
    CAPTION_FIRST_WORDS,
    CAPTION_SECOND_WORDS,
    COLOURS,
    GLYPHS,
    SHAPES,
    descriptions_of,
)
from bimba.needles.questions.story import Draft, Story, one, some
from bimba.needles.records import Needle
from bimba.needles.seeds import place_in_time
from bimba.needles.settings import NeedleKind

NUM_WRONG = 3

PLACES = ("beginning", "middle", "end")
"""Thirds of a video."""

PLURALS: dict[NeedleKind, str] = {
    "shape": "shapes",
    "digit": "digits",
    "letter": "letters",
    "caption": "captions",
    "picture": "pictures",
}

Asker = Callable[[Story, np.random.Generator], Draft | None]
"""Asks one kind of question, or returns None where the video has nothing to ask it about."""


def _retrieval(story: Story, rng: np.random.Generator) -> Draft | None:
    shown = {kind: story.of_kind(kind) for kind in ("picture", "caption", "shape")}
    single = [k for k, found in shown.items() if len({story.needles[i].description for i in found}) == 1]
    if not single:
        return None
    kind = one(single, rng)
    needle = story.needles[shown[kind][0]]
    if kind == "caption":
        question = one(("What does the caption say?", "Which words does the caption show?"), rng)
        return Draft(question, needle.attributes["text"], _other_captions(story, needle, rng), shown[kind])
    if kind == "shape":
        question = one(("Which shape appears in the video?", "What shape is shown?"), rng)
        answer = needle.attributes["shape"]
        return Draft(question, answer, some(SHAPES, NUM_WRONG, rng, besides=answer), shown[kind])
    question = one(("Which picture appears in the video?", "What picture is shown?"), rng)
    wrong = some(descriptions_of("picture", story.pictures), NUM_WRONG, rng, besides=needle.description)
    return Draft(question, needle.description, wrong, shown[kind])


def _colour(story: Story, rng: np.random.Generator) -> Draft | None:
    single = [i for kind in ("shape", *GLYPHS) for i in story.only(story.of_kind(kind), kind)]
    if not single:
        return None
    index = one(single, rng)
    needle = story.needles[index]
    name = needle.attributes[needle.kind]
    subject = name if needle.kind == "shape" else f"{needle.kind} {name}"
    answer = needle.attributes["colour"]
    question = one((f"What colour is the {subject}?", f"Which colour does the {subject} have?"), rng)
    return Draft(question, answer, some(COLOURS, NUM_WRONG, rng, besides=answer), [index])


def _shape(story: Story, rng: np.random.Generator) -> Draft | None:
    single = story.only(story.of_kind("shape"), "colour")
    if not single:
        return None
    index = one(single, rng)
    colour, answer = story.needles[index].attributes["colour"], story.needles[index].attributes["shape"]
    question = one((f"Which shape is {colour}?", f"What is the {colour} shape?"), rng)
    return Draft(question, answer, some(SHAPES, NUM_WRONG, rng, besides=answer), [index])


def _glyph(story: Story, rng: np.random.Generator) -> Draft | None:
    found: list[tuple[int, str]] = []
    for kind in GLYPHS:
        indices = story.of_kind(kind)
        if len({story.needles[i].description for i in indices}) == 1:
            found.append((indices[0], one((f"Which {kind} is shown?", f"What {kind} appears?"), rng)))
        told_apart = story.only(indices, "colour") if len(indices) > 1 else []
        found += [(i, f"Which {kind} is {story.needles[i].attributes['colour']}?") for i in told_apart]
    if not found:
        return None
    index, question = one(found, rng)
    kind = story.needles[index].kind
    answer = story.needles[index].attributes[kind]
    return Draft(question, answer, some(GLYPHS[kind], NUM_WRONG, rng, besides=answer), [index])


def _caption_at(story: Story, rng: np.random.Generator) -> Draft | None:
    captions = story.of_kind("caption")
    starts = [_seconds(story.needles[i].start_seconds) for i in captions]
    if len(captions) < 2 or len(set(starts)) < len(starts):
        return None  # captions of a few frames each can start within the same tenth of a second
    index = one(captions, rng)
    needle = story.needles[index]
    question = f"What does the caption that appears at about {_seconds(needle.start_seconds)} say?"
    return Draft(question, needle.attributes["text"], _other_captions(story, needle, rng), [index])


def _count(story: Story, rng: np.random.Generator) -> Draft | None:
    # Where one thing appears twice, or two of it at once, it is anybody's guess what "how many shapes" counts.
    twice = {needle.kind for needle in story.needles if story.times[needle.description] > 1 or len(needle.boxes) > 1}
    kinds = sorted({needle.kind for needle in story.needles} - twice)
    if rng.random() < 0.6 or not kinds:
        # Things that come again are asked about more often than their share: else the answer was nearly always 1.
        often = [text for text, times in story.times.items() if times > 1]
        subject = one(often if often and rng.random() < 0.8 else sorted(story.times), rng)
        evidence = [i for i, needle in enumerate(story.needles) if needle.description == subject]
        question = one((f"How many times does the {subject} appear?", f"How often is the {subject} shown?"), rng)
    else:
        kind = one(kinds, rng)
        evidence = story.of_kind(kind)
        question = one((f"How many {PLURALS[kind]} appear in the video?", f"How many {PLURALS[kind]} are shown?"), rng)
    number = len(evidence)
    # Four numbers in a row that hold the right one; which of the four it is says nothing, except that none is 0.
    lowest = int(rng.integers(max(1, number - NUM_WRONG), number + 1))
    wrong = [str(n) for n in range(lowest, lowest + NUM_WRONG + 1) if n != number]
    return Draft(question, str(number), wrong, evidence)


def _copies(story: Story, rng: np.random.Generator) -> Draft | None:
    if all(len(needle.boxes) == 1 for needle in story.needles) or not story.unique:
        return None
    index = one(story.unique, rng)
    needle = story.needles[index]
    number = len(needle.boxes)
    lowest = int(rng.integers(max(1, number - NUM_WRONG), number + 1))
    wrong = [str(n) for n in range(lowest, lowest + NUM_WRONG + 1) if n != number]
    question = f"How many copies of the {needle.description} are there at the same time?"
    return Draft(question, str(number), wrong, [index])


def _first(story: Story, rng: np.random.Generator) -> Draft | None:
    question = one(("What appears first in the video?", "What is the first thing that appears?"), rng)
    return _named(story, rng, question, 0, [0]) if len(story.needles) > 1 else None


def _last(story: Story, rng: np.random.Generator) -> Draft | None:
    last = len(story.needles) - 1
    question = one(("What appears last in the video?", "What is the last thing that appears?"), rng)
    return _named(story, rng, question, last, [last]) if last > 0 else None


def _after(story: Story, rng: np.random.Generator) -> Draft | None:
    followed = [i for i in story.unique if i + 1 < len(story.needles)]
    if not followed:
        return None
    index = one(followed, rng)
    subject = story.needles[index].description
    question = one((f"What appears right after the {subject}?", f"What is the next thing after the {subject}?"), rng)
    return _named(story, rng, question, index + 1, [index, index + 1], besides=subject)


def _before(story: Story, rng: np.random.Generator) -> Draft | None:
    led = [i for i in story.unique if i > 0]
    if not led:
        return None
    index = one(led, rng)
    subject = story.needles[index].description
    question = f"What appears right before the {subject}?"
    return _named(story, rng, question, index - 1, [index - 1, index], besides=subject)


def _position(story: Story, rng: np.random.Generator) -> Draft | None:
    inside = [i for i in story.unique if _third(story, i) is not None]
    if not inside:
        return None
    index = one(inside, rng)
    answer = PLACES[_third(story, index) or 0]
    subject = story.needles[index].description
    question = one(
        (
            f"Does the {subject} appear at the beginning, in the middle or at the end of the video?",
            f"In which part of the video is the {subject}: beginning, middle or end?",
        ),
        rng,
    )
    return Draft(question, answer, [place for place in PLACES if place != answer], [index])


def _third(story: Story, index: int) -> int | None:
    """The third of the video that a needle lies in from its first moment to its last; None if it lies in two."""
    needle = story.needles[index]
    first = place_in_time(needle.start_seconds / story.seconds)
    # The last moment belongs to the needle, its end does not.
    last = place_in_time(needle.end_seconds / story.seconds - 1e-9)
    return first if first == last else None


def _at(story: Story, rng: np.random.Generator) -> Draft | None:
    index = int(rng.integers(len(story.needles)))
    needle = story.needles[index]
    # The middle of a needle, written with one decimal, has to lie inside it.
    moment = _seconds((needle.start_seconds + needle.end_seconds) / 2)
    if not needle.start_seconds <= float(moment.split()[0]) < needle.end_seconds:
        return None
    return _named(story, rng, f"What is shown at {moment}?", index, [index])


def _when(story: Story, rng: np.random.Generator) -> Draft | None:
    if not story.unique:
        return None
    index = one(story.unique, rng)
    needle = story.needles[index]
    # Wrong times are whole steps away, far enough that the needle is visible at none of them.
    step = max(story.seconds / 6, 1.5 * (needle.end_seconds - needle.start_seconds), 0.2)
    times = [needle.start_seconds + count * step for count in range(-6, 7) if count]
    wrong = [_seconds(time) for time in times if 0 <= time < story.seconds]
    if len(wrong) < NUM_WRONG:
        return None
    question = f"At about what time does the {needle.description} appear?"
    return Draft(question, _seconds(needle.start_seconds), some(wrong, NUM_WRONG, rng), [index])


def _order(story: Story, rng: np.random.Generator) -> Draft | None:
    if len(story.unique) < 2:
        return None
    num_asked = int(rng.integers(2, min(4, len(story.unique)) + 1))
    return _in_order(story, rng, sorted(some(story.unique, num_asked, rng)))


def _pair(story: Story, rng: np.random.Generator) -> Draft | None:
    if story.pair is None or not set(story.pair) <= set(story.unique):
        return None
    earlier, later = (story.needles[i].description for i in story.pair)
    mentioned = some((earlier, later), 2, rng)
    question = f"Which appears first, the {mentioned[0]} or the {mentioned[1]}?"
    return Draft(question, earlier, [later], story.pair)


def _in_order(story: Story, rng: np.random.Generator, evidence: Sequence[int]) -> Draft:
    in_time = [story.needles[i].description for i in evidence]
    mentioned = some(in_time, len(in_time), rng)
    listed = ", ".join(mentioned[:-1]) + f" and {mentioned[-1]}"
    question = f"In which order do these appear: {listed}?"
    orders = [", ".join(order) for order in itertools.permutations(in_time)]
    return Draft(question, orders[0], some(orders[1:], NUM_WRONG, rng), evidence)


def _existence(story: Story, rng: np.random.Generator) -> Draft | None:
    is_there = bool(rng.random() < 0.5)
    if is_there:
        index = int(rng.integers(len(story.needles)))
        subject = story.needles[index].description
        evidence = [i for i, needle in enumerate(story.needles) if needle.description == subject]
    else:
        # Of a kind that is there, since a kind that never appears would be too easy to tell.
        kind = one(sorted({needle.kind for needle in story.needles}), rng)
        absent = [text for text in descriptions_of(kind, story.pictures) if text not in story.times]
        if not absent:
            return None
        subject, evidence = one(absent, rng), []
    question = one((f"Does the {subject} appear in the video?", f"Is the {subject} shown?"), rng)
    answers = ("yes", "no") if is_there else ("no", "yes")
    return Draft(question, answers[0], answers[1:], evidence)


def _list(story: Story, rng: np.random.Generator) -> Draft | None:
    if len(story.unique) != len(story.needles):
        return None
    shown = [needle.description for needle in story.needles]
    others = {needle.kind: {*descriptions_of(needle.kind, story.pictures)} - {*shown} for needle in story.needles}
    if sum(len(others[needle.kind]) for needle in story.needles) < NUM_WRONG:
        return None  # all ten digits are there
    question = one(_LIST, rng)
    wrong: list[str] = []
    while len(wrong) < NUM_WRONG:
        # One thing is another than was shown.
        changed = int(rng.integers(len(shown)))
        other = one(descriptions_of(story.needles[changed].kind, story.pictures), rng)
        text = ", ".join([*shown[:changed], other, *shown[changed + 1 :]])
        if other not in shown and text not in wrong:
            wrong.append(text)
    return Draft(question, ", ".join(shown), wrong, range(len(shown)))


_LIST = (
    "List everything that appears in the video.",
    "What appears in the video, in order?",
    "What happens in the video?",
    "What happens?",
)

QUESTION_KINDS: dict[str, Asker] = {
    "retrieval": _retrieval,
    "colour": _colour,
    "shape": _shape,
    "glyph": _glyph,
    "caption_at": _caption_at,
    "count": _count,
    "copies": _copies,
    "first": _first,
    "last": _last,
    "after": _after,
    "before": _before,
    "position": _position,
    "at": _at,
    "when": _when,
    "order": _order,
    "pair": _pair,
    "existence": _existence,
    "list": _list,
}
"""Every kind of question by name; a new kind is one function and one line."""


def _named(
    story: Story, rng: np.random.Generator, question: str, answer: int, evidence: Sequence[int], besides: str = ""
) -> Draft:
    """Draft a question whose answer is a needle; others of the video are the wrong answers as far as they reach."""
    right = story.needles[answer]
    excluded = {right.description, besides}
    shown = sorted(story.times.keys() - excluded)
    wrong = some(shown, min(NUM_WRONG, len(shown)), rng)
    # Every kind has enough descriptions to fill up from, since few are shown when this is reached.
    others = [text for text in descriptions_of(right.kind, story.pictures) if text not in {*excluded, *shown}]
    return Draft(question, right.description, wrong + some(others, NUM_WRONG - len(wrong), rng), evidence)


def _other_captions(story: Story, needle: Needle, rng: np.random.Generator) -> list[str]:
    """Three wrong answers to what a caption says.

    The options are two first words times two second words, so that none can be picked by comparing them. Where it can
    be, the other two words are those of a caption of another moment: half a look is not enough.
    """
    first, second = needle.attributes["text"].split()
    others = [tuple(story.needles[i].attributes["text"].split()) for i in story.of_kind("caption")]
    others = [words for words in others if words[0] != first and words[1] != second]
    if others:
        other_first, other_second = one(others, rng)
    else:
        (other_first,) = some(CAPTION_FIRST_WORDS, 1, rng, besides=first)
        (other_second,) = some(CAPTION_SECOND_WORDS, 1, rng, besides=second)
    return [f"{first} {other_second}", f"{other_first} {second}", f"{other_first} {other_second}"]


def _seconds(time: float) -> str:
    """Return a time as questions write it."""
    return f"{time:.1f} seconds"
