import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from needle_oracle import UnclearError, is_right
from needle_runs import VARIED, planned_stream, small_settings, varied_videos

from bimba.errors import InputError
from bimba.needles import KINDS_WITHOUT_TIMES, NeedleStream, Question, VideoRecord, plan_video
from bimba.needles.questions import QUESTION_KINDS, Story, ask_questions
from bimba.needles.questions.asking import LETTERS, _finish
from bimba.needles.questions.story import Draft
from bimba.needles.settings import BUILT_IN_KINDS

CHI_SQUARE = {2: 15.1, 3: 18.4, 4: 21.1}
"""Values that a uniform choice of so many letters exceeds once in ten thousand times."""


def story_of(seed: int, num_needles: int = 4, kinds: tuple[str, ...] = BUILT_IN_KINDS, seconds: float = 60.0) -> Story:
    plan = plan_video(small_settings(seed=seed, num_needles=num_needles, kinds=kinds, seconds=seconds), 0)
    return Story(tuple(needle.record for needle in plan.needles), plan.seconds)


def asked(*names: str) -> list[tuple[VideoRecord, Question]]:
    """Every question of the videos of some settings."""
    return [
        (video.record, question)
        for name in names
        for video in varied_videos(name)[1]
        for question in video.record.questions
    ]


def of_kind(kind: str) -> list[tuple[VideoRecord, Question]]:
    found = [(video, question) for video, question in asked(*VARIED) if question.kind == kind]
    assert found, f"no question of the kind {kind}"
    return found


@pytest.mark.parametrize("name", VARIED)
def test_exactly_one_option_is_right_and_it_is_the_answer(name: str) -> None:
    for video, question in asked(name):
        right = [option for option in question.options if is_right(question.question, option, video)]
        assert right == [question.answer], (question, video.needles)


@pytest.mark.parametrize("name", VARIED)
def test_options_differ_and_the_letter_is_that_of_the_answer(name: str) -> None:
    for _, question in asked(name):
        assert 2 <= len(question.options) == len(set(question.options)) <= 4
        assert question.options[LETTERS.index(question.answer_letter)] == question.answer


@pytest.mark.parametrize("name", VARIED)
def test_no_video_is_asked_the_same_twice(name: str) -> None:
    settings, videos = varied_videos(name)
    for video in videos:
        texts = [question.question for question in video.record.questions]
        assert len(set(texts)) == len(texts) == len({question.id for question in video.record.questions})
        assert len(texts) <= (settings.num_questions or len(QUESTION_KINDS))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**40),
    num_needles=st.integers(1, 14),
    kinds=st.lists(st.sampled_from(BUILT_IN_KINDS), min_size=1, unique=True).map(tuple),
    repeats=st.sampled_from([0.0, 1.0]),
    copies=st.sampled_from(["1", "1-3"]),
)
def test_every_answer_follows_from_the_needles(
    seed: int, num_needles: int, kinds: tuple[str, ...], repeats: float, copies: str
) -> None:
    stream = planned_stream(
        seed=seed, num_needles=num_needles, kinds=kinds, repeats=repeats, copies=copies, num_videos=1
    )
    video = stream[0].record
    for question in video.questions:
        assert [o for o in question.options if is_right(question.question, o, video)] == [question.answer]


@pytest.mark.parametrize("kind", QUESTION_KINDS)
def test_every_kind_of_question_is_asked_and_rests_on_evidence(kind: str) -> None:
    for _, question in of_kind(kind):
        assert question.evidence or (kind, question.answer) == ("existence", "no")


@pytest.mark.parametrize("name", VARIED)
def test_evidence_tells_when_and_where_its_needle_is(name: str) -> None:
    for video, question in asked(name):
        for evidence in question.evidence:
            needle = video.needles[evidence.needle]
            assert evidence.model_dump(exclude={"needle"}) == needle.model_dump(include=set(evidence.model_fields_set))
            assert 0 <= evidence.first_frame <= evidence.last_frame < video.num_frames
            assert evidence.start_seconds == float(evidence.first_frame / video.fps)
            assert evidence.end_seconds == float((evidence.last_frame + 1) / video.fps) <= video.seconds
            for left, top, right, bottom in evidence.boxes:
                assert 0 <= left < right <= video.width
                assert 0 <= top < bottom <= video.height


