"""Batches: padding, the positions that are learned, blank videos, failures that weigh nothing."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bimba.models.bimba.processing import BimbaProcessor
from bimba.models.bimba.tiny import tiny_model, tiny_tokenizer
from bimba.text.labels import IGNORE
from bimba.training.data import BatchInfo, Collator, Example, Failure

TEXT = Example("text", [1, 2, 3, 4], [IGNORE, IGNORE, 3, 4])
BAD = Failure("bad", "broken")


def video_example(processor: BimbaProcessor, num_frames: int = 2, *, name: str = "video", seed: int = 0) -> Example:
    """A video of random pixels between two words."""
    placeholders = [processor.video_token_id] * processor.num_video_tokens(num_frames)
    pixels = torch.randn(num_frames, 3, 70, 70, generator=torch.Generator().manual_seed(seed))
    labels = [IGNORE] * (len(placeholders) + 1) + [9]
    return Example(name, [8, *placeholders, 9], labels, pixels=(pixels,), questions=([5, 6],))


def feature_example(processor: BimbaProcessor) -> Example:
    whole = video_example(processor)
    return Example(whole.name, whole.ids, whole.labels, features=(torch.ones(2, 25, 48),), questions=([5],))


def test_rows_are_padded_on_the_right(processor: BimbaProcessor) -> None:
    short = Example("short", [5], [5])
    batch = Collator(processor)([TEXT, short])
    pad = processor.tokenizer.pad_token_id
    assert batch["input_ids"].tolist() == [[1, 2, 3, 4], [5, pad, pad, pad]]
    assert batch["labels"].tolist() == [[IGNORE, IGNORE, 3, 4], [5, IGNORE, IGNORE, IGNORE]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 0, 0, 0]]
    assert {batch[name].dtype for name in ("input_ids", "labels", "attention_mask")} == {torch.int64}


def test_logits_are_kept_where_the_next_token_is_learned(processor: BimbaProcessor) -> None:
    other = Example("other", [1, 2, 3, 4, 5, 6], [1, IGNORE, IGNORE, 4, IGNORE, IGNORE])
    assert Collator(processor)([TEXT, other])["logits_to_keep"].tolist() == [1, 2]
    assert Collator(processor)([BAD, None])["logits_to_keep"].tolist() == [0]
    assert Collator(processor)([Example("one", [1], [1])])["logits_to_keep"].tolist() == [0]


@settings(deadline=None, derandomize=True)
@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=9), min_size=1, max_size=4))
def test_the_kept_positions_are_those_of_the_definition(rows: list[list[bool]]) -> None:
    collator = Collator(BimbaProcessor(tiny_tokenizer()))
    batch = collator([Example("", [7] * len(row), [7 if on else IGNORE for on in row]) for row in rows])
    longest = max(map(len, rows))
    expected = [p for p in range(longest - 1) if (batch["labels"][:, p + 1] != IGNORE).any()]
    assert batch["logits_to_keep"].tolist() == (expected or [0])


def test_failures_and_blank_places_weigh_nothing(processor: BimbaProcessor) -> None:
    batch = Collator(processor)([BAD, TEXT, None])
    assert batch["labels"][[0, 2]].tolist() == [[IGNORE] * 4] * 2
    assert batch["attention_mask"].sum(dim=1).tolist() == [1, 4, 1]
    assert batch["info"] == BatchInfo(("text",), (BAD,), num_samples=1, num_tokens=4, num_video_tokens=0)


def test_videos_follow_one_another_in_the_order_of_the_rows(processor: BimbaProcessor) -> None:
    first, second = video_example(processor, 2, seed=1), video_example(processor, 3, seed=2)
    batch = Collator(processor, with_questions=True)([first, TEXT, second])
    assert batch["num_video_frames"].tolist() == [2, 3]
    assert torch.equal(batch["pixel_values_videos"], torch.cat([first.pixels[0], second.pixels[0]]))
    assert batch["spare_videos"] == 0
    assert batch["question_ids"].tolist() == [[5, 6], [5, 6]]
    assert batch["info"].num_video_tokens == processor.num_video_tokens(2) + processor.num_video_tokens(3)
    assert batch["info"].num_tokens == 4 + 4 + batch["info"].num_video_tokens


def test_questions_are_there_only_if_asked(processor: BimbaProcessor) -> None:
    assert "question_ids" not in Collator(processor)([video_example(processor)])
    longer = video_example(processor)
    longer = Example(longer.name, longer.ids, longer.labels, longer.pixels, questions=([1, 2, 3],))
    batch = Collator(processor, with_questions=True)([video_example(processor), longer])
    assert batch["question_ids"].tolist() == [[5, 6, -1], [1, 2, 3]]
    assert batch["question_lengths"].tolist() == [2, 3]


@pytest.mark.parametrize("examples", [[TEXT], [BAD], [None, BAD, TEXT]])
def test_a_batch_without_video_has_a_blank_one(examples: list[Any], processor: BimbaProcessor) -> None:
    batch = Collator(processor, with_questions=True)(examples)
    assert batch["spare_videos"] == 1
    assert batch["num_video_frames"].tolist() == [1]
    assert batch["pixel_values_videos"].shape == (1, 3, 70, 70)
    assert not batch["pixel_values_videos"].any()
    assert batch["question_lengths"].tolist() == [0]
    assert batch["question_ids"].shape == (1, 0)


def test_a_blank_video_is_long_enough_to_be_pooled() -> None:
    pooling = BimbaProcessor(tiny_tokenizer(), image_size=70, patches_per_side=5, temporal_pooling=3)
    batch = Collator(pooling)([TEXT])
    assert batch["num_video_frames"].tolist() == [3]
    assert len(batch["pixel_values_videos"]) == 3


def test_features_take_the_place_of_pixels(processor: BimbaProcessor) -> None:
    collator = Collator(processor, feature_shape=(25, 48))
    batch = collator([feature_example(processor), TEXT, feature_example(processor)])
    assert "pixel_values_videos" not in batch
    assert batch["vision_features"].shape == (4, 25, 48)
    assert batch["num_video_frames"].tolist() == [2, 2]
    blank = collator([TEXT])
    assert blank["vision_features"].shape == (1, 25, 48)
    assert "pixel_values_videos" not in blank


def test_pixels_and_features_do_not_mix(processor: BimbaProcessor) -> None:
    with pytest.raises(ValueError, match="1 videos of pixels and 1 of features"):
        Collator(processor)([video_example(processor), feature_example(processor)])


def test_an_empty_batch_is_refused(processor: BimbaProcessor) -> None:
    with pytest.raises(ValueError, match="at least one"):
        Collator(processor)([])


def test_a_tokenizer_without_padding_is_padded_with_its_end() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = None
    assert Collator(BimbaProcessor(tokenizer)).pad_id == tokenizer.eos_token_id
    tokenizer.eos_token = None
    assert Collator(BimbaProcessor(tokenizer)).pad_id == 0


def test_the_model_takes_a_batch_and_failures_change_no_loss() -> None:
    model, processor = tiny_model(seed=0)
    collator = Collator(processor)

    def loss(examples: list[Any]) -> Tensor:
        batch = collator(examples)
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "labels", "num_video_frames")}
        with torch.no_grad():
            found: Tensor = model(**inputs, pixel_values_videos=batch["pixel_values_videos"]).loss
        return found

    alone = loss([video_example(processor)])
    assert torch.isclose(loss([video_example(processor), BAD, None]), alone, atol=1e-5)
