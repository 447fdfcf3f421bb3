"""Ids and labels of training: the golden sample token by token, and placeholders that become video tokens.

Shapes: L tokens of the conversation.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from transformers import AutoTokenizer, PreTrainedTokenizerBase, Qwen2Config

from bimba.text.labels import IGNORE, NEWLINE_ID, expand_placeholders, training_ids_and_labels
from bimba.text.prompts import VIDEO_TOKEN, Message, chatml

GOLDEN = Path(__file__).parents[1] / "data/golden"
PROMPTS: dict[str, dict[str, Any]] = json.loads((GOLDEN / "prompts.json").read_text())
TRAINING: dict[str, Any] = json.loads((GOLDEN / "train_step.json").read_text())
PLACEHOLDER_IN_GOLDEN = -200
ROLES: dict[str, Literal["user", "assistant"]] = {"human": "user", "gpt": "assistant"}

Tokenize = Callable[[str], list[int]]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    """The tiny base's tokenizer with the placeholder as a special token, as the processor makes it."""
    loaded = AutoTokenizer.from_pretrained(GOLDEN / "tiny_base", config=Qwen2Config())
    assert isinstance(loaded, PreTrainedTokenizerBase)
    loaded.add_special_tokens({"additional_special_tokens": [VIDEO_TOKEN]}, replace_extra_special_tokens=False)
    return loaded