def test_evidence_holds_all_that_is_counted_and_all_that_is_named() -> None:
    for _, question in of_kind("count"):
        assert len(question.evidence) == int(question.answer)
    for kind in ("first", "last", "after", "before", "at", "pair"):
        for video, question in of_kind(kind):
            assert question.answer in {video.needles[evidence.needle].description for evidence in question.evidence}
    for video, question in of_kind("list"):
        assert len(question.evidence) == len(video.needles)


@pytest.mark.parametrize("num_options", [2, 3, 4])
def test_letters_of_answers_are_uniform(num_options: int) -> None:
    letters = Counter(q.answer_letter for _, q in asked(*VARIED) if len(q.options) == num_options)
    assert set(letters) == set(LETTERS[:num_options])
    expected = letters.total() / num_options
    assert expected > 100
    assert sum((count - expected) ** 2 / expected for count in letters.values()) < CHI_SQUARE[num_options], letters


def test_letters_of_one_video_are_uniform_over_seeds() -> None:
    story = story_of(0)
    questions = [q for seed in range(300) for q in ask_questions(story, seed=seed, name="v") if len(q.options) == 4]
    letters = Counter(question.answer_letter for question in questions)
    expected = letters.total() / 4
    assert sum((letters[letter] - expected) ** 2 / expected for letter in LETTERS) < CHI_SQUARE[4], letters


def test_things_are_there_as_often_as_not() -> None:
    answers = Counter(question.answer for _, question in of_kind("existence"))
    assert answers.total() > 1000
    assert 0.45 < answers["yes"] / answers.total() < 0.55


def test_the_earlier_of_a_pair_is_named_first_as_often_as_second() -> None:
    first = [f"first, the {question.answer} or" in question.question for _, question in of_kind("pair")]
    assert len(first) == 200, "each of the videos has its pair"
    assert 70 < sum(first) < 130


def test_a_pair_shares_a_window() -> None:
    for _, question in of_kind("pair"):
        earlier, later = question.evidence
        assert earlier.last_frame < later.first_frame
        assert earlier.first_frame // 8 == later.last_frame // 8


@pytest.mark.parametrize("kind", ["retrieval", "caption_at"])
def test_caption_options_cannot_be_told_apart_by_their_words(kind: str) -> None:
    captions = [question for _, question in of_kind(kind) if "caption" in question.question]
    assert captions
    for question in captions:
        first, second = (Counter(option.split()[place] for option in question.options) for place in (0, 1))
        assert sorted(first.values()) == sorted(second.values()) == [2, 2]


def test_what_comes_again_is_never_asked_for_as_if_it_were_one() -> None:
    for video, question in asked("repeats"):
        if question.kind in ("after", "before", "when", "position", "order", "copies"):
            asked_for = [video.needles[evidence.needle].description for evidence in question.evidence]
            shown = Counter(needle.description for needle in video.needles)
            told = [name for name in asked_for if name in question.question]
            assert all(shown[name] == 1 for name in told)


def test_repeats_are_counted_from_one_to_nine() -> None:
    answers = Counter(question.answer for _, question in asked("repeats") if question.kind == "count")
    assert {"1", "2", "3", "4", "5"} <= set(answers)
    assert max(answers.values()) < 0.6 * answers.total(), "guessing one number would be right too often"


def test_copies_are_counted_where_there_are_some() -> None:
    answers = {question.answer for _, question in of_kind("copies")}
    assert {"1", "2", "3"} <= answers
    assert all(any(len(needle.boxes) > 1 for needle in video.needles) for video, _ in of_kind("copies")), (
        "where nothing has a copy, the question would give itself away"
    )


def test_all_the_digits_leave_no_other_to_list() -> None:
    videos = [v.record for v in planned_stream(kinds=("digit",), num_needles=10, needle_seconds=1, num_videos=20)]
    assert all(len({needle.description for needle in video.needles}) == 10 for video in videos)
    assert not any(question.kind == "list" for video in videos for question in video.questions)


