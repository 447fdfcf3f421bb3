"""Vamba's pixels: bit by bit the public ones, and those of Qwen2-VL's image processor where it has none of its own."""

import hashlib
import json
import tracemalloc
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil, smart_resize

from bimba.errors import InputError
from bimba.models.vamba.pixels import PatchSettings, make_patches, normalise
from bimba.models.vamba.processing import IMAGE_MEAN, IMAGE_STD
from bimba.video.decode import iter_frames
from bimba.video.interval_sampling import choose_in_intervals
from bimba.video.probe import probe

RELEASED = PatchSettings(640, 256, 56 * 56, 28 * 28 * 16384, 14, 2, 2, IMAGE_MEAN, IMAGE_STD)
SMALL = replace(RELEASED, longest_edge=112, shortest_edge=56)
"""What the golden numbers were computed with."""


def drawn(num_frames: int, height: int, width: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (num_frames, height, width, 3), dtype=np.uint8)


def smooth(number: int, height: int, width: int) -> npt.NDArray[np.uint8]:
    """A frame without noise, so that a wrong filter shows."""
    rows, columns = np.mgrid[:height, :width]
    colours = [rows * 3 + number * 20, columns * 2, (rows + columns) * (number + 1)]
    return np.stack([colour % 256 for colour in colours], axis=-1).astype(np.uint8)


def pixels_of(frames: Any, patching: PatchSettings) -> torch.Tensor:
    return normalise([make_patches(frames, patching)[0]], patching)


# Golden pixels ----------------------------------------------------------------------------------------------------


def test_a_real_video_gives_the_golden_pixels_bit_by_bit(vamba_numbers: Path, shared_videos: Path) -> None:
    record = json.loads((vamba_numbers / "e2e/video_inputs.json").read_text())
    golden = load_file(vamba_numbers / "e2e/video_inputs.safetensors")
    info = probe(shared_videos / "magic.mp4")
    frames = list(iter_frames(info, choose_in_intervals(info.num_frames, info.average_fps, 16).indices))
    decoded = [hashlib.sha256(frame.tobytes()).hexdigest() for frame in frames]
    assert decoded == [frame["sha256"] for frame in record["raw_decoded_frames"]]
    patches, grid = make_patches(iter(frames), SMALL)
    assert [list(grid)] == golden["video_grid_thw"].tolist() == [[8, 4, 8]]
    assert torch.equal(normalise([patches], SMALL), golden["pixel_values_videos"])


def test_golden_frames_between_both_resizes(vamba_numbers: Path) -> None:
    golden = load_file(vamba_numbers / "e2e/video_inputs.safetensors")
    small, smaller = golden["frames_resized_uint8"].numpy(), golden["frames_smart_resized_uint8"].numpy()
    assert SMALL.sizes(1080, 1920) == (small.shape[1:3], smaller.shape[1:3]) == ((63, 112), (56, 112))
    unchanged = replace(SMALL, longest_edge=112, shortest_edge=28)
    assert torch.equal(make_patches(small, SMALL)[0], make_patches(smaller, unchanged)[0])
    assert torch.equal(pixels_of(small, SMALL), golden["pixel_values_videos"])


def test_a_real_picture_gives_the_golden_pixels_bit_by_bit(vamba_numbers: Path, shared_videos: Path) -> None:
    golden = load_file(vamba_numbers / "e2e/image_inputs.safetensors")
    picture = np.asarray(Image.open(shared_videos / "old_man.png").convert("RGB"))
    patches, grid = make_patches([picture], SMALL)
    assert [list(grid)] == golden["image_grid_thw"].tolist()
    assert torch.equal(normalise([patches], SMALL), golden["pixel_values"])


# Sizes ------------------------------------------------------------------------------------------------------------


def test_golden_sizes_after_each_resize(golden: Path) -> None:
    record = json.loads((golden / "vamba/frame_sampling.json").read_text())
    (first,) = [table for name, table in record.items() if name.startswith("get_resize_output_image_size")]
    (second,) = [table for name, table in record.items() if name.startswith("smart_resize")]
    assert len(first) >= 9
    assert len(second) >= 10
    for height, width, shortest, longest, size in first:
        assert list(replace(RELEASED, shortest_edge=shortest, longest_edge=longest).sizes(height, width)[0]) == size
    for height, width, size in second:
        untouched = replace(RELEASED, shortest_edge=min(height, width), longest_edge=max(height, width))
        assert untouched.sizes(height, width) == ((height, width), tuple(size))


