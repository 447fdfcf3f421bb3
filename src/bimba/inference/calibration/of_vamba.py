"""A Vamba's config and chosen frames in, the seconds that answering takes on this machine out; no weight is read.

Shapes: L tokens of a prompt, V tokens of a video, K key-value heads, P width of a head, D width, N layers.
"""

from math import ceil
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor

from bimba.inference.calibration.answering import FEWEST_TOKENS, head_seconds, read_work, time_answer
from bimba.inference.calibration.measuring import Clock, Timed, repeated
from bimba.inference.calibration.reading import time_reading
from bimba.inference.calibration.thin import FEWEST_FRAMES, VOCABULARY, Place, num_parameters
from bimba.inference.calibration.thin_vamba import thin_vamba
from bimba.inference.calibration.time_plan import TimePlan
from bimba.inference.clip import Clip
from bimba.models.bimba.encoding import FRAMES_PER_STEP
from bimba.models.vamba.configuration import VambaConfig
from bimba.models.vamba.context import KeysValues, VideoContext
from bimba.models.vamba.modeling import VambaForConditionalGeneration
from bimba.models.vamba.patches import Patches
from bimba.models.vamba.processing import VambaProcessor

_FEWEST_KEPT = 1024
"""Tokens of a video that a prompt of `FEWEST_TOKENS` reads when it is measured first."""


def time_vamba(
    config: VambaConfig, processor: VambaProcessor, clip: Clip, num_prompt_tokens: int, place: Place, clock: Clock
) -> TimePlan:
    """Estimate what a question about chosen frames takes on this machine.

    Args:
        config: the model's.
        processor: makes pixels of frames.
        clip: the chosen frames; some of them are decoded.
        num_prompt_tokens: L.
        place: where and how the model would be.
        clock: what the time is taken from.

    Raises:
        VideoError: a frame cannot be decoded.
        InputError: that kind of attention cannot be had here.
    """
    try:
        thin = thin_vamba(config, place)
    except (ImportError, ValueError, StrictDataclassError) as error:
        if place.attn_implementation is None:
            raise
        raise place.refusal(error) from error
    decode, pixels = time_reading(clip, processor.resize_frames, clock)
    *mixing, last = thin.model.layers
    across = [layer.cross_attn for layer in thin.model.layers]
    layers = {"look": list(thin.visual.blocks), "mixing": mixing, "last": [last], "across": across}
    with torch.no_grad(), Timed(layers, place.device, clock) as timed:
        looking = _looking(thin, config, processor, clip, timed)
        num_kept = processor.tokens_of(clip.num_frames, clip.frame_size)
        first_token, next_token = _answering(thin, config, num_prompt_tokens, num_kept, timed)
    return TimePlan(decode, pixels, looking, first_token, next_token, at_once=place.device.type != "cpu")


def _looking(
    thin: VambaForConditionalGeneration, config: VambaConfig, processor: VambaProcessor, clip: Clip, timed: Timed
) -> dict[str, float]:
    """Seconds of the vision tower, and of what all layers do with the video, for all frames."""
    if clip.frame_size is None:
        raise ValueError("the time depends on the size of the frames, which is not known.")
    height, width = clip.frame_size
    settings = processor.patch_settings
    values = 3 * settings.temporal_patch_size * settings.patch_size**2

    def look(size: int) -> dict[str, float]:
        grid = settings.grid(size, height, width)
        patches = Patches(torch.zeros(grid[0] * grid[1] * grid[2], values, device=thin.input_device), grid)
        with timed.counting("vision", "mix") as (seconds, stage):
            thin.encode_stream([patches], size, stage=stage)
        return seconds

    fewest = min(FEWEST_FRAMES, clip.num_frames)
    size, seconds = repeated(look, fewest, max(fewest, min(clip.num_frames, FRAMES_PER_STEP)), timed)
    vision = seconds["vision"] + (config.vision_config.depth - 1) * seconds["look layer"]
    # Keys and values are taken and kept in every layer; all but the last mix, too.
    depth, num_thin = config.text_config.num_hidden_layers, len(thin.model.layers)
    kept = (seconds["mix"] - seconds["mixing layer"] - seconds["last layer"]) * depth / num_thin
    mix = (depth - 1) * seconds["mixing layer"] + seconds["last layer"] + kept
    more = settings.grid(clip.num_frames, height, width)[0] / settings.grid(size, height, width)[0]
    return {"vision": vision * more, "mix": mix * more}


def _answering(
    thin: VambaForConditionalGeneration, config: VambaConfig, num_tokens: int, num_kept: int, timed: Timed
) -> tuple[float, float]:
    """Seconds until the first token of an answer, and from one to the next; each reads the video in each layer."""

    def sizes(size: int) -> tuple[int, int]:
        return min(FEWEST_TOKENS * size, num_tokens), min(_FEWEST_KEPT * size, num_kept)

    def read(size: int) -> dict[str, float]:
        tokens, kept = sizes(size)
        return time_answer(thin, tokens, timed, video_features=_kept_of(thin, kept))

    size, seconds = repeated(read, 1, max(ceil(num_tokens / FEWEST_TOKENS), ceil(num_kept / _FEWEST_KEPT)), timed)
    text, layers = config.text_config, thin.model.layers
    layer, across = layers[0], layers[0].cross_attn
    own = num_parameters(layer.self_attn, layer.mlp, layer.input_layernorm, layer.post_attention_layernorm)
    asking = num_parameters(across.q_proj, across.o_proj)
    tokens, kept = sizes(size)
    depth = text.num_hidden_layers / len(layers)

    def of_layers(when: str, more: float, more_across: float) -> float:
        """Of all layers, what is beside cross-attention and what is in it by so much more than was measured."""
        both = seconds[f"{when} mixing"] + seconds[f"{when} last"]
        beside = both - seconds[f"{when} across"]
        return float(depth * (beside * more + seconds[f"{when} across"] * more_across) - both)

    first = of_layers(
        "first",
        read_work(text, num_tokens, own) / read_work(text, tokens, own),
        _across_work(text, num_tokens, num_kept, asking) / _across_work(text, tokens, kept, asking),
    )
    # A token that comes waits for what it reads: weights, keys and values.
    numbers = 2 * text.num_key_value_heads * (text.hidden_size // text.num_attention_heads)
    following = of_layers("next", 1.0, (asking + numbers * num_kept) / (asking + numbers * kept))
    beside = (seconds["next mixing"] + seconds["next last"] - seconds["next across"]) / len(layers)
    head = head_seconds(text, VOCABULARY, beside, own)
    return seconds["first"] + first + head, seconds["next"] + following + head


def _across_work(text: Any, num_tokens: int, num_kept: int, num_parameters: int) -> float:
    """Floating point operations of a layer's cross-attention: products with weights, and each token with each kept."""
    return 2.0 * num_parameters * num_tokens + 4.0 * int(text.hidden_size) * num_tokens * num_kept


def _kept_of(thin: VambaForConditionalGeneration, num_kept: int) -> VideoContext:
    """Keys and values [1, K, V, P] of a video, in each layer."""
    text = thin.config.text_config
    shape = (1, text.num_key_value_heads, num_kept, text.hidden_size // text.num_attention_heads)

    def zeros() -> Tensor:
        return torch.zeros(shape, device=thin.input_device, dtype=thin.dtype)

    return VideoContext([KeysValues(zeros(), zeros()) for _ in thin.model.layers], torch.tensor([num_kept]))