def test_variant_tells_how_the_needles_are_shown() -> None:
    seen = set()
    for video, question in asked("all kinds"):
        needles = [video.needles[evidence.needle] for evidence in question.evidence]
        if question.variant == "edited":
            assert all(needle.kind == "caption" for needle in needles)
        elif question.variant:
            assert all(n.inserted == (question.variant == "inserted") and n.kind != "caption" for n in needles)
        seen.add((question.kind, question.variant))
    assert {(kind, variant) for kind in ("retrieval", "count", "order") for variant in ("edited", "inserted")} <= seen
    assert ("existence", "") in seen


def test_kinds_are_asked_equally_often_where_the_videos_allow_them() -> None:
    stream = NeedleStream(
        small_settings(num_videos=200, num_questions=2), kinds=("first", "existence", "when", "glyph", "last")
    )
    counts = Counter(question.kind for video in stream for question in video.record.questions)
    assert counts.total() == 400
    assert counts.pop("glyph") < 80, "not every video has a digit or a letter"
    assert max(counts.values()) < 1.3 * min(counts.values())


def test_only_the_kinds_that_were_asked_for_are_asked() -> None:
    stream = NeedleStream(small_settings(num_videos=20, num_questions=6), kinds=("first", "when"))
    assert {q.kind for video in stream for q in video.record.questions} == {"first", "when"}
    with pytest.raises(InputError, match=r"there is no 'frist'(?s:.)*use 'first'"):
        NeedleStream(small_settings(), kinds=("frist",))


def test_kinds_without_times_mention_none() -> None:
    stream = NeedleStream(small_settings(num_videos=50), kinds=KINDS_WITHOUT_TIMES)
    for video, question in itertools.chain((v.record, q) for v in stream for q in v.record.questions):
        assert "seconds" not in " ".join((question.question, *question.options)), video


def test_one_needle_leaves_no_question_of_order() -> None:
    kinds = {question.kind for _, question in asked("one needle")}
    assert kinds.isdisjoint({"first", "last", "after", "before", "order", "pair", "caption_at"})
    assert {"count", "at", "when", "retrieval", "existence", "list", "position"} <= kinds


def test_a_moment_too_short_to_write_down_is_not_asked_about() -> None:
    plan = plan_video(small_settings(fps=100, seconds=1.0, num_needles=20, needle_seconds=0.01, kinds=("caption",)), 0)
    story = Story(tuple(needle.record for needle in plan.needles), plan.seconds)
    kinds = [{q.kind for q in ask_questions(story, seed=seed, name="v")} for seed in range(20)]
    assert all("caption_at" not in asked for asked in kinds), "twenty captions share ten tenths of a second"
    assert not all("at" in asked for asked in kinds)


def test_a_draft_with_equal_options_is_a_programming_error() -> None:
    draft = Draft("?", "a", ["b", "c", "a"], [0])
    with pytest.raises(ValueError, match="question kind x drafted the options"):
        _finish(draft, story_of(0), np.random.default_rng(0), kind="x", identity="x")


def test_a_new_kind_changes_no_other_question(monkeypatch: pytest.MonkeyPatch) -> None:
    story = story_of(1)
    before = ask_questions(story, seed=1, name="v")
    monkeypatch.setitem(QUESTION_KINDS, "new", lambda *_: Draft("New?", "a", ["b", "c", "d"], []))
    after = ask_questions(story, seed=1, name="v", kinds=["new", *QUESTION_KINDS])
    assert after[0].question == "New?"
    assert tuple(question for question in after if question.kind != "new") == before


def test_the_oracle_knows_when_a_question_is_unclear() -> None:
    video = planned_stream(num_videos=1, num_needles=3, repeats=1.0, seed=1)[0].record
    twice = Counter(needle.description for needle in video.needles).most_common(1)[0]
    assert twice[1] > 1
    with pytest.raises(UnclearError):
        is_right(f"What appears right after the {twice[0]}?", "x", video)
    with pytest.raises(UnclearError):
        is_right("Why?", "x", video)
