"""Vision towers of two kinds: a config or a hidden state in, their sizes and patch features [F, S, Dv] out.

A transformer (SigLIP, CLIP) keeps one width and one grid of patches. A convolutional tower (ConvNeXt and its like)
halves its grid and widens at each stage, and its hidden states are maps.

Shapes: F frames, S = h w patches a frame, Dv width.
"""

from typing import Any

from torch import Tensor


def is_convolutional(vision_config: Any) -> bool:
    """Whether the tower has stages, each with its own width."""
    return "hidden_sizes" in vision_config.to_dict()


def tower_width(vision_config: Any) -> int:
    """Dv: width of the features."""
    if is_convolutional(vision_config):
        return int(vision_config.hidden_sizes[-1])
    return int(vision_config.hidden_size)


def tower_depth(vision_config: Any) -> int:
    """Layers or stages, each of which leaves a hidden state."""
    if is_convolutional(vision_config):
        return len(vision_config.hidden_sizes)
    return int(vision_config.num_hidden_layers)


def patches_per_side(vision_config: Any) -> int:
    """H = W: patches along a side of a frame."""
    patch = int(vision_config.patch_size)
    if is_convolutional(vision_config):
        patch *= 2 ** (len(vision_config.hidden_sizes) - 1)
    return int(vision_config.image_size) // patch


def as_patches(hidden_state: Tensor) -> Tensor:
    """Hidden state of a tower as patch features: maps [F, Dv, h, w] or tokens [F, S, Dv] -> [F, S, Dv]."""
    return hidden_state.flatten(2).transpose(1, 2) if hidden_state.ndim == 4 else hidden_state
