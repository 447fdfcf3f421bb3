"""Batches that Vamba is trained on: the golden ones, alone in their rows or packed, and what belongs to whom."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from bimba.models.vamba.packing import Row, Vision, collate, positions_and_mask, text_segments
from bimba.models.vamba.pixels import normalise
from bimba.models.vamba.processing import VambaProcessor
from bimba.text.labels import IGNORE
from bimba.text.prompts import Message, question_about_video
from bimba.video.decode import iter_frames
from bimba.video.probe import probe

ROLES: dict[str, Literal["user", "assistant"]] = {"human": "user", "gpt": "assistant"}
PAD = 384

IdsAndLabels = tuple[list[int], list[int]]


@pytest.fixture(scope="module")
def record(golden: Path) -> dict[str, Any]:
    stored: dict[str, Any] = json.loads((golden / "vamba/train_batches.json").read_text())
    return stored


@pytest.fixture(scope="module")
def vamba(golden: Path) -> VambaProcessor:
    return VambaProcessor.from_pretrained(golden / "vamba/config_a_default", longest_edge=112, shortest_edge=56)


def learned(vamba: VambaProcessor, turns: list[dict[str, str]]) -> IdsAndLabels:
    """Ids and labels of a training sample, its video in front of the first question."""
    messages = [Message(ROLES[turn["from"]], turn["value"]) for turn in turns]
    return vamba.training_ids_and_labels([Message("user", question_about_video(messages[0].content)), *messages[1:]])


def captions(vamba: VambaProcessor, record: dict[str, Any]) -> list[IdsAndLabels]:
    questions = ("Explain the scenario in the image.", "What is the main focus of the image?")
    return [
        learned(vamba, [{"from": "human", "value": question}, {"from": "gpt", "value": sample["caption"]}])
        for question, sample in zip(questions, record["annotations"]["images"], strict=True)
    ]


def blank(*grid: int, conversation: int | None = None) -> Vision:
    """Patches of which each holds its own number."""
    t, h, w = grid
    return Vision(torch.arange(t * h * w)[:, None] * torch.ones(1, 1176), (t, h, w), conversation)


def rows_of(case: str, vamba: VambaProcessor, record: dict[str, Any]) -> list[Row]:
    """The rows of a golden batch, made by us from its annotations, with blank videos and images."""
    samples = record["annotations"]
    videos = [learned(vamba, sample["conversations"]) for sample in samples["video"]]
    images = [learned(vamba, sample["conversations"]) for sample in samples["images"]]
    pictures = [blank(1, 4, 8, conversation=0), blank(1, 6, 6, conversation=1)]
    asked = [learned(vamba, turns) for turns in samples["multiqa"][0]["all_conversations"]]
    return {
        "video_single": [Row(videos[:1], videos=[blank(8, 4, 8)])],
        "video_two": [Row(videos[:1], videos=[blank(8, 4, 8)]), Row(videos[1:], videos=[blank(4, 4, 8)])],
        "images_packed": [Row(images, images=pictures)],
        "captions_packed": [Row(captions(vamba, record), images=pictures)],
        "video_multiqa_packed": [Row(asked, videos=[blank(4, 4, 8)])],
    }[case]


CASES = ["captions_packed", "images_packed", "video_multiqa_packed", "video_single", "video_two"]


# Golden batches ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_golden_ids_labels_positions_and_grids(case: str, vamba: VambaProcessor, record: dict[str, Any]) -> None:
    expected = record["batches"][case]
    batch = collate(rows_of(case, vamba, record), PAD)
    assert len(expected) >= 4
    for name, values in expected.items():
        assert batch[name].tolist() == values, name
    is_packed = case.endswith("packed")
    assert ("position_ids" in batch, "text_segments" in batch, batch["attention_mask"].ndim) == (
        (True, True, 4) if is_packed else (False, False, 2)
    )


@pytest.mark.parametrize("case", CASES)
def test_golden_attention_masks(case: str, vamba: VambaProcessor, record: dict[str, Any], vamba_numbers: Path) -> None:
    golden = load_file(vamba_numbers / f"e2e/train_batch_{case}.safetensors")
    mask = collate(rows_of(case, vamba, record), PAD)["attention_mask"]
    assert torch.equal(mask.long(), golden["attention_mask"])
    assert 0 < int(mask.sum()) <= mask.numel()


def test_golden_pixels_of_packed_images(vamba: VambaProcessor, record: dict[str, Any], vamba_numbers: Path) -> None:
    golden = load_file(vamba_numbers / "e2e/train_batch_images_packed.safetensors")
    (row,) = rows_of("images_packed", vamba, record)
    images = [
        Vision(*vamba.resize_frames([golden[name].numpy()]), conversation=number)
        for number, name in enumerate(("image0_uint8", "image1_uint8"))
    ]
    batch = collate([Row(row.conversations, images=images)], PAD)
    assert torch.equal(normalise([batch["pixel_values"]], vamba.patch_settings), golden["pixel_values"])
    assert torch.equal(batch["image_grid_thw"], golden["image_grid_thw"])


def test_golden_pixels_of_two_videos(
    vamba: VambaProcessor, record: dict[str, Any], vamba_numbers: Path, shared_videos: Path
) -> None:
    golden = load_file(vamba_numbers / "e2e/train_batch_video_two.safetensors")
    videos: list[Iterable[Any]] = [load_file(vamba_numbers / "e2e/video_inputs.safetensors")["frames_resized_uint8"]]
    info = probe(shared_videos / "magic.mp4")
    videos.append(iter_frames(info, vamba.choose_frames(info.num_frames, info.average_fps, 8).indices))
    rows = []
    for row, frames in zip(rows_of("video_two", vamba, record), videos, strict=True):
        patches = vamba.normalise(vamba.resize_frames(map(np.asarray, frames)))
        rows.append(Row(row.conversations, videos=[Vision(patches.values, patches.grid)]))
    batch = collate(rows, PAD)
    assert batch.pop("num_videos").tolist() == [1, 1]
    assert sorted(batch) == sorted(golden)
    for name, tensor in batch.items():
        assert torch.equal(tensor, golden[name]), name


# Who reads what ---------------------------------------------------------------------------------------------------


def test_packed_images_are_read_by_their_own_conversation(vamba: VambaProcessor, record: dict[str, Any]) -> None:
    batch = collate(rows_of("images_packed", vamba, record), PAD)
    assert batch["image_segments"].tolist() == [1, 2]
    assert batch["num_images"].tolist() == [2]
    assert batch["text_segments"].tolist() == [[1] * 55 + [2] * 39]


def test_a_video_of_several_conversations_is_there_once(vamba: VambaProcessor, record: dict[str, Any]) -> None:
    batch = collate(rows_of("video_multiqa_packed", vamba, record), PAD)
    assert batch["video_segments"].tolist() == [0]
    assert batch["num_videos"].tolist() == [1]
    assert len(batch["pixel_values_videos"]) == 128


def test_rows_of_every_kind_share_a_batch() -> None:
    text: IdsAndLabels = ([1, 2, 3], [IGNORE, 2, 3])
    rows = [
        Row([text], videos=[blank(1, 2, 2), blank(2, 2, 2)]),
        Row([text]),
        Row([text, ([4, 5], [4, IGNORE])], images=[blank(1, 2, 4, conversation=1)], videos=[blank(1, 4, 4)]),
    ]
    batch = collate(rows, PAD)
    assert batch["num_videos"].tolist() == [2, 0, 1]
    assert batch["num_images"].tolist() == [0, 0, 1]
    assert (batch["video_segments"].tolist(), batch["image_segments"].tolist()) == ([0, 0, 0], [2])
    assert batch["video_grid_thw"].tolist() == [[1, 2, 2], [2, 2, 2], [1, 4, 4]]
    assert batch["pixel_values_videos"][:, 0].tolist() == [*range(4), *range(8), *range(16)]
    assert batch["input_ids"].tolist() == [[1, 2, 3, PAD, PAD], [1, 2, 3, PAD, PAD], [1, 2, 3, 4, 5]]
    assert batch["labels"].tolist()[0] == [IGNORE, 2, 3, IGNORE, IGNORE]
    assert batch["labels"].tolist()[2] == [IGNORE, 2, 3, 4, IGNORE]
    assert batch["text_segments"].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 2, 2]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 0], [0, 1, 2, 0, 0], [0, 1, 2, 0, 1]]


def test_text_alone_has_no_pixels() -> None:
    assert set(collate([Row([([1, 2], [1, 2])])], PAD)) == {"input_ids", "labels", "attention_mask"}


lengths_of_rows = st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=4), min_size=1, max_size=4)


@settings(deadline=None, derandomize=True)
@given(lengths_of_rows)
def test_each_token_sees_its_conversation_up_to_itself(lengths: list[list[int]]) -> None:
    segments = text_segments(lengths)
    positions, sees = positions_and_mask(segments)
    width = max(map(sum, lengths))
    assert sees.shape == (len(lengths), 1, width, width)
    for row, counts in enumerate(lengths):
        expected = [place for count in counts for place in range(count)]
        assert positions[row].tolist() == expected + [0] * (width - sum(counts))
        begin = 0
        for number, count in enumerate(counts, start=1):
            assert segments[row, begin : begin + count].tolist() == [number] * count
            for place in range(count):
                seen = sees[row, 0, begin + place].nonzero().flatten().tolist()
                assert seen == list(range(begin, begin + place + 1))
            begin += count
    assert bool(sees.any(dim=-1).all())  # a row without any would make attention no number


@settings(deadline=None, derandomize=True)
@given(lengths_of_rows)
def test_no_token_is_lost_or_moved(lengths: list[list[int]]) -> None:
    counter = iter(range(1, 1000))
    rows = [Row([([next(counter) for _ in range(count)],) * 2 for count in counts]) for counts in lengths]
    batch = collate(rows, 0)
    kept: Tensor = batch["input_ids"][text_segments(lengths) > 0]
    assert kept.tolist() == list(range(1, 1 + sum(map(sum, lengths))))
    assert torch.equal(batch["labels"] != IGNORE, batch["input_ids"] > 0)
    assert int(batch["input_ids"].count_nonzero()) == len(kept)


# Refused ----------------------------------------------------------------------------------------------------------

ROWS: dict[str, tuple[list[Row], str]] = {
    "no row": ([], "at least one row"),
    "no conversation": ([Row([])], "0 conversations has no token"),
    "no token": ([Row([([1], [1])]), Row([([], [])])], "1 conversations has no token"),
    "labels": ([Row([([1, 2], [1])])], "2 ids and 1 labels"),
    "patches": ([Row([([1], [1])], videos=[Vision(torch.zeros(3, 8), (1, 2, 2))])], r"3 patches .* \(1, 2, 2\)"),
    "reader": (
        [Row([([1], [1])], images=[blank(1, 2, 2, conversation=1)])],
        "conversation 1 is not one of the row's 1",
    ),
    "below": ([Row([([1], [1])], videos=[blank(1, 2, 2, conversation=-1)])], "conversation -1"),
}


@pytest.mark.parametrize("name", sorted(ROWS))
def test_rows_that_do_not_fit_together_are_refused(name: str) -> None:
    rows, message = ROWS[name]
    with pytest.raises(ValueError, match=message):
        collate(rows, PAD)
