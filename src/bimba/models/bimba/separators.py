"""Compressed video tokens [T', H', W', D] in, the row of tokens that the language model reads [V, D] out.

Shapes: T' x H' x W' the compressed grid, D width, V tokens of a video with its separators.
"""

import torch
from torch import Tensor, nn

from bimba.models.bimba.configuration import NewlinePosition


def num_video_tokens(grid: tuple[int, int, int], position: NewlinePosition) -> int:
    """Tokens that a compressed grid (T', H', W') takes in the prompt, separators included."""
    frames, height, width = grid
    patches = frames * height * width
    separators = {"grid": frames * height, "frame": frames, "one_token": 1, "no_token": 0}
    return patches + separators[position]


class Separators(nn.Module):
    """Owns the learned separator (released name: `image_newline`).

    A module of its own, so that device maps and offloading find its weight where the other modules' are.

    Args:
        dim: D.
        position: where it goes, see `add_separators`.
    """

    def __init__(self, dim: int, position: NewlinePosition) -> None:
        super().__init__()
        self.position = position
        self.newline = nn.Parameter(torch.randn(dim) * dim**-0.5)

    def forward(self, compressed: Tensor) -> Tensor:
        """[T', H', W', D] -> [V, D]."""
        return add_separators(compressed, self.newline, self.position)


def add_separators(compressed: Tensor, newline: Tensor, position: NewlinePosition) -> Tensor:
    """Put the learned separator where it belongs and flatten (released name: `mm_newline_position`).

    Args:
        compressed: [T', H', W', D].
        newline: [D].
        position: "grid" after each row, "frame" after each frame, "one_token" at the end, "no_token" nowhere.

    Returns:
        [V, D] with V as `num_video_tokens` says.
    """
    frames, height, _, dim = compressed.shape
    newline = newline.to(compressed)
    if position == "grid":
        return torch.cat([compressed, newline.expand(frames, height, 1, dim)], dim=2).reshape(-1, dim)
    if position == "frame":
        return torch.cat([compressed.flatten(1, 2), newline.expand(frames, 1, dim)], dim=1).reshape(-1, dim)
    flat = compressed.reshape(-1, dim)
    return torch.cat([flat, newline.expand(1, dim)]) if position == "one_token" else flat
