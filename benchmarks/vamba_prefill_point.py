"""Which model reads how many frames in; the memory and the seconds until it could say its first word out.

`python -m benchmarks.vamba_prefill_point JSON` is a process that does nothing else: it makes a model, warms up, reads,
and prints one line of JSON. Linux alone tells what is asked here.

Both models have one vision tower, one text width and depth, the same frames and the same prompt. Qwen2-VL is spared the
pixels of the whole video: its tower, too, looks at a few frames at a time.

Shapes: V tokens of the video, L tokens of the text, D width.
"""

import json
import logging
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

from bimba.cli.bench.peak import begin_peak, peak_bytes, status_bytes
from bimba.models.bimba.encoding import FRAMES_PER_STEP
from bimba.models.vamba.configuration import VambaConfig
from bimba.models.vamba.modeling import VambaForConditionalGeneration
from bimba.models.vamba.patches import Patches
from bimba.models.vamba.pixels import PatchSettings, make_patches, normalise

FRAME = (224, 224)
"""Height and width of a frame; two of them become 64 tokens."""
NUM_TEXT = 64
WIDTH, INNER, DEPTH, HEADS, KV_HEADS = 256, 1024, 4, 4, 2
VISION: dict[str, Any] = {"depth": 1, "embed_dim": 64, "hidden_size": WIDTH, "num_heads": 2}
MIXER: dict[str, Any] = {"d_state": 64}
_TEXT: dict[str, Any] = {
    "vocab_size": 512,
    "hidden_size": WIDTH,
    "intermediate_size": INNER,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0, "mrope_section": [8, 12, 12]},
    "bos_token_id": None,
    "eos_token_id": 0,
    "pad_token_id": None,
}
_VIDEO, _START, _END, _IMAGE = 500, 501, 502, 503
_SETTINGS = PatchSettings(
    longest_edge=max(FRAME),
    shortest_edge=56,
    min_pixels=56 * 56,
    max_pixels=28 * 28 * 16384,
    patch_size=14,
    temporal_patch_size=2,
    merge_size=2,
    image_mean=(0.5, 0.5, 0.5),
    image_std=(0.5, 0.5, 0.5),
)
_NUM_WARM = 2 * FRAMES_PER_STEP
# Tensors from this size on go back to the system when they are freed, so that what is measured is in use.
_MMAPPED_BYTES = 2**17

Way = Literal["vamba", "sdpa", "eager"]
"""Ours, or Qwen2-VL with one of the two kinds of attention that a CPU has."""


class PointError(Exception):
    """The process that was to be measured did not finish."""


@dataclass(frozen=True)
class Order:
    """What is measured.

    Attributes:
        way: which model.
        num_frames: that it reads.
        rounds: how often; memory is that of the first.
        limit_bytes: of data that the process may have.
        num_threads: of torch.
    """

    way: Way
    num_frames: int
    rounds: int
    limit_bytes: int
    num_threads: int = 1


@dataclass(frozen=True)
class Measured:
    """What it took.

    Attributes:
        num_parameters: of the model.
        num_tokens: V.
        kept_bytes: of keys and values, of video and text, that answering goes on with.
        above_bytes: the most memory, beside the loaded model; None if it ran out.
        vision_seconds: of making pixels and of the vision tower, in the fastest round.
        read_seconds: of all the rest until the first word, in the fastest round.
    """

    num_parameters: int
    num_tokens: int
    kept_bytes: int = 0
    above_bytes: int | None = None
    vision_seconds: float = 0.0
    read_seconds: float = 0.0

    @property
    def seconds(self) -> float:
        """Until the first word."""
        return self.vision_seconds + self.read_seconds


class Reading(NamedTuple):
    """One round; see `Measured`."""

    vision_seconds: float
    read_seconds: float
    kept_bytes: int


