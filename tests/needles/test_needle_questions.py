import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from needle_runs import small_settings

from bimba.needles import Needle, Question, plan_video
from bimba.needles.questions import LETTERS, PLURALS, QUESTION_KINDS, Draft, Story, _finish, ask_questions
from bimba.needles.settings import BUILT_IN_KINDS


def story_of(seed: int, num_needles: int = 4, kinds: tuple[str, ...] = BUILT_IN_KINDS, seconds: float = 60.0) -> Story:
    plan = plan_video(small_settings(seed=seed, num_needles=num_needles, kinds=kinds, seconds=seconds), 0)
    return Story(tuple(needle.record for needle in plan.needles), plan.seconds)


def only(found: list[Needle]) -> Needle:
    assert len(found) == 1, "the question has one right answer"
    return found[0]


def named(needles: list[Needle], mention: str) -> Needle:
    return only([n for n in needles if re.sub(r"^an? ", "the ", n.description) == mention])


def derive(question: Question, needles: list[Needle]) -> str:
    """Answer a question from its words and the list of needles alone, in another way than the generator does."""
    text = question.question
    if question.kind == "appears":
        shown = {n.description for n in needles}
        (answer,) = [option for option in question.options if option in shown]
        return answer
    if question.kind == "colour":
        subject = text.removeprefix("What colour is the ").removeprefix("digit ").removesuffix("?")
        return only(
            [n for n in needles if subject in (n.attributes.get("shape"), n.attributes.get("digit"))]
        ).attributes["colour"]
    if question.kind == "shape":
        colour = text.removeprefix("Which shape is ").removesuffix("?")
        return only([n for n in needles if n.kind == "shape" and n.attributes["colour"] == colour]).attributes["shape"]
    if question.kind == "caption":
        captions = [n for n in needles if n.kind == "caption"]
        match = re.search(r"at about (\d+\.\d) seconds", text)
        if match:
            captions = [n for n in captions if f"{n.start_seconds:.1f}" == match.group(1)]
        return only(captions).attributes["text"]
    if question.kind == "count":
        return str(sum(f" {PLURALS[n.kind]} " in text for n in needles))
    return derive_from_order(question, sorted(needles, key=lambda n: n.start_seconds))


def derive_from_order(question: Question, needles: list[Needle]) -> str:
    text = question.question
    if question.kind in ("first", "last"):
        return needles[0 if question.kind == "first" else -1].description
    if question.kind == "after":
        before = named(needles, text.removeprefix("What is the next thing that appears after ").removesuffix("?"))
        return min(
            (n for n in needles if n.start_seconds > before.start_seconds), key=lambda n: n.first_frame
        ).description
    if question.kind == "at":
        time = float(text.removeprefix("What is shown at ").removesuffix(" seconds?"))
        return only([n for n in needles if n.start_seconds <= time < n.end_seconds]).description
    if question.kind == "order":
        return ", then ".join(n.description for n in needles if n.description in text)
    assert question.kind == "when"
    mention = text.removeprefix("At about what time does ").removesuffix(" appear?")
    return f"{named(needles, mention).start_seconds:.1f} seconds"


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**40),
    num_needles=st.integers(1, 14),
    kinds=st.lists(st.sampled_from(BUILT_IN_KINDS), min_size=1, unique=True).map(tuple),
)
def test_every_answer_follows_from_the_needles_and_options_are_distinct(
    seed: int, num_needles: int, kinds: tuple[str, ...]
) -> None:
    story = story_of(seed, num_needles, kinds)
    questions = ask_questions(story, seed=seed, name="v")
    assert len({question.id for question in questions}) == len(questions)
    for question in questions:
        assert question.answer == derive(question, list(story.needles))
        assert len(set(question.options)) == 4
        assert question.options[LETTERS.index(question.answer_letter)] == question.answer
        for evidence in question.evidence:
            needle = story.needles[evidence.needle]
            assert evidence.model_dump(exclude={"needle"}) == needle.model_dump(include=set(evidence.model_fields_set))