@settings(deadline=None, derandomize=True)
@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 9))
def test_every_size_of_frame_fits_and_is_cut_without_a_rest(height: int, width: int, num_frames: int) -> None:
    first, second = RELEASED.sizes(height, width)
    assert 256 <= min(first) <= max(first) <= 640
    assert [side % 28 for side in second] == [0, 0]
    t, h, w = RELEASED.grid(num_frames, height, width)
    assert (h * 14, w * 14) == second
    assert (t - 1) * 2 < num_frames <= t * 2


def test_the_division_is_that_of_the_public_code() -> None:
    """Where both sides divide without a rest the public code may still lose a pixel; 1160 x 1600 is one such size."""
    assert RELEASED.sizes(1160, 1600)[0] == (463, 640)
    assert RELEASED.sizes(1600, 1160)[0] == (640, 464)


# Patches ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(56, 112), (90, 61), (28, 28), (200, 57)])
def test_an_image_gives_the_patches_of_qwen2_vl(height: int, width: int) -> None:
    patching = replace(SMALL, shortest_edge=28, longest_edge=200)
    processor = Qwen2VLImageProcessorPil(min_pixels=patching.min_pixels, max_pixels=patching.max_pixels)
    for image in (drawn(1, height, width)[0], smooth(1, height, width)):
        theirs = processor(Image.fromarray(image), return_tensors="pt")
        patches, grid = make_patches([image], patching)
        assert [list(grid)] == theirs["image_grid_thw"].tolist()
        torch.testing.assert_close(normalise([patches], patching), theirs["pixel_values"], atol=1e-6, rtol=0)


@pytest.mark.parametrize("num_frames", [2, 7, 31])
def test_a_video_gives_the_patches_of_its_pairs_one_after_the_other(num_frames: int) -> None:
    frames = drawn(num_frames, 60, 90)
    pairs = [make_patches(frames[begin : begin + 2], SMALL)[0] for begin in range(0, num_frames, 2)]
    assert torch.equal(make_patches(iter(frames), SMALL)[0], torch.cat(pairs))


