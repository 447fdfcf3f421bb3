"""Nothing but a number of frames in, learned queries [T', H', W', D] out: the paper's rival of pooled queries.

Shapes: T' x H' x W' the grid of queries, D width.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

QuerySource = Literal["pooled", "learned"]
"""Where queries come from: pooled from the video's tokens (the paper's choice), or learned (its ablation)."""

START_STD = 0.02


class LearnedQueries(nn.Module):
    """Queries that are the same for every video (BIMBA, arXiv 2503.09590, ablation "learnable queries").

    Args:
        grid: (T', H', W'), T' for the longest video. A shorter one takes the queries of its first frames.
        dim: D.
        std: of their initial values.
    """

    def __init__(self, grid: tuple[int, int, int], dim: int, *, std: float = START_STD) -> None:
        super().__init__()
        self.std = std
        self.queries = nn.Parameter(torch.empty(*grid, dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Fresh initial values."""
        self.initialise(normal=nn.init.normal_)

    def initialise(self, *, normal: Callable[..., object]) -> None:
        """Random values, small by default; `normal(tensor, std=...)` fills a tensor in place."""
        normal(self.queries, std=self.std)

    def forward(self, grid: tuple[int, int, int], batch: int) -> Tensor:
        """Queries for videos whose queries have this grid.

        Args:
            grid: (T'', H', W').
            batch: B.

        Returns:
            [B, T'', H', W', D].

        Raises:
            ValueError: there are too few learned frames, or their height and width are others.
        """
        frames, *sides = grid
        learned = tuple(self.queries.shape[:3])
        if frames > learned[0] or tuple(sides) != learned[1:]:
            raise ValueError(f"a video asks for queries {grid}, but those learned are {learned}.")
        return self.queries[:frames].expand(batch, *grid, -1)
