"""The wording of prompts: word for word the public one, with the placeholder where the question wants it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bimba.text.prompts import (
    PROMPT_VERSION,
    SYSTEM_PROMPT,
    VIDEO_TOKEN,
    Message,
    chatml,
    chatml_turn,
    question_about_video,
    time_sentence,
    time_strings,
    training_question,
    with_system,
)

GOLDEN = Path(__file__).parents[1] / "data/golden"
PROMPTS: dict[str, dict[str, Any]] = json.loads((GOLDEN / "prompts.json").read_text())
SAMPLING: dict[str, Any] = json.loads((GOLDEN / "sampling.json").read_text())
TRAINING: dict[str, Any] = json.loads((GOLDEN / "train_step.json").read_text())

PLACE = "Where does the main action of the video take place?"
OPTIONS = ["the kitchen", "a small garden", "on the street", "inside a car", "at the beach"]
LETTERS = {2: "A or B", 3: "A, B or C", 4: "A, B, C or D", 5: "A, B, C, D, or E"}
CLOSING = "Please answer the following questions related to this video."


def golden_sentence(num_frames: int) -> str:
    """Time sentence of the golden video."""
    (case,) = [case for case in SAMPLING["cases"] if case["max_frames_num"] == num_frames and case["force_sample"]]
    average_fps = SAMPLING["avg_fps"]
    return time_sentence(case["video_time"], [index / average_fps for index in case["frame_idx"]])


def choices(num_options: int, *, parenthesised: bool = False) -> str:
    """A multiple-choice question in the public wording."""
    marks = [f"({letter})" if parenthesised else f"{letter}." for letter in "ABCDE"]
    options = "\n".join(f"{mark} {option}" for mark, option in zip(marks, OPTIONS[:num_options], strict=False))
    return (
        "Select the best answer to the following multiple-choice question based on the video. Respond with only the "
        f"letter ({LETTERS[num_options]}) of the correct option.\n{PLACE}\n{options}\nThe best answer is:"
    )


def prompt(question: str, sentence: str | None = None) -> str:
    return chatml([Message("user", question_about_video(question, sentence))])


# Golden prompts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_frames", [8, 16])
def test_golden_prompt_with_the_time_sentence(num_frames: int) -> None:
    expected = PROMPTS[f"readme_{num_frames}"]["prompt"]
    assert prompt("Please describe this video in detail.", golden_sentence(num_frames)) == expected


@pytest.mark.parametrize("num_options", [2, 3, 4, 5])
def test_golden_multiple_choice_prompts(num_options: int) -> None:
    # The public evaluation ends its time sentence before the closing words.
    sentence = golden_sentence(8).removesuffix(CLOSING)
    assert prompt(choices(num_options)) == PROMPTS[f"mc{num_options}"]["prompt"]
    assert prompt(choices(num_options), sentence) == PROMPTS[f"mc{num_options}_time8"]["prompt"]


WORDINGS = {
    "mc4_parenthesised_options": choices(4, parenthesised=True),
    "vsi_mc4": f"""These are frames of a video.
{PLACE}
A. the kitchen
B. a small garden
C. on the street
D. inside a car
Answer with the option's letter from the given choices directly.""",
    "vsi_open": """These are frames of a video.
How many chairs are in the room?
Please answer the question using a single word or phrase.""",
    "moviechat_open": """These are frames of a video.
What is the hero wearing?
Please answer the question using a single word, phrase, or sentence.""",
}


@pytest.mark.parametrize("name", sorted(WORDINGS))
def test_golden_prompts_of_other_wordings(name: str) -> None:
    assert prompt(WORDINGS[name]) == PROMPTS[name]["prompt"]


def test_golden_prompt_about_a_moment() -> None:
    question = WORDINGS["moviechat_open"].replace("These are frames of a video.\nWhat", "At time 51.42s, what")
    assert prompt(question, golden_sentence(8).removesuffix(CLOSING)) == PROMPTS["moviechat_time"]["prompt"]


def test_golden_training_question() -> None:
    value = TRAINING["sample"][0]["conversations"][0]["value"]
    built = training_question(value, golden_sentence(8))
    assert built == TRAINING["first_message_after_one_fetch"]
    assert built.count("\n\n") == 1  # the newline that followed the placeholder stays


# Wording ----------------------------------------------------------------------------------------------------------


