"""A model's config and the length of a question in; the bytes that answering takes out, stage by stage.

These are estimates for inference as this version does it: a video is encoded a few frames at a time, so that what the
frames take does not grow with the video, unless the compressor needs all of their tokens at once.

Shapes: T frames, S patches a frame, Q queries, L = T S + Q, D width, E inner width.
"""

from dataclasses import dataclass
from math import prod
from typing import Any

from bimba.compressors.one_pass import ENTRIES_A_CHUNK
from bimba.inference.encoder import PIECES_AHEAD
from bimba.models.bimba.configuration import BimbaConfig
from bimba.models.bimba.encoding import FRAMES_PER_STEP
from bimba.models.bimba.towers import is_convolutional, tower_depth, tower_width
from bimba.ops.pool import pooled_shape

_FLOAT32_BYTES = 4
# Peak of the compressor at work for each of the entries (rows x E) of the chunk that it reads, and for each of the
# Q x E entries that it keeps (a sum of steps; the output itself comes on top): measured on a CPU at the released width,
# from 1 to 24 frames, in float32 and bfloat16, before videos were encoded in pieces. The chunks counted are those of a
# GPU; on a CPU they are smaller.
_CHUNK_BYTES, _KEPT_BYTES = 24, 4
# Counted, not measured: a group of N queries keeps one state of E x N numbers in float32.
_STATE_BYTES = 4
# Attention holds, for each of the L x D entries of the joint sequence, so many tensors in the model's dtype, so many
# more in layers before the last, where all rows ask, and so many bytes of float32: measured on a CPU at D = 512.
_READ_TENSORS, _ASKING_TENSORS, _ROTATION_BYTES = {"self_attention": 4, "perceiver": 3}, 2, 9
# A transformer's layer holds about so many tensors of its width, and of its inner width, at a time.
_WIDE_TENSORS, _INNER_TENSORS = 6, 3
# ConvNeXt is so many times wider inside its layers: 14.8 times the first map in all; on a CPU 14.0 to 15.9 were seen.
_CONVNEXT_EXPANSION = 4


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes of each part.

    Attributes:
        weights: of the model.
        pixels: of the frames that are decoded and wait, and of those that the tower looks at.
        vision: of the vision tower at work on them, and their features.
        compress: of the compressor at work, and its input; of Vamba's mixers.
        answer: of the language model at work, and its cache; None for families whose config does not tell.
        kept: of keys and values of the video, which stay beside the prompt from its first frame to the last answer;
            none of BIMBA, whose video stands in the prompt.
    """

    weights: int
    pixels: int
    vision: int
    compress: int
    answer: int | None
    kept: int = 0

    @property
    def total(self) -> int:
        """The most that is needed at one time: stages follow each other, the rest stays."""
        return self.weights + self.kept + self.pixels + max(self.vision, self.compress, self.answer or 0)


def plan_memory(
    config: BimbaConfig, *, num_parameters: int, num_frames: int, num_tokens: int, itemsize: int
) -> MemoryPlan:
    """Estimate what a question takes.

    Args:
        config: the model's.
        num_parameters: of the model.
        num_frames: T.
        num_tokens: of prompt and answer together.
        itemsize: bytes of a weight.
    """
    return MemoryPlan(
        weights=num_parameters * itemsize,
        pixels=_pixels(num_frames, config.vision_config.image_size),
        vision=_vision(config, num_frames, itemsize) if num_frames else 0,
        compress=_compress(config, num_frames, itemsize) if num_frames else 0,
        answer=_answer(config.text_config, num_tokens, itemsize),
    )


def _pixels(num_frames: int, side: int) -> int:
    """Bytes of the frames that wait, one piece that is read and one that is looked at; and the latter's pixels."""
    waiting = min(num_frames, (PIECES_AHEAD + 2) * FRAMES_PER_STEP)
    return 3 * side**2 * (waiting + min(num_frames, FRAMES_PER_STEP) * _FLOAT32_BYTES)


def _vision(config: BimbaConfig, num_frames: int, itemsize: int) -> int:
    kept, inner = _tower_entries(config)
    features = config.patches_per_side**2 * tower_width(config.vision_config)
    return int(min(num_frames, FRAMES_PER_STEP) * (kept + _INNER_TENSORS * inner + 2 * features) * itemsize)


def _tower_entries(config: BimbaConfig) -> tuple[int, int]:
    """Entries of a frame's hidden states, all of which are returned though one is used, and of the widest layer."""
    vision, side = config.vision_config, config.patches_per_side
    if not is_convolutional(vision):
        width = vision.hidden_size * (vision.num_hidden_layers + 1)
        return side**2 * width, side**2 * vision.intermediate_size
    last = tower_depth(vision) - 1
    maps = [width * (side << (last - stage)) ** 2 for stage, width in enumerate(vision.hidden_sizes)]
    return maps[0] + sum(maps), max(maps) * _CONVNEXT_EXPANSION


def _compress(config: BimbaConfig, num_frames: int, itemsize: int) -> int:
    side, width = config.patches_per_side, config.text_config.hidden_size
    num_patches = num_frames * side**2
    tokens = num_patches * width * itemsize
    step = min(num_frames, FRAMES_PER_STEP) * side**2 * width * itemsize
    kind = config.compressor["type"]
    if kind == "pooling":
        return int(step + prod(pooled_shape(num_frames, side, side, config.pool, config.pool_mode)) * width * itemsize)
    if kind == "none":
        return int(2 * tokens)
    num_queries = prod(pooled_shape(num_frames, side, side, config.pool, config.pool_mode))
    if kind in _READ_TENSORS:
        asking = _ASKING_TENSORS if kind == "self_attention" and config.compressor["num_layers"] > 1 else 0
        bytes_each = (_READ_TENSORS[kind] + asking) * itemsize + _ROTATION_BYTES
        return int(tokens + (num_patches + num_queries) * width * bytes_each)
    inner = config.compressor["expand"] * width
    chunk = min(ENTRIES_A_CHUNK, (num_patches + num_queries) * inner)
    kept = num_queries * (inner * (itemsize + _KEPT_BYTES + _STATE_BYTES) + 2 * width * itemsize)
    is_held = config.compressor["num_layers"] > 1 or config.compressor["query_position"] == "start"
    return int((2 * tokens if is_held else 2 * step) + chunk * _CHUNK_BYTES + kept)


def _answer(text: Any, num_tokens: int, itemsize: int) -> int | None:
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    if not all(isinstance(getattr(text, name, None), int) for name in names):
        return None
    num_heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    cache = 2 * text.num_hidden_layers * num_heads * head_dim
    work = _WIDE_TENSORS * text.hidden_size + _INNER_TENSORS * text.intermediate_size
    return int(num_tokens * (cache + work) * itemsize)
