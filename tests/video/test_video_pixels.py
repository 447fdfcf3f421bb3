"""Pixels: equal to SigLIP's image processor, one full-size frame at a time."""

import weakref
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from video_files import Frame, drawn_frame, shared_file

from bimba.video.decode import iter_frames
from bimba.video.pixels import make_pixels
from bimba.video.probe import probe
from bimba.video.sampling import choose_frames

HALF = (0.5, 0.5, 0.5)


def test_golden_frames_give_the_golden_pixels() -> None:
    golden = load_file(shared_file("golden/bimba/e2e/processor.safetensors"))
    info = probe(shared_file("video/example.mp4"))
    indices = choose_frames(info.num_frames, info.average_fps, 8).indices
    pixels = make_pixels(iter_frames(info, indices), size=70, mean=HALF, std=HALF)
    torch.testing.assert_close(pixels, golden["pixel_values_70"], atol=1e-6, rtol=0)


def test_golden_pictures_give_the_golden_pixels_at_the_released_size() -> None:
    golden = load_file(shared_file("golden/bimba/e2e/processor.safetensors"))
    names = ["frame8_0.png", "frame8_7.png"]
    frames = [np.asarray(Image.open(shared_file(f"golden/bimba/e2e/frames/{name}"))) for name in names]
    pixels = make_pixels(frames, size=384, mean=HALF, std=HALF)
    torch.testing.assert_close(pixels, golden["pixel_values_384_frames_0_7"], atol=1e-6, rtol=0)


def test_synthetic_frames_give_the_golden_pixels() -> None:
    golden = load_file(shared_file("golden/bimba/e2e/processor.safetensors"))
    pixels = make_pixels(golden["synthetic_uint8"].numpy(), size=70, mean=HALF, std=HALF)
    torch.testing.assert_close(pixels, golden["synthetic_70"], atol=1e-6, rtol=0)


def test_each_colour_has_its_own_mean_and_deviation() -> None:
    frame = np.full((5, 7, 3), (255, 0, 51), dtype=np.uint8)
    pixels = make_pixels([frame], size=2, mean=(0.5, 0.25, 0.2), std=(0.5, 0.25, 1.0))
    assert pixels.shape == (1, 3, 2, 2)
    assert pixels.dtype == torch.float32
    torch.testing.assert_close(pixels[0, :, 0, 0], torch.tensor([1.0, -1.0, 0.0]))


def test_no_more_than_two_full_size_frames_are_held() -> None:
    given: list[weakref.ref[Frame]] = []
    most = 0

    def frames() -> Iterator[Frame]:
        nonlocal most
        for number in range(10):
            frame = drawn_frame(number)
            given.append(weakref.ref(frame))
            most = max(most, sum(reference() is not None for reference in given))
            yield frame

    assert len(make_pixels(frames(), size=4, mean=HALF, std=HALF)) == 10
    assert most <= 2


def test_no_frames_are_a_contract_error() -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        make_pixels([], size=4, mean=HALF, std=HALF)


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 4), (3, 4, 4)])
def test_frames_of_another_layout_are_a_contract_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"uint8 \[H, W, 3\]"):
        make_pixels([np.zeros(shape, dtype=np.uint8)], size=4, mean=HALF, std=HALF)


def test_four_means_are_a_contract_error() -> None:
    with pytest.raises(ValueError, match="3 numbers each, got 4 and 3"):
        make_pixels([drawn_frame(0)], size=4, mean=(0, 0, 0, 0), std=HALF)