def test_the_wording_is_frozen() -> None:
    assert PROMPT_VERSION == "1"
    assert (VIDEO_TOKEN, SYSTEM_PROMPT) == ("<image>", "You are a helpful assistant.")
    assert time_sentence(12.345, [0.0, 6.1]) == (
        "The video lasts for 12.35 seconds, and 2 frames are uniformly sampled from it. "
        "These frames are located at 0.00s,6.10s.Please answer the following questions related to this video."
    )
    assert prompt("Why?") == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\n<image>Why?<|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.parametrize(
    ("seconds", "printed"),
    [([], ""), ([0.0], "0.00s"), ([25.025000000000002], "25.03s"), ([0.004, 3599.996], "0.00s,3600.00s")],
)
def test_times_are_printed_with_two_digits(seconds: list[float], printed: str) -> None:
    assert time_strings(seconds) == printed


def test_times_may_come_from_a_generator() -> None:
    assert time_strings(second / 2 for second in range(3)) == "0.00s,0.50s,1.00s"


# Where the video goes ---------------------------------------------------------------------------------------------


def test_the_placeholder_comes_first() -> None:
    assert question_about_video("Why?") == "<image>Why?"
    assert question_about_video("Why?", "Times.") == "<image>Times.\nWhy?"


def test_a_question_that_places_the_video_keeps_its_place() -> None:
    assert question_about_video("Before <image> after") == "Before <image> after"
    assert question_about_video("Before <image> after", "Times.") == "Times.\nBefore <image> after"


@settings(deadline=None, derandomize=True)
@given(st.text(max_size=40), st.none() | st.text(max_size=20).filter(lambda text: VIDEO_TOKEN not in text))
def test_every_question_holds_the_placeholder_and_its_own_words(question: str, sentence: str | None) -> None:
    asked = question_about_video(question, sentence)
    assert asked.endswith(question)
    assert asked.count(VIDEO_TOKEN) == max(question.count(VIDEO_TOKEN), 1)
    assert sentence is None or sentence in asked


@pytest.mark.parametrize("value", ["<image>\nWhy?", "No video here."])
def test_a_training_question_without_times_is_left_alone(value: str) -> None:
    assert training_question(value) == value


def test_a_training_question_without_video_gets_no_times() -> None:
    assert training_question("What is 2 + 2?", "Times.") == "What is 2 + 2?"


def test_the_training_placeholder_goes_to_the_front() -> None:
    assert training_question("Why?\n<image>", "Times.") == "<image>\nTimes.\nWhy?\n"
    assert training_question("<image>Why?", "Times.") == "<image>\nTimes.\nWhy?"


def test_building_a_training_question_twice_from_the_sample_gives_the_same() -> None:
    value = TRAINING["sample"][0]["conversations"][0]["value"]
    assert training_question(value, "Times.") == training_question(value, "Times.")
    assert TRAINING["first_message_after_two_fetches"] not in training_question(value, golden_sentence(8))


# Conversations ----------------------------------------------------------------------------------------------------


def test_several_turns_follow_one_another() -> None:
    turns = [Message("user", "<image>Why?"), Message("assistant", "Because."), Message("user", "Sure?")]
    assert chatml(turns) == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\n<image>Why?<|im_end|>\n"
        "<|im_start|>assistant\nBecause.<|im_end|>\n"
        "<|im_start|>user\nSure?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_the_generation_prompt_can_be_left_out() -> None:
    turns = [Message("user", "Why?"), Message("assistant", "Because.")]
    assert chatml(turns, add_generation_prompt=False) + "<|im_start|>assistant\n" == chatml(turns)
    assert chatml(turns, add_generation_prompt=False).endswith("Because.<|im_end|>\n")


def test_a_system_prompt_of_ones_own_replaces_the_released_one() -> None:
    turns = [Message("system", "Answer in verse."), Message("user", "Why?")]
    assert with_system(turns) == turns
    assert chatml(turns).startswith("<|im_start|>system\nAnswer in verse.<|im_end|>\n<|im_start|>user\n")
    assert SYSTEM_PROMPT not in chatml(turns)


def test_an_empty_conversation_has_the_system_prompt() -> None:
    assert with_system([]) == [Message("system", SYSTEM_PROMPT)]


def test_a_conversation_is_not_changed_by_printing_it() -> None:
    turns = [Message("user", "Why?")]
    chatml(turns)
    assert turns == [Message("user", "Why?")]


def test_a_turn_names_its_role() -> None:
    assert chatml_turn(Message("assistant", "")) == "<|im_start|>assistant\n<|im_end|>\n"


def test_the_wording_needs_neither_torch_nor_transformers() -> None:
    program = "import sys, bimba.text.prompts; print(sorted({'torch', 'transformers', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
