"""Vamba's prompts, ids and labels: the golden ones, and no placeholder that stays a word.

Shapes: L tokens of the conversation.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from bimba.text.labels import IGNORE, vamba_ids_and_labels
from bimba.text.prompts import (
    VISION_MARKS,
    Message,
    chatml,
    question_about_video,
    vamba_messages,
    vamba_prompt,
    with_vision_marks,
)

GOLDEN = Path(__file__).parents[1] / "data/golden/vamba"
PROMPTS: dict[str, dict[str, Any]] = json.loads((GOLDEN / "prompts.json").read_text())
TRAINING: dict[str, Any] = json.loads((GOLDEN / "train_batches.json").read_text())
ROLES: dict[str, Literal["user", "assistant"]] = {"human": "user", "gpt": "assistant"}
WORDS_LEFT = {
    "video_token_without_trailing_space": "<video>Describe.",
    "video_token_newline": "<video>\nDescribe.",
    "both_tokens": "A <image> B",
}

Tokenize = Callable[[str], list[int]]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    loaded = AutoTokenizer.from_pretrained(GOLDEN / "config_a_default")
    assert isinstance(loaded, PreTrainedTokenizerBase)
    return loaded


@pytest.fixture(scope="module")
def tokenize(tokenizer: PreTrainedTokenizerBase) -> Tokenize:
    def ids_of(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    return ids_of


def asked(case: dict[str, Any]) -> str:
    """Our prompt of what the public code was given; it puts a newline between pieces of text."""
    return vamba_prompt([Message("user", "\n".join(case["text_inputs"]))])


# Prompts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(set(PROMPTS) - set(WORDS_LEFT)))
def test_golden_prompts_and_their_ids(name: str, tokenize: Tokenize) -> None:
    assert asked(PROMPTS[name]) == PROMPTS[name]["prompt"]
    assert tokenize(asked(PROMPTS[name])) == PROMPTS[name]["input_ids"]


@pytest.mark.parametrize("name", sorted(WORDS_LEFT))
def test_placeholders_that_the_public_code_leaves_as_words_become_marks(name: str) -> None:
    left = WORDS_LEFT[name]
    assert left in PROMPTS[name]["prompt"]
    assert asked(PROMPTS[name]) == PROMPTS[name]["prompt"].replace(left, with_vision_marks(left))
    assert not {"<video>", "<image>"} & set(asked(PROMPTS[name]).replace(">", "> ").split())


def test_the_wording_is_frozen() -> None:
    assert VISION_MARKS == "<|vision_start|><|vision_end|>"
    assert vamba_prompt([Message("user", "<video> Why?")]) == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\n<|vision_start|><|vision_end|>Why?<|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.parametrize("placeholder", ["<video>", "<image>"])
@pytest.mark.parametrize("behind", ["", " ", "\n"])
def test_one_space_or_newline_goes_with_a_placeholder(placeholder: str, behind: str) -> None:
    assert with_vision_marks(f"{placeholder}{behind}Why?") == f"{VISION_MARKS}Why?"
    assert with_vision_marks(f"Why {placeholder}{behind}") == f"Why {VISION_MARKS}"
    assert with_vision_marks(f"{placeholder}{behind}  Why?") == f"{VISION_MARKS}{' ' * (2 if behind else 1)}Why?"


@settings(deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(["<video>", "<image>", " ", "\n", "a", "<vid", "eo>", VISION_MARKS]), max_size=12))
def test_no_placeholder_is_left_and_none_is_lost(pieces: list[str]) -> None:
    text = "".join(pieces)
    marked = with_vision_marks(text)
    assert marked.count(VISION_MARKS) == sum(text.count(place) for place in ("<video>", "<image>", VISION_MARKS))
    assert not {"<video>", "<image>"} & set(marked.replace(">", "> ").replace("<", " <").split())
    assert with_vision_marks(marked) == marked


def test_what_an_answer_says_is_no_placeholder() -> None:
    turns = [Message("user", "<video>Tag?"), Message("assistant", "It is <video> in HTML."), Message("user", "And?")]
    assert vamba_messages(turns)[2] == turns[1]
    assert vamba_prompt(turns).count(VISION_MARKS) == 1
    assert vamba_prompt(turns, add_generation_prompt=False) == chatml(
        vamba_messages(turns), add_generation_prompt=False
    )


def test_a_question_about_a_video_has_its_marks_in_front() -> None:
    prompt = vamba_prompt([Message("user", question_about_video("Why?"))])
    assert f"<|im_start|>user\n{VISION_MARKS}Why?<|im_end|>" in prompt


# Ids and labels ---------------------------------------------------------------------------------------------------


def conversation(turns: list[dict[str, str]]) -> list[Message]:
    """A conversation of a training sample, its video in front of the first question."""
    messages = [Message(ROLES[turn["from"]], turn["value"]) for turn in turns]
    return [Message("user", question_about_video(messages[0].content)), *messages[1:]]


SAMPLES = TRAINING["annotations"]
CONVERSATIONS = {
    ("video_two", 0): conversation(SAMPLES["video"][0]["conversations"]),
    ("video_two", 1): conversation(SAMPLES["video"][1]["conversations"]),
    ("images_packed", 0): conversation(SAMPLES["images"][0]["conversations"]),
    ("images_packed", 1): conversation(SAMPLES["images"][1]["conversations"]),
    ("video_multiqa_packed", 0): conversation(SAMPLES["multiqa"][0]["all_conversations"][0]),
    ("video_multiqa_packed", 1): conversation(SAMPLES["multiqa"][0]["all_conversations"][1]),
    ("captions_packed", 0): [
        Message("user", question_about_video("Explain the scenario in the image.")),
        Message("assistant", SAMPLES["images"][0]["caption"]),
    ],
    ("captions_packed", 1): [
        Message("user", question_about_video("What is the main focus of the image?")),
        Message("assistant", SAMPLES["images"][1]["caption"]),
    ],
}


def golden_row(case: str, number: int) -> tuple[list[int], list[int]]:
    """Ids and labels of one conversation of a golden batch: a padded row of it, or a part of its only row."""
    batch = TRAINING["batches"][case]
    if "position_ids" not in batch:
        length = sum(batch["attention_mask"][number])
        return batch["input_ids"][number][:length], batch["labels"][number][:length]
    starts = [place for place, position in enumerate(batch["position_ids"][0]) if position == 0]
    begin, end = [*starts, len(batch["input_ids"][0])][number : number + 2]
    return batch["input_ids"][0][begin:end], batch["labels"][0][begin:end]


@pytest.mark.parametrize(("case", "number"), sorted(CONVERSATIONS))
def test_golden_training_ids_and_labels(case: str, number: int, tokenize: Tokenize) -> None:
    ids, labels = vamba_ids_and_labels(CONVERSATIONS[case, number], tokenize)
    assert (ids, labels) == golden_row(case, number)
    assert IGNORE in labels
    assert sum(label != IGNORE for label in labels) >= 8


def test_answers_are_learned_with_their_header_and_nothing_else(
    tokenizer: PreTrainedTokenizerBase, tokenize: Tokenize
) -> None:
    messages = [
        Message("system", "Be short."),
        Message("user", "<video>Why?"),
        Message("assistant", "Because."),
        Message("user", "Sure?"),
        Message("assistant", "Yes."),
    ]
    ids, labels = vamba_ids_and_labels(messages, tokenize)
    learned = [token for token, label in zip(ids, labels, strict=True) if label != IGNORE]
    assert tokenizer.decode(learned) == (
        "\n<|im_start|>assistant\nBecause.<|im_end|>\n<|im_start|>assistant\nYes.<|im_end|>"
    )
    assert all(label in (token, IGNORE) for token, label in zip(ids, labels, strict=True))
    assert tokenizer.decode(ids) == vamba_prompt(messages, add_generation_prompt=False).removesuffix("\n")


@pytest.mark.parametrize("answer", ["Because.", " Because.", "\n\nBecause.", ""])
def test_training_begins_an_answer_as_inference_asks_for_it(answer: str, tokenize: Tokenize) -> None:
    asked = [Message("user", "<image>\nWhy?")]
    prompt = tokenize(vamba_prompt(asked))
    ids, labels = vamba_ids_and_labels([*asked, Message("assistant", answer)], tokenize)
    assert ids[: len(prompt)] == prompt
    assert ids[len(prompt) :] == labels[len(prompt) :] == tokenize(f"{answer}<|im_end|>")


def test_a_conversation_without_answers_teaches_nothing(tokenize: Tokenize) -> None:
    ids, labels = vamba_ids_and_labels([Message("user", "Why?")], tokenize)
    assert labels == [IGNORE] * len(ids)
    assert len(ids) > 4
