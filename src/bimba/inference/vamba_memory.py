"""A Vamba's config and the length of a question in; the bytes that answering takes out, stage by stage.

Keys and values of every video token stay, in every layer: they are what grows with the video, and by far the most of a
long one. The rest is for one piece of it.

Shapes: V tokens of the video, v of a piece, D width, E inner width of a mixer.
"""

from math import ceil

from bimba.inference.encoder import PIECES_AHEAD
from bimba.inference.memory import MemoryPlan
from bimba.models.bimba.encoding import FRAMES_PER_STEP
from bimba.models.vamba.configuration import VambaConfig

# A tower's layer, a mixer and a language model's layer hold about so many tensors of their width, and of their inner
# width, at a time.
_WIDE_TENSORS, _INNER_TENSORS = 6, 3
_FLOAT32_BYTES = 4


def plan_vamba_memory(
    config: VambaConfig, *, num_parameters: int, num_frames: int, num_video_tokens: int, num_tokens: int, itemsize: int
) -> MemoryPlan:
    """Estimate what a question takes.

    Args:
        config: the model's.
        num_parameters: of the model.
        num_frames: of the video.
        num_video_tokens: V.
        num_tokens: of prompt and answer together.
        itemsize: bytes of a weight.
    """
    vision, text = config.vision_config, config.text_config
    in_piece = ceil(num_video_tokens * min(FRAMES_PER_STEP, num_frames) / max(num_frames, 1))
    patches = in_piece * vision.spatial_merge_size**2
    values = 3 * vision.temporal_patch_size * vision.patch_size**2
    waiting = min(num_frames, (PIECES_AHEAD + 2) * FRAMES_PER_STEP) / max(min(FRAMES_PER_STEP, num_frames), 1)
    kept = _kept(config, num_video_tokens, itemsize)
    inner = config.mixer["expand"] * text.hidden_size
    mixing = in_piece * (_WIDE_TENSORS * text.hidden_size + 2 * _INNER_TENSORS * inner)
    reading = num_tokens * (_WIDE_TENSORS * text.hidden_size + _INNER_TENSORS * text.intermediate_size)
    return MemoryPlan(
        weights=num_parameters * itemsize,
        pixels=int(patches * values * (waiting + _FLOAT32_BYTES)),
        vision=kept + int(patches * vision.embed_dim * (_WIDE_TENSORS + _INNER_TENSORS * vision.mlp_ratio)) * itemsize,
        compress=kept + mixing * max(itemsize, _FLOAT32_BYTES),
        answer=kept + _kept(config, num_tokens, itemsize) + reading * itemsize,
    )


def _kept(config: VambaConfig, num_tokens: int, itemsize: int) -> int:
    """Bytes of keys and values of so many tokens in all layers."""
    text = config.text_config
    head_dim = text.hidden_size // text.num_attention_heads
    return int(2 * text.num_hidden_layers * text.num_key_value_heads * head_dim * num_tokens * itemsize)
