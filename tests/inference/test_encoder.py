"""A video that is looked at piece by piece is encoded as the whole is, and nothing of it is kept."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import bimba
from bimba.errors import VideoError
from bimba.inference import VideoQA
from bimba.inference.clip import Clip
from bimba.inference.encoder import PIECES_AHEAD, encode_clip
from bimba.inference.opening import open_video
from bimba.inference.stopwatch import Stopwatch


def watch_of(qa: VideoQA) -> Stopwatch:
    return Stopwatch(qa.model.input_device)


@pytest.mark.parametrize("frames_per_step", [1, 7, 16, 100], ids="steps_of_{}".format)
@pytest.mark.parametrize("temporal_pooling", [1, 4], ids="pooling_{}".format)
def test_pieces_give_the_tokens_of_the_whole(
    model: Path, video: Path, frames_per_step: int, temporal_pooling: int
) -> None:
    qa = bimba.load(str(model), dtype="float32", config_overrides={"temporal_pooling": temporal_pooling})
    clip = open_video(video).choose(19, "uniform")
    with torch.no_grad():
        [expected] = qa.model.get_video_features(qa.processor.make_pixels(clip.frames()))
    actual = encode_clip(qa.model, qa.processor, clip, watch_of(qa), frames_per_step=frames_per_step)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


def test_every_frame_is_asked_for_once_and_not_long_before_it_is_needed(tiny: VideoQA) -> None:
    asked: list[int] = []
    seen: list[int] = []

    def frames() -> Iterator[np.ndarray]:
        for number in range(60):
            asked.append(number)
            yield np.full((8, 8, 3), number, dtype=np.uint8)

    def told(stage: str, done: int, total: int) -> None:
        assert total in (1, 60)
        if stage == "vision":
            seen.append(done)
            # Pieces of 5: one that is looked at, those that wait, and one that is read.
            assert len(asked) <= done + 5 * (PIECES_AHEAD + 2)

    clip = Clip(60, frames, (), (), 0.0)
    watch = watch_of(tiny)
    encode_clip(tiny.model, tiny.processor, clip, watch, progress=told, frames_per_step=5)
    assert asked == list(range(60))
    assert seen == list(range(5, 61, 5))
    assert set(watch.seconds) == {"decode", "pixels", "kernels", "vision", "project", "compress"}
    assert min(watch.seconds.values()) >= 0


def test_a_frame_that_cannot_be_decoded_ends_it(tiny: VideoQA) -> None:
    def frames() -> Iterator[np.ndarray]:
        yield np.zeros((8, 8, 3), dtype=np.uint8)
        raise VideoError("frame 2 is damaged.", fix="re-encode it.")

    with pytest.raises(VideoError, match="frame 2"):
        encode_clip(tiny.model, tiny.processor, Clip(9, frames, (), (), 0.0), watch_of(tiny))
