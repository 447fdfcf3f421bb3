"""Compressed video tokens [T', H', W', D] in, the row of tokens that the language model reads [V, D] out.

Shapes: T' x H' x W' the compressed grid, D width, V tokens of a video with its separators.
"""

import torch
from torch import Tensor

from bimba.models.bimba.configuration import NewlinePosition


def num_video_tokens(grid: tuple[int, int, int], position: NewlinePosition) -> int:
    """Tokens that a compressed grid (T', H', W') takes in the prompt, separators included."""
    frames, height, width = grid
    patches = frames * height * width
    separators = {"grid": frames * height, "frame": frames, "one_token": 1, "no_token": 0}
    return patches + separators[position]


def add_separators(compressed: Tensor, newline: Tensor, position: NewlinePosition) -> Tensor:
    """Put the learned separator where it belongs and flatten (released name: `mm_newline_position`).

    Args:
        compressed: [T', H', W', D].
        newline: [D].
        position: "grid" after each row, "frame" after each frame, "one_token" at the end, "no_token" nowhere.

    Returns:
        [V, D] with V as :func:`num_video_tokens` says.
    """
    frames, height, _, dim = compressed.shape
    newline = newline.to(compressed.dtype)
    if position == "grid":
        return torch.cat([compressed, newline.expand(frames, height, 1, dim)], dim=2).reshape(-1, dim)
    if position == "frame":
        return torch.cat([compressed.flatten(1, 2), newline.expand(frames, 1, dim)], dim=1).reshape(-1, dim)
    flat = compressed.reshape(-1, dim)
    return torch.cat([flat, newline.expand(1, dim)]) if position == "one_token" else flat
