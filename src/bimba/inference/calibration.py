"""A model's config and chosen frames in, the seconds that answering takes on this machine out; no weight is read.

A thin model of the same widths looks at a few frames and reads a few hundred tokens. Its layers are timed by
themselves, so that they can be counted as often as the real model has them. Each measurement is repeated with twice as
much until it takes long enough, so that small models are measured whole, and of large ones no more than a moment.

Shapes: n frames, S patches a frame, Q queries, D width, L tokens of a prompt.
"""

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from math import prod
from typing import Any

import numpy as np
import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor, nn
from transformers import GenerationConfig
from transformers.generation.streamers import BaseStreamer

from bimba.errors import InputError
from bimba.inference.clip import Clip
from bimba.inference.thin_model import FEWEST_FRAMES, VOCABULARY, depth_of, only_layer, thin_model
from bimba.models.bimba.configuration import BimbaConfig
from bimba.models.bimba.encoding import FRAMES_PER_STEP
from bimba.models.bimba.modeling import BimbaForConditionalGeneration
from bimba.models.bimba.towers import is_convolutional, tower_depth
from bimba.ops.pool import pooled_shape
from bimba.video.pixels import resize_frames

Clock = Callable[[], float]
"""Seconds since some moment."""

LONG_ENOUGH_SECONDS = 1.0
"""A measurement that takes so long is not repeated with more."""

_MOST_DECODED = 16
_FEWEST_TOKENS, _STEPS = 128, 4