@pytest.fixture(scope="module")
def tokenize(tokenizer: PreTrainedTokenizerBase) -> Tokenize:
    def ids_of(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    return ids_of


@pytest.fixture(scope="module")
def video_token_id(tokenize: Tokenize) -> int:
    (only,) = tokenize(VIDEO_TOKEN)
    return only


def golden_messages() -> list[Message]:
    """The training sample's conversation, its first question as training asks it."""
    turns = TRAINING["sample"][0]["conversations"]
    messages = [Message(ROLES[turn["from"]], turn["value"]) for turn in turns]
    return [Message("user", TRAINING["first_message_after_one_fetch"]), *messages[1:]]


def golden_list(name: str) -> list[int]:
    values: list[int] = load_file(GOLDEN / "train_step_small.safetensors")[name][0].tolist()
    return values


# Golden tokens ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in PROMPTS if name != "_tokenizer"])
def test_golden_prompt_ids(name: str, tokenize: Tokenize, video_token_id: int) -> None:
    ids = [PLACEHOLDER_IN_GOLDEN if token == video_token_id else token for token in tokenize(PROMPTS[name]["prompt"])]
    assert ids == PROMPTS[name]["input_ids"]


def test_golden_training_ids_and_labels(tokenize: Tokenize, video_token_id: int) -> None:
    ids, labels = training_ids_and_labels(golden_messages(), tokenize, video_token_id)
    assert len(ids) == len(labels) == 251
    assert [PLACEHOLDER_IN_GOLDEN if token == video_token_id else token for token in ids] == golden_list("input_ids")
    assert labels == golden_list("labels")


def test_golden_labels_with_the_video_tokens_in_place(tokenize: Tokenize, video_token_id: int) -> None:
    ids, labels = training_ids_and_labels(golden_messages(), tokenize, video_token_id)
    num_video_tokens = 8 * 3 * (3 + 1)  # 8 frames of 3 x 3 queries, a separator after each row
    long_ids, long_labels = expand_placeholders(ids, labels, video_token_id, [num_video_tokens])
    assert long_ids.count(video_token_id) == num_video_tokens
    assert len(long_ids) == 346
    assert long_labels == golden_list("trained.expanded_labels")


# What is learned --------------------------------------------------------------------------------------------------


def learned_text(messages: list[Message], tokenizer: PreTrainedTokenizerBase, tokenize: Tokenize) -> str:
    """Text of the learned tokens, a bar wherever some are left out."""
    ids, labels = training_ids_and_labels(messages, tokenize, tokenize(VIDEO_TOKEN)[0])
    pieces = [
        str(tokenizer.decode([token])) if label != IGNORE else "|" for token, label in zip(ids, labels, strict=True)
    ]
    text = "".join(pieces)
    while "||" in text:
        text = text.replace("||", "|")
    return text


def test_answers_are_learned_whole_and_questions_by_their_marks(
    tokenizer: PreTrainedTokenizerBase, tokenize: Tokenize
) -> None:
    messages = [Message("user", "<image>Why?"), Message("assistant", "Because."), Message("user", "Sure?")]
    assert learned_text(messages, tokenizer, tokenize) == (
        "<|im_start|>|\n|<|im_end|>\n"
        "<|im_start|>|\n|<|im_end|>\n"
        "<|im_start|>assistant\nBecause.<|im_end|>\n"
        "<|im_start|>|\n|<|im_end|>\n"
    )


def test_a_placeholder_in_an_answer_is_not_learned(tokenizer: PreTrainedTokenizerBase, tokenize: Tokenize) -> None:
    messages = [Message("system", ""), Message("assistant", "Yes<image>no")]
    assert learned_text(messages, tokenizer, tokenize).endswith("<|im_start|>assistant\nYes|no<|im_end|>\n")


def test_the_labels_learned_are_the_ids(tokenize: Tokenize, video_token_id: int) -> None:
    ids, labels = training_ids_and_labels(golden_messages(), tokenize, video_token_id)
    assert all(label in (token, IGNORE) for token, label in zip(ids, labels, strict=True))


def test_training_reads_what_inference_asks(tokenize: Tokenize, video_token_id: int) -> None:
    ids, _ = training_ids_and_labels(golden_messages(), tokenize, video_token_id)
    assert ids == tokenize(chatml(golden_messages(), add_generation_prompt=False))


def test_a_newline_on_its_own_has_the_id_that_training_names(tokenize: Tokenize) -> None:
    assert tokenize("\n") == [NEWLINE_ID]


def test_a_system_prompt_of_ones_own_is_not_learned(tokenizer: PreTrainedTokenizerBase, tokenize: Tokenize) -> None:
    messages = [Message("system", "Answer in verse."), Message("assistant", "So.")]
    assert learned_text(messages, tokenizer, tokenize) == (
        "<|im_start|>|\n|<|im_end|>\n<|im_start|>assistant\nSo.<|im_end|>\n"
    )


# Placeholders -----------------------------------------------------------------------------------------------------

VIDEO = 7
other_ids = st.integers(0, 50).filter(lambda token: token != VIDEO)
pieces_of_text = st.lists(st.lists(other_ids, max_size=6), min_size=1, max_size=5)


@settings(deadline=None, derandomize=True)
@given(pieces_of_text, st.data())
def test_each_placeholder_becomes_as_many_as_its_video_has_tokens(pieces: list[list[int]], data: st.DataObject) -> None:
    num_videos = len(pieces) - 1
    num_tokens = data.draw(st.lists(st.integers(1, 9), min_size=num_videos, max_size=num_videos))
    ids, expected_ids, expected_labels = list(pieces[0]), list(pieces[0]), list(pieces[0])
    for count, piece in zip(num_tokens, pieces[1:], strict=True):
        ids += [VIDEO, *piece]
        expected_ids += [VIDEO] * count + piece
        expected_labels += [IGNORE] * count + piece
    assert expand_placeholders(ids, ids, VIDEO, num_tokens) == (expected_ids, expected_labels)


@settings(deadline=None, derandomize=True)
@given(st.lists(st.tuples(other_ids, st.sampled_from([IGNORE, 1, 2])), max_size=20))
def test_without_videos_nothing_changes(tokens: list[tuple[int, int]]) -> None:
    ids, labels = [token for token, _ in tokens], [label for _, label in tokens]
    assert expand_placeholders(ids, labels, VIDEO, []) == (ids, labels)


def test_a_placeholder_is_never_learned() -> None:
    assert expand_placeholders([1, VIDEO, 2], [1, VIDEO, 2], VIDEO, [3]) == (
        [1, VIDEO, VIDEO, VIDEO, 2],
        [1, IGNORE, IGNORE, IGNORE, 2],
    )


def test_the_lists_given_are_left_as_they_were() -> None:
    ids, labels, num_tokens = [1, VIDEO], [1, IGNORE], [4]
    expand_placeholders(ids, labels, VIDEO, num_tokens)
    assert (ids, labels, num_tokens) == ([1, VIDEO], [1, IGNORE], [4])


@pytest.mark.parametrize(
    ("ids", "num_tokens"), [([1, 2], [4]), ([1, VIDEO], []), ([VIDEO, VIDEO], [4]), ([VIDEO], [1, 1])]
)
def test_another_number_of_videos_is_refused_with_both_counts(ids: list[int], num_tokens: list[int]) -> None:
    message = f"the conversation holds {ids.count(VIDEO)} <image> for {len(num_tokens)} videos"
    with pytest.raises(ValueError, match=message):
        expand_placeholders(ids, ids, VIDEO, num_tokens)


def test_labels_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        expand_placeholders([1, 2, 3], [1, 2], VIDEO, [])