def test_every_kind_of_question_is_asked_and_has_evidence() -> None:
    asked = [question for seed in range(20) for question in ask_questions(story_of(seed), seed=seed, name="v")]
    assert {question.kind for question in asked} == set(QUESTION_KINDS)
    assert all(question.evidence for question in asked)


def test_the_letter_of_the_answer_is_uniform_over_seeds() -> None:
    story = story_of(0)
    letters = Counter(q.answer_letter for seed in range(300) for q in ask_questions(story, seed=seed, name="v"))
    total = letters.total()
    # Four standard deviations of a binomial count around a quarter.
    allowed = 4 * (total * 0.25 * 0.75) ** 0.5
    assert all(abs(letters[letter] - total / 4) < allowed for letter in LETTERS), letters


def test_wrong_times_never_fall_into_the_needle() -> None:
    for seed in range(40):
        story = story_of(seed, seconds=20.0)
        for question in ask_questions(story, seed=seed, name="v"):
            if question.kind == "when":
                needle = story.needles[question.evidence[0].needle]
                times = [float(option.split()[0]) for option in question.options if option != question.answer]
                assert not any(needle.start_seconds <= time < needle.end_seconds for time in times)


def test_caption_options_cannot_be_told_apart_by_their_words() -> None:
    for seed in range(20):
        for question in ask_questions(story_of(seed), seed=seed, name="v"):
            if question.kind == "caption":
                first, second = (Counter(option.split()[place] for option in question.options) for place in (0, 1))
                assert sorted(first.values()) == sorted(second.values()) == [2, 2]


def test_a_needle_shown_twice_is_never_asked_for_by_name() -> None:
    story = story_of(3, num_needles=25, kinds=("digit",))
    assert len({needle.description for needle in story.needles}) == 10
    kinds = {question.kind for question in ask_questions(story, seed=3, name="v")}
    # All ten digits appear, so there is no wrong one left to ask which appears.
    assert "appears" not in kinds
    for question in ask_questions(story, seed=3, name="v"):
        if question.kind in ("after", "when", "colour"):
            assert question.answer == derive(question, list(story.needles))


def test_one_needle_leaves_no_question_of_order() -> None:
    kinds = {question.kind for question in ask_questions(story_of(0, num_needles=1), seed=0, name="v")}
    assert kinds.isdisjoint({"first", "last", "after", "order"})
    assert {"count", "at", "when"} <= kinds


def test_a_moment_too_short_to_write_down_is_not_asked_about() -> None:
    plan = plan_video(small_settings(fps=100, seconds=1.0, num_needles=20, needle_seconds=0.01, kinds=("caption",)), 0)
    story = Story(tuple(needle.record for needle in plan.needles), plan.seconds)
    kinds = [{q.kind for q in ask_questions(story, seed=seed, name="v")} for seed in range(20)]
    assert all("caption" not in asked for asked in kinds), "twenty captions share ten tenths of a second"
    assert not all("at" in asked for asked in kinds)


def test_a_draft_with_equal_options_is_a_programming_error() -> None:
    draft = Draft("?", "a", ["b", "c", "a"], [0])
    with pytest.raises(ValueError, match="question kind x drafted the options"):
        _finish(draft, story_of(0), np.random.default_rng(0), kind="x", identity="x")


def test_a_new_kind_changes_no_other_question(monkeypatch: pytest.MonkeyPatch) -> None:
    story = story_of(1)
    before = ask_questions(story, seed=1, name="v")
    kinds = {"new": lambda *_: Draft("New?", "a", ["b", "c", "d"], []), **QUESTION_KINDS}
    monkeypatch.setattr("bimba.needles.questions.QUESTION_KINDS", kinds)
    assert ask_questions(story, seed=1, name="v")[1:] == before
