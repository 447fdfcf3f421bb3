"""A model without its weights and chosen frames in, how many tokens they are out."""

from dataclasses import dataclass
from typing import cast

from bimba.checkpoints.outline import ModelOutline
from bimba.errors import InputError
from bimba.inference.clip import Clip
from bimba.models.bimba.separators import num_video_tokens
from bimba.models.vamba.configuration import VambaConfig
from bimba.models.vamba.processing import VambaProcessor
from bimba.ops.pool import pooled_shape


@dataclass(frozen=True)
class LookedAt:
    """What frames come to.

    Args:
        num_patches: of the vision tower.
        num_tokens: of the video, that the language model reads.
        num_in_prompt: of them stand in the prompt: all of BIMBA's, none of Vamba's.
        temporal_pooling: frames that become one.
    """

    num_patches: int
    num_tokens: int
    num_in_prompt: int
    temporal_pooling: int


def count_tokens(outline: ModelOutline, clip: Clip) -> LookedAt:
    """Count what chosen frames come to.

    Raises:
        InputError: they are fewer than become one.
    """
    config = outline.config
    if isinstance(config, VambaConfig):
        processor = cast("VambaProcessor", outline.processor)
        num_tokens = processor.tokens_of(clip.num_frames, clip.frame_size)
        return LookedAt(num_tokens * config.vision_config.spatial_merge_size**2, num_tokens, 0, 1)
    if clip.num_frames < config.temporal_pooling:
        raise InputError(
            f"{clip.num_frames} frames are fewer than the {config.temporal_pooling} that temporal pooling averages.",
            fix=f"take at least {config.temporal_pooling} frames (--frames).",
        )
    side = config.patches_per_side
    grid = pooled_shape(clip.num_frames, side, side, config.pool, config.pool_mode)
    num_tokens = num_video_tokens(grid, config.newline_position)
    return LookedAt(clip.num_frames * side**2, num_tokens, num_tokens, config.temporal_pooling)
