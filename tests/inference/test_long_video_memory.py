"""A long video takes the memory of a short one; each of its frames is asked for once, in order, from one reading.

Memory is that of a process of its own, in which nothing else happens: `python test_long_video_memory.py` is it.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from bimba.cli.bench.peak import begin_peak, peak_bytes
from bimba.inference import VideoQA, free_memory
from bimba.inference.clip import Clip
from bimba.inference.encoder import encode_clip
from bimba.inference.stopwatch import Stopwatch
from bimba.models.bimba.configuration import BimbaConfig
from bimba.models.bimba.modeling import BimbaForConditionalGeneration
from bimba.models.bimba.processing import BimbaProcessor
from bimba.models.bimba.tiny import tiny_config, tiny_model, tiny_tokenizer

SHORT, MIDDLE, LONG = 64, 320, 1216
DIM, PATCHES = 512, 5
HELD_BYTES = LONG * PATCHES**2 * DIM * 4 // 2
"""Half of what the tokens of the long video would take if they were all held: 31 MB."""


def wide(temporal_pooling: int) -> tuple[BimbaForConditionalGeneration, BimbaProcessor]:
    """The tiny model, so wide that its tokens can be seen in the memory of a process."""
    values = tiny_config(320).to_dict()
    values["text_config"].update(hidden_size=DIM, intermediate_size=DIM)
    config = BimbaConfig.from_dict(values | {"temporal_pooling": temporal_pooling})
    model = BimbaForConditionalGeneration(config)
    model.eval()  # type: ignore[no-untyped-call] # untyped there
    return model, BimbaProcessor.from_config(config, tiny_tokenizer())


def clip_of(num_frames: int, asked: list[int] | None = None) -> Clip:
    def frames() -> Iterator[np.ndarray]:
        for number in range(num_frames):
            if asked is not None:
                asked.append(number)
            yield np.full((24, 32, 3), number % 256, dtype=np.uint8)

    return Clip(num_frames, frames, (), (), 0.0)


def in_pieces(num_frames: int) -> int:
    """Number of tokens; as many for both lengths: those of 64 frames or of 64 groups."""
    model, processor = wide(num_frames // SHORT)
    clip = clip_of(num_frames)
    return len(encode_clip(model, processor, clip, Stopwatch(torch.device("cpu")), frames_per_step=LONG // SHORT))


@torch.no_grad()
def whole(num_frames: int) -> int:
    model, processor = wide(num_frames // SHORT)
    return len(model.get_video_features(processor.make_pixels(clip_of(num_frames).frames()))[0])


def growth(encode: Callable[[int], int], num_frames: int) -> tuple[int, int]:
    """Number of tokens, and by how much memory grew at most."""
    free_memory.return_free_memory()
    before = begin_peak()
    num_tokens = encode(num_frames)
    peak = peak_bytes()
    assert before is not None
    assert peak is not None
    return num_tokens, peak - before


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="only Linux forgets a peak of memory")
def test_a_long_video_takes_the_memory_of_a_short_one() -> None:
    command = [sys.executable, __file__]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    tokens, short, long, at_once = json.loads(done.stdout.splitlines()[-1])
    assert tokens == [SHORT * 3 * (3 + 1)] * 3
    # The instrument sees what is held, of a quarter of the long video.
    assert at_once > short + HELD_BYTES
    assert long < short + HELD_BYTES


def test_every_frame_of_a_long_video_is_asked_for_once_and_in_order(tiny: VideoQA) -> None:
    asked: list[int] = []
    readings: list[int] = []
    counted = clip_of(1200, asked)

    def frames() -> Iterator[np.ndarray]:
        readings.append(len(asked))
        yield from counted.frames()

    encode_clip(tiny.model, tiny.processor, Clip(1200, frames, (), (), 0.0), Stopwatch(torch.device("cpu")))
    assert asked == list(range(1200))
    assert readings == [0]


def main() -> None:
    torch.set_num_threads(1)
    free_memory.MOST_GROWTH = 1.0  # holes go back at once, so that what is measured is in use
    model, processor = tiny_model()
    # Compiled code and the libraries' buffers are not what is measured.
    encode_clip(model, processor, clip_of(48), Stopwatch(torch.device("cpu")))
    measured = [growth(in_pieces, SHORT), growth(in_pieces, LONG), growth(whole, MIDDLE)]
    sys.stdout.write(json.dumps([[tokens for tokens, _ in measured], *(size for _, size in measured)]) + "\n")


if __name__ == "__main__":
    main()
