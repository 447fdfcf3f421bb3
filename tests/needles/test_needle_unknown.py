import re
from collections import Counter

import numpy as np
import pytest
from needle_runs import VARIED, planned_stream, varied_videos

from bimba.needles import VideoRecord
from bimba.needles.contents import COLOURS, DIGITS, LETTERS, SHAPES
from bimba.needles.openmoji import concepts
from bimba.needles.questions import Story, ask_unknown, unknown

ABOUT_NEEDLES = (
    r"What colour is the (?P<name>.+)\?",
    r"What appears right (?:after|before) the (?P<name>.+)\?",
    r"In which part of the video is the (?P<name>.+): beginning, middle or end\?",
)
ABOUT_KINDS = (
    r"(?:Which|What) (?P<kind>shape|digit|letter|picture) (?:appears in the video|is shown|appears)\?",
    r"What does the (?P<kind>caption) say\?|Which words does the caption show\?",
)


def is_answerable(question: str, video: VideoRecord) -> bool:
    """Whether a question is about a needle of the video; of the world, it shows nothing else."""
    for pattern in ABOUT_NEEDLES:
        match = re.fullmatch(pattern, question)
        if match:
            name = match["name"]
            things = {needle.description for needle in video.needles}
            things |= {needle.attributes["shape"] for needle in video.needles if needle.kind == "shape"}
            return name in things
    for pattern in ABOUT_KINDS:
        match = re.fullmatch(pattern, question)
        if match:
            return any(needle.kind == (match["kind"] or "caption") for needle in video.needles)
    words = set(re.findall(r"[a-z]+", question))
    return any(needle.description in words for needle in video.needles)


@pytest.mark.parametrize("name", VARIED)
def test_no_needle_answers_what_is_unknown(name: str) -> None:
    _, videos = varied_videos(name)
    for video in videos:
        assert len(video.unknown) == 2
        assert not any(is_answerable(question, video.record) for question in video.unknown), video.unknown


def test_the_oracle_tells_what_is_answerable() -> None:
    video = planned_stream(kinds=("picture",), num_needles=1, num_videos=1)[0].record
    name = video.needles[0].description
    assert is_answerable(f"What appears right after the {name}?", video)
    assert not is_answerable("What appears right after the unicorn horn?", video)
    assert is_answerable("Which picture appears in the video?", video)
    assert not is_answerable("Which words does the caption show?", video)


def test_every_kind_of_needle_that_is_not_there_is_asked_about() -> None:
    stream = planned_stream(split="train", num_unknown=8, num_videos=200, num_needles=1)
    asked = {q for video in stream for q in video.unknown if any(re.fullmatch(p, q) for p in ABOUT_KINDS)}
    assert asked == {question for questions in unknown._ABOUT_KINDS.values() for question in questions}


def test_what_a_video_shows_is_not_asked_as_if_it_were_not_there() -> None:
    door = next(concept for concept in concepts() if concept.name == "door")
    assert door.name in unknown._WHAT.split()
    _, videos = varied_videos("all kinds")
    needle = next(n for video in videos for n in video.record.needles if n.kind == "picture")
    story = Story((needle.model_copy(update={"description": "door", "attributes": {"name": "door"}}),), 10.0)
    rng = np.random.default_rng(0)
    assert not any(re.search(r"\bdoor\b", ask_unknown(story, rng, "train")) for _ in range(2000))


def test_everything_may_be_there_and_the_question_still_finds_something_else() -> None:
    stream = planned_stream(num_unknown=4, kinds=("digit", "letter"), num_needles=80, needle_seconds=0.5, seconds=90)
    video = stream[0]
    shown = {needle.description for needle in video.record.needles}
    assert shown == {*(f"digit {d}" for d in DIGITS), *(f"letter {letter}" for letter in LETTERS)}
    questions = [question for index in range(40) for question in stream[index].unknown]
    about_needles = [q for q in questions if any(re.fullmatch(pattern, q) for pattern in ABOUT_NEEDLES)]
    assert about_needles
    assert all(re.search(rf"the (?:(?:{'|'.join(COLOURS)}) )?(?:{'|'.join(SHAPES)})\b", q) for q in about_needles)


def templates_of(split: str) -> Counter[str]:
    """The wordings about the world that a split uses, its words blanked out."""
    stream = planned_stream(split=split, num_unknown=8, num_videos=300)
    wordings = {
        "^" + re.sub(r"\\\{\w+\\\}", r"[a-z]+", re.escape(text)) + "$": text
        for text in (*unknown._TEMPLATES, *unknown._TEST_TEMPLATES)
    }
    found: Counter[str] = Counter()
    for question in (question for video in stream for question in video.unknown):
        if not any(re.fullmatch(pattern, question) for pattern in (*ABOUT_NEEDLES, *ABOUT_KINDS)):
            matches = [text for pattern, text in wordings.items() if re.match(pattern, question)]
            assert len(matches) == 1, question
            found[matches[0]] += 1
    return found


def test_train_never_has_the_wordings_of_the_test() -> None:
    train, validation, test = (templates_of(split) for split in ("train", "validation", "test"))
    assert set(train) == set(unknown._TEMPLATES)
    assert set(validation) == set(test) == set(unknown._TEST_TEMPLATES)
    assert not set(train) & set(test)
    assert max(train.values()) < 3 * min(train.values())


def test_some_words_are_made_up() -> None:
    known = set(f"{unknown._WHO} {unknown._DO} {unknown._WHAT} {unknown._HOW}".split())
    stream = planned_stream(split="train", num_unknown=8, num_videos=200)
    asked = [match[1] for video in stream for q in video.unknown if (match := re.fullmatch(r"Describe the (\w+)\.", q))]
    assert 0.1 < sum(word not in known for word in asked) / len(asked) < 0.6


@pytest.mark.parametrize(("number", "least", "most"), [(0.0, 0, 0), (0.25, 30, 75), (1.5, 260, 340)])
def test_there_are_as_many_as_are_asked_for_on_average(number: float, least: int, most: int) -> None:
    assert least <= sum(len(video.unknown) for video in planned_stream(num_unknown=number)) <= most


def test_unknown_questions_change_nothing_else() -> None:
    without, with_some = planned_stream(num_videos=5), planned_stream(num_videos=5, num_unknown=3)
    assert [video.record for video in without] == [video.record for video in with_some]
    assert [video.unknown for video in with_some] == [video.unknown for video in planned_stream(3, num_videos=5)]