def test_two_frames_share_a_patch_and_follow_each_other_in_it() -> None:
    frames = drawn(4, 60, 90)
    patches, grid = make_patches(frames, SMALL)
    t, h, w = grid
    assert (t, len(patches)) == (2, 2 * h * w)
    by_frame = patches.view(t, h * w, 3, 2, 14 * 14)
    for number, frame in enumerate(frames):
        alone = make_patches([frame], SMALL)[0].view(h * w, 3, 2, 14 * 14)
        assert torch.equal(by_frame[number // 2, :, :, number % 2], alone[:, :, 0])


def test_squares_of_patches_that_become_one_token_lie_together() -> None:
    frame = np.zeros((56, 84, 3), dtype=np.uint8)
    frame[28:, 28:56] = 255  # the fifth square, by rows
    patches, grid = make_patches([frame], replace(SMALL, shortest_edge=56, longest_edge=84))
    assert grid == (1, 4, 6)
    assert [place for place, patch in enumerate(patches) if patch.min() == 255] == [16, 17, 18, 19]
    assert sorted(set(patches.flatten().tolist())) == [0, 255]


@pytest.mark.parametrize("num_frames", [1, 3, 5])
def test_an_odd_last_frame_is_seen_twice_and_not_dropped(num_frames: int) -> None:
    """The public code drops it: grids of 3 and 5 frames are those of 2 and 4, and a single frame raises."""
    frames = drawn(num_frames, 56, 56)
    patches, grid = make_patches(frames, SMALL)
    assert grid == ((num_frames + 1) // 2, 4, 4)
    assert torch.equal(patches, make_patches(np.concatenate([frames, frames[-1:]]), SMALL)[0])
    assert torch.equal(patches[-16:].view(16, 3, 2, -1)[:, :, 0], patches[-16:].view(16, 3, 2, -1)[:, :, 1])


def test_what_the_public_code_does_with_an_odd_last_frame(vamba_numbers: Path) -> None:
    theirs = json.loads((vamba_numbers / "e2e/edge_cases.json").read_text())
    assert theirs["processor_video_1_frames"]["type"] == "RuntimeError"
    for num_frames in (3, 5):
        assert theirs[f"processor_video_{num_frames}_frames"]["video_grid_thw"] == [[num_frames // 2, 4, 4]]
        assert SMALL.grid(num_frames, 56, 56) == (num_frames // 2 + 1, 4, 4)


def test_colours_are_normalised_each_by_its_own() -> None:
    frame = np.full((56, 56, 3), (255, 0, 51), dtype=np.uint8)
    patching = replace(SMALL, image_mean=(0.5, 0.25, 0.2), image_std=(0.5, 0.25, 1.0))
    pixels = pixels_of([frame], patching).view(16, 3, -1)
    torch.testing.assert_close(pixels, torch.tensor([1.0, -1.0, 0.0])[None, :, None].expand_as(pixels))
    assert pixels.dtype == torch.float32


def test_videos_are_normalised_together_as_alone() -> None:
    pieces = [make_patches(drawn(num_frames, 40, 70, seed=num_frames), SMALL)[0] for num_frames in (1, 4, 2)]
    together = normalise(pieces, SMALL)
    assert torch.equal(together, torch.cat([normalise([piece], SMALL) for piece in pieces]))
    assert pieces[0].dtype == torch.uint8  # and were left as they were


# Memory -----------------------------------------------------------------------------------------------------------


def test_no_more_than_two_full_size_frames_are_held() -> None:
    given: list[weakref.ref[npt.NDArray[np.uint8]]] = []
    most = 0

    def frames() -> Iterator[npt.NDArray[np.uint8]]:
        nonlocal most
        for number in range(11):
            frame = smooth(number, 90, 120)
            given.append(weakref.ref(frame))
            most = max(most, sum(reference() is not None for reference in given))
            yield frame

    assert make_patches(frames(), SMALL)[1][0] == 6
    assert most <= 2


def test_patches_of_a_long_video_are_not_held_twice() -> None:
    make_patches([smooth(0, 56, 112)], SMALL)  # what is imported or kept once does not count
    tracemalloc.start()
    patches, _ = make_patches((smooth(number, 56, 112) for number in range(300)), SMALL)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    size = patches.numel()
    assert size == 300 * 56 * 112 * 3
    assert size < most < 1.4 * size


# Refused ----------------------------------------------------------------------------------------------------------


def test_no_frames_are_a_contract_error() -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        make_patches([], SMALL)


@pytest.mark.parametrize("frame", [np.zeros((4, 4), np.uint8), np.zeros((3, 4, 4), np.uint8), np.zeros((4, 4, 3))])
def test_frames_of_another_layout_are_a_contract_error(frame: Any) -> None:
    with pytest.raises(ValueError, match=r"uint8 \[H, W, 3\]"):
        make_patches([frame], SMALL)


def test_an_empty_frame_is_a_contract_error() -> None:
    with pytest.raises(ValueError, match=r"\[0, 4, 3\]"):
        make_patches([np.zeros((0, 4, 3), np.uint8)], SMALL)


def test_frames_of_two_sizes_are_refused_with_both() -> None:
    with pytest.raises(InputError, match=r"frame 1 is 8 x 6 pixels, the others 6 x 8(.|\n)*as images"):
        make_patches([np.zeros((6, 8, 3), np.uint8), np.zeros((8, 6, 3), np.uint8)], SMALL)


@pytest.mark.parametrize(
    ("setting", "value", "named"),
    [
        ("longest_edge", 100, "shortest_edge is 256 and longest_edge 100"),
        ("longest_edge", 256 * 200, "longest_edge 51200"),
        ("shortest_edge", 0, "shortest_edge is 0"),
        ("min_pixels", 0, "min_pixels is 0"),
        ("max_pixels", 5, "min_pixels is 3136 and max_pixels 5"),
        ("patch_size", 0, r"\(0, 2, 2\)"),
        ("temporal_patch_size", -1, r"\(14, -1, 2\)"),
        ("image_mean", (0.5, 0.5), r"image_mean \[0.5, 0.5\]"),
        ("image_std", (0.5, 0.0, 1.0), r"image_std \[0.5, 0.0, 1.0\]"),
    ],
)
def test_settings_out_of_range_are_refused(setting: str, value: Any, named: str) -> None:
    with pytest.raises(InputError, match=named):
        replace(RELEASED, **{setting: value})


def test_the_most_elongated_frame_that_is_allowed_is_one_that_qwen2_vl_takes() -> None:
    patching = replace(RELEASED, shortest_edge=10, longest_edge=1999)
    assert patching.sizes(1, 100_000)[0] == (10, 1999)
    with pytest.raises(ValueError, match="aspect ratio"):
        smart_resize(10, 2001)
