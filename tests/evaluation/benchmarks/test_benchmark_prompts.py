"""Questions in, prompts out: those of the public code letter by letter, and the benchmarks' own."""

import json
from pathlib import Path
from typing import Any

import pytest

from bimba.evaluation.benchmarks import Question, benchmark_names, find_benchmark, write_question
from bimba.evaluation.benchmarks.prompts import letters_listed, prompt_version
from bimba.text.prompts import Message, chatml

GOLDEN: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "data/golden/eval/prompts.json").read_text(encoding="utf-8")
)
QUESTION = Question(id="1", video="v.mp4", question="What {is} it?", options=("a {dog}", "a cat", "a cow"), answer="B")


def test_letters_are_listed_as_in_the_public_code() -> None:
    for count in range(2, 6):
        assert f"({letters_listed(count)})" == GOLDEN["get_options_letter"][str(count)]
    assert letters_listed(10) == "A, B, C, D, E, F, G, H, I, or J"


@pytest.mark.parametrize("case", GOLDEN["get_prompt"])
def test_released_prompt_is_that_of_the_public_code_letter_by_letter(case: dict[str, Any]) -> None:
    options = tuple(option[3:] for option in case["sample"]["candidates"])
    question = Question(id="1", video="v.mp4", question=case["sample"]["question"], options=options, answer=None)
    seconds = [float(part.removesuffix("s")) for part in case.get("frame_time", "").split(",") if part]
    content = write_question(
        find_benchmark("egoschema"),
        question,
        "released",
        duration_seconds=case.get("video_time"),
        frame_seconds=seconds,
    )
    assert chatml([Message("user", content)]) == case["prompt"]


_OPTIONS = "What {is} it?\nA. a {dog}\nB. a cat\nC. a cow\n"
_SELECT = "Select the best answer to the following multiple-choice question based on the video. "
_ONLY = "Respond with only the letter (A, B, or C) of the correct option.\n"
OFFICIAL = {
    "egoschema": _OPTIONS + "Answer with the option's letter from the given choices directly.",
    "videomme": _SELECT + _ONLY + _OPTIONS + "The best answer is:",
    "mlvu": "Carefully watch this video and pay attention to every detail. Based on your observations, select the best "
    "option that accurately addresses the question.\nQuestion: What {is} it?\nOptions:\n(A) a {dog}\n(B) a cat\n"
    "(C) a cow\nOnly give the best option.",
    "tempcompass": _OPTIONS + "Please directly give the best option:",
    "lvbench": "What {is} it?\n(A) a {dog}\n(B) a cat\n(C) a cow\nAnswer the question with the option letter",
    "hourvideo": "Select the best answer to the following multiple-choice question based on the video.\n"
    + _OPTIONS
    + "Respond with only the letter (A, B, or C) of the correct option.",
    "houreval": _SELECT + _ONLY + _OPTIONS.removesuffix("\n"),
    "mvbench": "Carefully watch the video and pay attention to the cause and sequence of events, the detail and "
    "movement of objects, and the action and pose of persons. Based on your observations, select the best option that "
    "accurately addresses the question.\nQuestion: What {is} it?\nOptions:\n(A) a {dog}\n(B) a cat\n(C) a cow\n"
    "Only give the best option.",
}
"""Frozen: a change of a word is a new version of the benchmark's prompt."""


@pytest.mark.parametrize("name", benchmark_names())
def test_official_prompt_is_frozen(name: str) -> None:
    benchmark = find_benchmark(name)
    frozen = OFFICIAL.get(name.partition("-")[0], OFFICIAL["egoschema"])
    assert write_question(benchmark, QUESTION, "official") == f"<image>{frozen}"
    assert prompt_version(benchmark, "official") == "official 1"
    assert prompt_version(benchmark, "released") == "released 1"


def test_two_letters_have_no_comma_in_the_official_prompt() -> None:
    two = QUESTION.model_copy(update={"options": ("yes", "no")})
    assert "(A or B)" in write_question(find_benchmark("videomme"), two, "official")


def test_subtitles_stand_behind_the_times_and_in_front_of_the_question() -> None:
    told = write_question(
        find_benchmark("videomme-subtitles"),
        QUESTION,
        "released",
        duration_seconds=2.0,
        frame_seconds=[0.0, 1.0],
        subtitles="Hello.\nBye.",
    )
    assert told.startswith(
        "<image>The video lasts for 2.00 seconds, and 2 frames are uniformly sampled from it. These frames are located "
        "at 0.00s,1.00s.\nThis video's subtitles are listed below:\nHello.\nBye.\nSelect the best answer"
    )


def test_unknown_prompt_is_refused() -> None:
    with pytest.raises(ValueError, match="'short', not one of released, official"):
        write_question(find_benchmark("mlvu"), QUESTION, "short")
