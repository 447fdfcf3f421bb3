"""Pooled golden features -> the rows that the public code hands to its language model, in all four modes."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from bimba.checkpoints.released_config import read_released_config
from bimba.models.bimba.configuration import NewlinePosition
from bimba.models.bimba.separators import add_separators, num_video_tokens
from bimba.models.bimba.splice import splice_videos
from bimba.ops import PoolMode, pool_video

PLACEHOLDER = 99


@pytest.fixture(scope="module")
def tensors(golden: Path) -> dict[str, Tensor]:
    return load_file(golden / "pooling" / "pooling.safetensors")


def pooled(tensors: dict[str, Tensor], side: int, frames: int, k: int = 1, mode: PoolMode = "bilinear") -> Tensor:
    features = tensors[f"input.s{side}_f{frames}"].reshape(1, frames, side, side, -1)
    return pool_video(features, (k, 2, 2), mode)[0]


@pytest.mark.parametrize("mode", ["average", "max", "bilinear"])
@pytest.mark.parametrize(("frames", "k"), [(3, 1), (8, 4), (9, 4)])
@pytest.mark.parametrize("side", [5, 27])
def test_rows_and_frames_end_with_the_separator_as_in_the_public_code(
    tensors: dict[str, Tensor], side: int, frames: int, k: int, mode: PoolMode
) -> None:
    grid = pooled(tensors, side, frames, k, mode)
    newline = tensors["image_newline"]
    by_row = tensors[f"grid.s{side}_f{frames}_tp{k}_{mode}"]
    by_frame = tensors[f"frame.s{side}_f{frames}_tp{k}_{mode}"]
    assert (add_separators(grid, newline, "grid") - by_row).abs().max() < 1e-5
    assert (add_separators(grid, newline, "frame") - by_frame.flatten(0, 1)).abs().max() < 1e-5


@pytest.mark.parametrize("position", ["grid", "frame", "one_token", "no_token"])
@pytest.mark.parametrize("side", [5, 27])
def test_spliced_video_is_what_the_public_code_feeds(
    tensors: dict[str, Tensor], side: int, position: NewlinePosition
) -> None:
    grid = pooled(tensors, side, 3)
    video = add_separators(grid, tensors["image_newline"], position)
    t, h, w, _ = grid.shape
    assert num_video_tokens((t, h, w), position) == len(video)
    before, after = [1, 2], [3, 4, 5]
    ids = torch.tensor([[*before, *[PLACEHOLDER] * len(video), *after]])
    embeds = splice_videos(ids, [video], PLACEHOLDER, lambda token: tensors["embed_tokens"][token])
    assert (embeds - tensors[f"fed.s{side}_spatial_unpad_{position}"]).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("merge", "position"),
    [
        ("spatial", "grid"),
        ("spatial", "frame"),
        ("spatial", "one_token"),
        ("spatial", "no_token"),
        ("flat", "grid"),
    ],
)
def test_other_merge_types_feed_what_the_public_code_feeds(
    tensors: dict[str, Tensor], pair: Path, merge: str, position: str
) -> None:
    """The public code decides by two settings, ours by one: the translation must lead to the same rows."""
    path = pair / "tiny_base" / "config.json"
    settings = json.loads(path.read_text()) | {"mm_patch_merge_type": merge, "mm_newline_position": position}
    path.write_text(json.dumps(settings))
    ours = read_released_config(pair / "tiny_base", None).newline_position
    video = add_separators(pooled(tensors, 5, 3), tensors["image_newline"], ours)
    assert (video - tensors[f"fed.s5_{merge}_{position}"][0, 2:-3]).abs().max() < 1e-5


@pytest.mark.parametrize("side", ["right", "left"])
def test_batch_of_two_videos_is_spliced_as_in_the_public_code(tensors: dict[str, Tensor], side: str) -> None:
    videos = [
        add_separators(pooled(tensors, 5, 3), tensors["image_newline"], "grid"),
        add_separators(
            pool_video(tensors["input.s5_f8"][:2].reshape(1, 2, 5, 5, -1), (1, 2, 2))[0],
            tensors["image_newline"],
            "grid",
        ),
    ]
    mask = tensors[f"batch.{side}_max32768.attention_mask"]
    rows = []
    for row, video, row_mask in zip(tensors["batch.input_ids"], videos, tensors["batch.attention_mask"], strict=True):
        ids = [[PLACEHOLDER] * len(video) if token < 0 else [token] for token in row[row_mask].tolist()]
        flat = [token for group in ids for token in group]
        padding = [0] * (mask.shape[1] - len(flat))
        rows.append(flat + padding if side == "right" else padding + flat)
    embeds = splice_videos(torch.tensor(rows), videos, PLACEHOLDER, lambda token: tensors["embed_tokens"][token])
    wanted = tensors[f"batch.{side}_max32768.inputs_embeds"]
    assert (embeds[mask] - wanted[mask]).abs().max() < 1e-5
