"""Which questions a video is asked: what happens in it goes in, finished questions come out."""

from collections.abc import Iterable, Sequence

import numpy as np

from bimba.needles.questions.kinds import QUESTION_KINDS
from bimba.needles.questions.story import Draft, Story
from bimba.needles.records import Evidence, Needle, Question
from bimba.needles.seeds import generator

LETTERS = "ABCD"
TRIES_A_QUESTION = 4


def ask_questions(
    story: Story, *, seed: int, name: str, count: int | None = None, kinds: Iterable[str] = QUESTION_KINDS
) -> tuple[Question, ...]:
    """Return questions about a video.

    Args:
        story: what happens in the video.
        seed: of the video; each kind of question has its own random stream of it.
        name: of the video, the first part of the questions' ids.
        count: how many, all different, fewer where the video has not so many to ask; one of each kind if None.
        kinds: that may be asked.
    """
    asked = list(kinds)
    rngs = {kind: generator(seed, f"question:{kind}") for kind in asked}
    if count is None:
        drafts = [(kind, QUESTION_KINDS[kind](story, rngs[kind])) for kind in asked]
        return tuple(
            _finish(draft, story, rngs[kind], kind=kind, identity=f"{name}-{kind}")
            for kind, draft in drafts
            if draft is not None
        )
    return _several(story, rngs, generator(seed, "questions"), name, count)


def _several(
    story: Story, rngs: dict[str, np.random.Generator], choice: np.random.Generator, name: str, count: int
) -> tuple[Question, ...]:
    """Questions of random kinds, each kind as often as the others where the video allows it."""
    questions: dict[str, Question] = {}
    kinds: list[str] = []
    for _ in range(max(TRIES_A_QUESTION * count, 2 * len(rngs))):  # each kind is tried
        if not kinds:
            kinds = [list(rngs)[int(place)] for place in choice.permutation(len(rngs))]
        kind = kinds.pop()
        draft = QUESTION_KINDS[kind](story, rngs[kind])
        if draft is not None and draft.question not in questions:
            identity = f"{name}-{kind}-{len(questions)}"
            questions[draft.question] = _finish(draft, story, rngs[kind], kind=kind, identity=identity)
        if len(questions) == count:
            break
    return tuple(questions.values())


def _finish(draft: Draft, story: Story, rng: np.random.Generator, *, kind: str, identity: str) -> Question:
    """Shuffle the options, which makes the answer's letter uniform, and attach the evidence.

    Raises:
        ValueError: the draft's wrong answers are too many, or do not differ from each other and from the right one.
    """
    options = [draft.answer, *draft.wrong]
    if not 2 <= len(set(options)) == len(options) <= len(LETTERS):
        raise ValueError(f"question kind {kind} drafted the options {options}")
    shuffled = tuple(options[int(place)] for place in rng.permutation(len(options)))
    needles = [story.needles[index] for index in draft.evidence]
    return Question(
        id=identity,
        kind=kind,
        variant=_variant(needles),
        question=draft.question,
        options=shuffled,
        answer=draft.answer,
        answer_letter=LETTERS[shuffled.index(draft.answer)],
        evidence=tuple(_evidence(index, story.needles[index]) for index in draft.evidence),
    )


def _variant(needles: Sequence[Needle]) -> str:
    """How the needles that a question is about are shown, if they are all shown alike."""
    kinds = {"edited" if n.kind == "caption" else "inserted" if n.inserted else "overlaid" for n in needles}
    return kinds.pop() if len(kinds) == 1 else ""


def _evidence(index: int, needle: Needle) -> Evidence:
    return Evidence(
        needle=index,
        start_seconds=needle.start_seconds,
        end_seconds=needle.end_seconds,
        first_frame=needle.first_frame,
        last_frame=needle.last_frame,
        boxes=needle.boxes,
    )