def measure(order: Order, *, longest: float) -> Measured | None:
    """Do it in a process of its own.

    Args:
        order: what is measured.
        longest: seconds after which the process is stopped.

    Returns:
        None if it was stopped.

    Raises:
        PointError: it failed.
    """
    command = [sys.executable, "-m", "benchmarks.vamba_prefill_point", json.dumps(asdict(order))]
    settings = os.environ | {"MALLOC_MMAP_THRESHOLD_": str(_MMAPPED_BYTES)}
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=longest, env=settings)
    except subprocess.TimeoutExpired:
        return None
    if done.returncode != 0:
        raise PointError(f"{order} failed with exit code {done.returncode}:\n{done.stderr[-2000:]}")
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Do what the first argument says."""
    order = Order(**json.loads(sys.argv[1]))
    torch.set_num_threads(order.num_threads)
    model = make_model(order.way)
    read: Callable[[Any, int], Reading] = _read_by_vamba if order.way == "vamba" else _read_by_qwen
    read(model, _NUM_WARM)  # compiled code and the libraries' buffers are not what is measured
    pairs = order.num_frames // _SETTINGS.temporal_patch_size
    rows, columns = _SETTINGS.grid(1, *FRAME)[1:]
    measured = Measured(model.num_parameters(), pairs * rows * columns // _SETTINGS.merge_size**2)
    resource.setrlimit(resource.RLIMIT_DATA, (order.limit_bytes, order.limit_bytes))
    before, file_bytes = begin_peak(), status_bytes("RssFile")
    readings, above = [], None
    for _ in range(order.rounds):
        try:
            readings.append(read(model, order.num_frames))
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and "can't allocate memory" not in str(error):
                raise
            print(json.dumps(asdict(measured)))
            return
        if above is None:
            above = _above(before, file_bytes)
    best = min(readings, key=lambda reading: reading.vision_seconds + reading.read_seconds)
    found = Measured(measured.num_parameters, measured.num_tokens, best.kept_bytes, above, *best[:2])
    print(json.dumps(asdict(found)))


def make_model(way: Way) -> VambaForConditionalGeneration | Qwen2VLForConditionalGeneration:
    """A model with fresh weights."""
    torch.manual_seed(0)
    model: VambaForConditionalGeneration | Qwen2VLForConditionalGeneration
    if way == "vamba":
        model = VambaForConditionalGeneration(VambaConfig(text_config=_TEXT, vision_config=VISION, mixer=MIXER))
    else:
        config = Qwen2VLConfig(
            text_config=_TEXT, vision_config=VISION, video_token_id=_VIDEO, image_token_id=_IMAGE,
            vision_start_token_id=_START, vision_end_token_id=_END,
        )  # fmt: skip
        config._attn_implementation = way  # noqa: SLF001 - transformers' own name
        model = Qwen2VLForConditionalGeneration(config)
    model.train(False)
    return model


def pieces(num_frames: int) -> Iterator[Patches]:
    """Frames of noise, made and resized a few at a time."""
    chance = np.random.default_rng(0)
    for begin in range(0, num_frames, FRAMES_PER_STEP):
        size = min(FRAMES_PER_STEP, num_frames - begin)
        frames = chance.integers(0, 256, (size, *FRAME, 3), dtype=np.uint8)
        patches = Patches(*make_patches(frames, _SETTINGS))
        yield patches._replace(values=normalise([patches.values], _SETTINGS))


@torch.no_grad()
def _read_by_vamba(model: VambaForConditionalGeneration, num_frames: int) -> Reading:
    """The video once, then the text, which reads it."""
    begun, mixing = time.perf_counter(), _Stage("mix")
    context = model.encode_stream(pieces(num_frames), num_frames, stage=mixing)
    reading = time.perf_counter()
    output = model(_text(), video_features=context, use_cache=True, logits_to_keep=1)
    ended = time.perf_counter()
    kept = context.num_bytes + _cache_bytes(output.past_key_values)
    return Reading(reading - begun - mixing.seconds, mixing.seconds + ended - reading, kept)


@torch.no_grad()
def _read_by_qwen(model: Qwen2VLForConditionalGeneration, num_frames: int) -> Reading:
    """The video's tokens in the prompt, and all of it at once."""
    begun = time.perf_counter()
    parts, pairs = [], 0
    for patches in pieces(num_frames):
        parts.append(model.model.visual(patches.values, grid_thw=torch.tensor([patches.grid])).pooler_output)
        pairs += patches.grid[0]
    grid = torch.tensor([[pairs, *patches.grid[1:]]])
    tokens = torch.cat(parts)
    parts.clear()
    reading = time.perf_counter()
    marks = [torch.tensor([[mark]]) for mark in (_START, _END)]
    ids = torch.cat([marks[0], torch.full((1, len(tokens)), _VIDEO), marks[1], _text()], dim=1)
    embeds = model.get_input_embeddings()(ids)
    embeds[0, 1 : 1 + len(tokens)] = tokens
    del tokens
    kinds = (ids == _VIDEO).int() * 2  # as its processor tells text (0) and videos (2) apart
    positions, _ = model.model.get_rope_index(ids, kinds, video_grid_thw=grid)
    output = model(inputs_embeds=embeds, position_ids=positions, use_cache=True, logits_to_keep=1)
    return Reading(reading - begun, time.perf_counter() - reading, _cache_bytes(output.past_key_values))


class _Stage:
    """Adds up the seconds of the blocks of one name."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.seconds = 0.0

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        if name == self._name:
            self.seconds += time.perf_counter() - begun


def _text() -> Tensor:
    """A prompt [1, L]."""
    return torch.randint(1, 400, (1, NUM_TEXT), generator=torch.Generator().manual_seed(0))


def _cache_bytes(cache: Any) -> int:
    return sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)


def _above(before: int | None, file_bytes: int | None) -> int:
    """Bytes of the peak above what there was before, without the pages of libraries that were read since."""
    most, file_bytes_now = peak_bytes(), status_bytes("RssFile")
    if before is None or most is None or file_bytes is None or file_bytes_now is None:
        raise PointError("this system does not tell the memory of a process; Linux does")
    return most - before - (file_bytes_now - file_bytes)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
