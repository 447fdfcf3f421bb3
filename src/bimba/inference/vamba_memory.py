"""A Vamba's config and the length of a question in; the bytes that answering takes out, stage by stage.

Keys and values of every video token stay, in every layer: they are what grows with the video, and by far the most of a
long one. The rest is for one piece of it.

What stages hold was measured on a CPU: tower and mixer at widths of 256 to 1,024, text at 512 and 1,024, in float32 and
bfloat16. It is told in tensors of a width in the model's dtype, and in such of float32, in which some are computed
whatever that is.

Shapes: V tokens of the video, v of a piece, D width, E inner width of a mixer, N its state, L tokens of the text.
"""

from math import ceil

from bimba.inference.encoder import PIECES_AHEAD
from bimba.inference.memory import MemoryPlan
from bimba.models.bimba.encoding import FRAMES_PER_STEP
from bimba.models.vamba.configuration import VambaConfig
from bimba.models.vamba.video_stream import PATCHES_PER_STEP
from bimba.ops.ssd.pieces import OTHER_PIECE_VALUES

_FLOAT32_BYTES = 4
# The tower's attention: hidden states, queries, keys and values; the rotation in float32. Its MLP: three of its width.
_SEEN_TENSORS, _ROTATED_TENSORS, _SEEN_INNER_TENSORS = 4, 6.5, 3
# A mixer, for each of its v x E and v x D entries.
_MIXED_TENSORS, _MIXED_FLOAT32, _MIXED_WIDE_TENSORS = 4, 4, 2
# Counted, not measured: what the scan holds of the steps that it does side by side. They are those of a GPU; on a CPU
# they are few.
_SCAN_FLOAT32 = 6
# A layer of the text; the first of them with cross-attention's queries and what it read.
_READ_TENSORS, _READ_INNER_TENSORS, _ASKING_TENSORS = 7, 3, 6


def plan_vamba_memory(
    config: VambaConfig,
    *,
    num_parameters: int,
    num_frames: int,
    frame_size: tuple[int, int],
    num_video_tokens: int,
    num_tokens: int,
    itemsize: int,
) -> MemoryPlan:
    """Estimate what a question takes.

    Args:
        config: the model's.
        num_parameters: of the model.
        num_frames: of the video.
        frame_size: height and width of a frame as decoded.
        num_video_tokens: V.
        num_tokens: L, of prompt and answer together.
        itemsize: bytes of a weight.
    """
    in_piece = ceil(num_video_tokens * min(FRAMES_PER_STEP, num_frames) / max(num_frames, 1))
    return MemoryPlan(
        weights=num_parameters * itemsize,
        pixels=_pixels(config, num_frames, frame_size, in_piece),
        vision=_vision(config, num_frames, in_piece, itemsize),
        compress=_mix(config, in_piece, itemsize),
        answer=_answer(config, num_tokens, num_video_tokens, itemsize),
        kept=_kept(config, num_video_tokens, itemsize),
    )


def _pixels(config: VambaConfig, num_frames: int, frame_size: tuple[int, int], in_piece: int) -> int:
    """Bytes of the frames that are decoded and resized, of the pieces that wait, and of one that is looked at."""
    vision = config.vision_config
    some = min(num_frames, FRAMES_PER_STEP)
    values = in_piece * vision.spatial_merge_size**2 * 3 * vision.temporal_patch_size * vision.patch_size**2
    waiting = min(ceil(num_frames / FRAMES_PER_STEP), PIECES_AHEAD + 2)
    return int(3 * frame_size[0] * frame_size[1] * some + values * (waiting + _FLOAT32_BYTES))


def _vision(config: VambaConfig, num_frames: int, in_piece: int, itemsize: int) -> int:
    vision = config.vision_config
    patches = in_piece * vision.spatial_merge_size**2
    pairs = ceil(min(num_frames, FRAMES_PER_STEP) / vision.temporal_patch_size)
    if pairs:
        # A tower looks at whole frame pairs, one at least.
        at_once = max(PATCHES_PER_STEP // max(patches // pairs, 1), 1)
        patches = ceil(patches * min(at_once, pairs) / pairs)
    values = 0 if itemsize == _FLOAT32_BYTES else 3 * vision.temporal_patch_size * vision.patch_size**2  # cast
    attention = _SEEN_TENSORS * itemsize + _ROTATED_TENSORS * _FLOAT32_BYTES
    inner = (_SEEN_TENSORS + _SEEN_INNER_TENSORS * vision.mlp_ratio) * itemsize
    tokens = in_piece * config.text_config.hidden_size * itemsize
    return int(patches * (vision.embed_dim * max(attention, inner) + values * itemsize) + tokens)


def _mix(config: VambaConfig, in_piece: int, itemsize: int) -> int:
    """The mixer of one layer at work on a piece, and the states of all that mix."""
    width = config.text_config.hidden_size
    inner = config.mixer["expand"] * width
    wide = _MIXED_WIDE_TENSORS * width * itemsize
    work = in_piece * (inner * (_MIXED_TENSORS * itemsize + _MIXED_FLOAT32 * _FLOAT32_BYTES) + wide)
    scan = min(in_piece * inner, OTHER_PIECE_VALUES) * _SCAN_FLOAT32 * _FLOAT32_BYTES
    states = (config.text_config.num_hidden_layers - 1) * inner * config.mixer["d_state"] * _FLOAT32_BYTES
    return int(work + scan + states)


def _answer(config: VambaConfig, num_tokens: int, num_video_tokens: int, itemsize: int) -> int:
    """The text's own keys and values, and the layer that reads it: the MLP, or cross-attention."""
    text = config.text_config
    reading = _READ_TENSORS * text.hidden_size + _READ_INNER_TENSORS * text.intermediate_size
    asking = num_tokens * _ASKING_TENSORS * text.hidden_size * itemsize
    if itemsize < _FLOAT32_BYTES:
        # On a CPU, attention in 16 bits puts a layer's keys and values in another order first.
        asking += _kept(config, num_video_tokens, itemsize) // text.num_hidden_layers
    return int(_kept(config, num_tokens, itemsize) + max(num_tokens * reading * itemsize, asking))


def _kept(config: VambaConfig, num_tokens: int, itemsize: int) -> int:
    """Bytes of keys and values of so many tokens in all layers."""
    text = config.text_config
    head_dim = text.hidden_size // text.num_attention_heads
    return int(2 * text.num_hidden_layers * text.num_key_value_heads * head_dim * num_tokens * itemsize)