@dataclass(frozen=True)
class TimePlan:
    """Estimated seconds of each stage, as `Answer.timings` names them; loading the model is not among them.

    Args:
        decode: of the frames.
        pixels: resizing them.
        vision: the vision tower.
        project: its features to the language model's width.
        compress: the compressor.
        first_token: the language model, until the answer begins.
        next_token: each token of the answer after the first.
        at_once: whether frames are read while others are looked at without slowing that down: on a GPU.
    """

    decode: float
    pixels: float
    vision: float
    project: float
    compress: float
    first_token: float
    next_token: float
    at_once: bool

    @property
    def encode(self) -> float:
        """Until the video is encoded."""
        reading, looking = self.decode + self.pixels, self.vision + self.project + self.compress
        return max(reading, looking) if self.at_once else reading + looking

    @property
    def until_answer(self) -> float:
        """Until the answer begins."""
        return self.encode + self.first_token

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, ready for JSON."""
        return asdict(self) | {"encode": self.encode, "until_answer": self.until_answer}


def calibrate(
    config: BimbaConfig,
    clip: Clip,
    num_prompt_tokens: int,
    *,
    device: torch.device,
    dtype: torch.dtype,
    attn_implementation: str | None = None,
    clock: Clock = time.perf_counter,
) -> TimePlan | None:
    """Estimate what a question about chosen frames takes on this machine.

    Args:
        config: the model's.
        clip: the chosen frames; some of them are decoded.
        num_prompt_tokens: L, of the video and the text.
        device: where the model would be.
        dtype: of its weights.
        attn_implementation: as of `bimba.load`.
        clock: what the time is taken from.

    Returns:
        the estimate; None for a model of which no layer can be told from the rest.

    Raises:
        VideoError: a frame cannot be decoded.
        InputError: that kind of attention cannot be had here.
    """
    depth = depth_of(config.text_config)
    if depth is None:
        return None
    try:
        thin = thin_model(config, device, dtype, attn_implementation)
    except (ImportError, ValueError, StrictDataclassError) as error:
        if attn_implementation is not None:
            raise InputError(
                f"no model can be made with attn_implementation {attn_implementation!r} here: {error}",
                fix="leave --attn-implementation out, or name another.",
            ) from error
        return None  # a family whose layers need each other
    seen, read = only_layer(thin.vision_tower), only_layer(thin.language_model)
    if read is None or (seen is None and not is_convolutional(config.vision_config)):
        return None
    decode, pixels = _reading(clip, config, clock)
    with torch.no_grad(), _Timed(read, device, clock) as reading, _Timed(seen, device, clock) as looking:
        vision, project, compress = _looking(thin, config, clip.num_frames, looking)
        first_token, next_token = _answering(thin, config, num_prompt_tokens, depth, reading)
    return TimePlan(decode, pixels, vision, project, compress, first_token, next_token, at_once=device.type != "cpu")


class _Timed:
    """Takes the time, and that of one layer by itself; on a GPU it waits until the work is done.

    Args:
        layer: None where nothing is to be told from the rest.
        device: where it is.
        clock: what the time is taken from.
    """

    def __init__(self, layer: nn.Module | None, device: torch.device, clock: Clock) -> None:
        self._layer, self._device, self._clock = layer, device, clock
        self._begun = 0.0
        self._hooks: list[Any] = []
        self.layer_seconds = 0.0

    def __enter__(self) -> "_Timed":
        if self._layer is not None:
            self._hooks = [
                self._layer.register_forward_pre_hook(self._begin),
                self._layer.register_forward_hook(self._end),
            ]
        return self

    def __exit__(self, *reason: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def now(self) -> float:
        """The time when all work so far is done."""
        if self._device.type != "cpu":
            torch.accelerator.synchronize(self._device)
        return self._clock()

    def _begin(self, *_: object) -> None:
        self._begun = self.now()

    def _end(self, *_: object) -> None:
        self.layer_seconds += self.now() - self._begun


def _reading(clip: Clip, config: BimbaConfig, clock: Clock) -> tuple[float, float]:
    """Seconds of decoding and of resizing all chosen frames, from some of them."""
    frames: list[np.ndarray] = []
    moments = [clock()]
    decoded = clip.frames()
    for frame in islice(decoded, _MOST_DECODED):
        frames.append(frame)
        moments.append(clock())
        if moments[-1] - moments[0] > LONG_ENOUGH_SECONDS:
            break
    if isinstance(decoded, Generator):  # it may hold a file open
        decoded.close()
    begun = clock()
    resize_frames(frames, size=config.vision_config.image_size)
    resized = (clock() - begun) / len(frames)
    opened, others = moments[1] - moments[0], len(frames) - 1  # the file is opened once
    each = (moments[-1] - moments[1]) / others if others else 0.0
    return opened + each * (clip.num_frames - 1), resized * clip.num_frames


def _looking(
    thin: BimbaForConditionalGeneration, config: BimbaConfig, num_frames: int, timed: _Timed
) -> tuple[float, float, float]:
    """Seconds of the vision tower, the projector and the compressor for all frames."""
    device, side = thin.input_device, config.vision_config.image_size
    question = None
    if config.reads_question:
        question = thin.get_input_embeddings()(torch.zeros(_FEWEST_TOKENS, dtype=torch.int64, device=device))

    def look(size: int) -> dict[str, float]:
        pixels = torch.zeros(size, 3, side, side, device=device)
        seconds = {"vision": 0.0, "project": 0.0, "compress": 0.0}
        before = timed.layer_seconds

        @contextmanager
        def stage(name: str) -> Iterator[None]:
            begun = timed.now()
            yield
            seconds[name] += timed.now() - begun

        thin.encode_stream([pixels], size, question, stage=stage)
        return seconds | {"layer": timed.layer_seconds - before}

    fewest = max(min(FEWEST_FRAMES, num_frames), thin.config.temporal_pooling)
    size, seconds = _repeated(look, fewest, max(fewest, min(num_frames, FRAMES_PER_STEP)), timed)
    depth = 1 if is_convolutional(config.vision_config) else tower_depth(config.vision_config)
    vision = seconds["vision"] + (depth - 1) * seconds["layer"]
    more, compressor = num_frames / size, sum(weight.numel() for weight in thin.compressor.parameters())
    work = _compress_work(config, num_frames, compressor) / _compress_work(thin.config, size, compressor)
    return vision * more, seconds["project"] * more, seconds["compress"] * work


def _compress_work(config: BimbaConfig, num_frames: int, num_parameters: int) -> float:
    """What a compressor does, up to a factor: so much for each frame, and attention for each pair of its rows."""
    kind, side, width = config.compressor["type"], config.patches_per_side, config.text_config.hidden_size
    if kind not in ("self_attention", "perceiver"):
        return num_frames
    num_queries = prod(pooled_shape(num_frames, side, side, config.pool, config.pool_mode))
    rows, num_layers = num_frames * side**2 + num_queries, config.compressor["num_layers"]
    # Where all rows ask, they do so in each layer before the last.
    asking = num_queries * num_layers if kind == "perceiver" else num_queries + rows * (num_layers - 1)
    return float(2 * num_parameters * rows + 4 * width * asking * rows)


class _Marks(BaseStreamer):
    """Notes when the prompt was taken and when each token came, and how long the layer had been at work by then."""

    def __init__(self, timed: _Timed) -> None:
        self._timed = timed
        self.moments = [(timed.now(), timed.layer_seconds)]

    def put(self, value: Tensor) -> None:
        """Take the prompt (first) or a token."""
        del value
        self.moments.append((self._timed.now(), self._timed.layer_seconds))

    def end(self) -> None:
        """Nothing is left to do."""


def _answering(
    thin: BimbaForConditionalGeneration, config: BimbaConfig, num_tokens: int, depth: int, timed: _Timed
) -> tuple[float, float]:
    """Seconds until the first token of an answer, and from one to the next."""

    def read(size: int) -> dict[str, float]:
        ids = torch.zeros(1, size, dtype=torch.int64, device=thin.input_device)
        marks = _Marks(timed)
        steps = GenerationConfig(max_new_tokens=1 + _STEPS, do_sample=False, pad_token_id=0)
        thin.generate(ids, attention_mask=torch.ones_like(ids), generation_config=steps, streamer=marks)
        (begun, layer_begun), _, (first, layer_first), *_, (last, layer_last) = marks.moments
        return {
            "first": first - begun,
            "first layer": layer_first - layer_begun,
            "next": (last - first) / _STEPS,
            "next layer": (layer_last - layer_first) / _STEPS,
        }

    size, seconds = _repeated(read, min(_FEWEST_TOKENS, num_tokens), num_tokens, timed)
    text, layer = config.text_config, only_layer(thin.language_model)
    weights = 0 if layer is None else sum(weight.numel() for weight in layer.parameters())
    # The head reads its weights for each token that comes, as a layer does; the thin model's has few words.
    head = seconds["next layer"] * max(text.vocab_size - VOCABULARY, 0) * text.hidden_size / max(weights, 1)
    more = _read_work(text, num_tokens, weights) / _read_work(text, size, weights)
    first = seconds["first"] + (depth * more - 1) * seconds["first layer"] + head
    return first, seconds["next"] + (depth - 1) * seconds["next layer"] + head


def _read_work(text: Any, num_tokens: int, num_parameters: int) -> float:
    """Floating point operations of a layer that reads a prompt: products with weights, and attention among tokens."""
    width = 0
    if isinstance(getattr(text, "num_attention_heads", None), int):
        head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        width = text.num_attention_heads * head_dim
    # Half of the pairs of tokens: each sees those before it.
    return 2.0 * num_parameters * num_tokens + 2.0 * width * num_tokens**2


def _repeated(
    measure: Callable[[int], dict[str, float]], fewest: int, most: int, timed: _Timed
) -> tuple[int, dict[str, float]]:
    """Measure with more and more, until it takes long enough or is all that there is; then the middle of three."""
    measure(fewest)  # the first time is slower: kernels are compiled, memory is found
    size = fewest
    while True:
        begun = timed.now()
        seconds = measure(size)
        is_long = timed.now() - begun >= LONG_ENOUGH_SECONDS
        if is_long or size >= most:
            break
        size = min(2 * size, most)
    if is_long:
        return size, seconds
    others = [seconds, measure(size), measure(size)]
    return size, sorted(others, key=lambda one: sum(one.values()))[1]
