"""Rows that ask [B, Q, D] and rows that are read [B, L, D] in, what the former have read [B, Q, D] out: attention.

Shapes: B batch, Q rows that ask, L rows that are read, D width, heads of width D / num_heads.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from bimba.compressors.mixer import ZeroLinear

HEAD_DIM = 64
"""Width of a head where the number of heads is not given, or D if that is smaller."""

ROTARY_BASE = 10_000.0


def checked_heads(dim: int, num_heads: int | None) -> int:
    """Number of heads; by default as many as have the width 64, or one if D is smaller.

    Raises:
        ValueError: the heads do not share D evenly.
    """
    if num_heads is None:
        if dim > HEAD_DIM and dim % HEAD_DIM:
            raise ValueError(f"dim {dim} is no multiple of {HEAD_DIM}: give num_heads, which must divide it.")
        num_heads = max(1, dim // HEAD_DIM)
    if num_heads < 1 or dim % num_heads:
        raise ValueError(f"num_heads is {num_heads}, which does not divide dim {dim}.")
    return num_heads


class Attention(nn.Module):
    """Multi-head attention without biases (arXiv 1706.03762, section 3.2.2).

    Args:
        dim: D.
        num_heads: None for heads of width 64 (or D if that is smaller).
        rotary: it will be called with positions, by which queries and keys are turned, so that scores depend on how
            far apart rows stand (RoFormer, arXiv 2104.09864, section 3.2.2).
        starts_at_zero: the projection out starts at zero.

    Raises:
        ValueError: the heads do not share D evenly, or their width is odd and they have positions.
    """

    def __init__(self, dim: int, num_heads: int | None, *, rotary: bool = False, starts_at_zero: bool = False) -> None:
        super().__init__()
        self.num_heads = checked_heads(dim, num_heads)
        if rotary and (dim // self.num_heads) % 2:
            raise ValueError(f"heads of width {dim // self.num_heads} cannot be turned by position: it must be even.")
        self.q_proj = nn.Linear(dim, dim, bias=False)
        self.k_proj = nn.Linear(dim, dim, bias=False)
        self.v_proj = nn.Linear(dim, dim, bias=False)
        self.out_proj = ZeroLinear(dim, dim, bias=False) if starts_at_zero else nn.Linear(dim, dim, bias=False)

    def forward(self, asking: Tensor, read: Tensor, positions: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Each row that asks looks at all rows that are read.

        Args:
            asking: [B, Q, D].
            read: [B, L, D].
            positions: of the rows that ask [Q] and of those that are read [L], if queries and keys are turned by them.

        Returns:
            [B, Q, D].
        """
        queries, keys = self._heads(self.q_proj(asking)), self._heads(self.k_proj(read))
        if positions is not None:
            queries, keys = rotated(queries, positions[0]), rotated(keys, positions[1])
        mixed = functional.scaled_dot_product_attention(queries, keys, self._heads(self.v_proj(read)))
        return cast("Tensor", self.out_proj(mixed.transpose(1, 2).flatten(2)))

    def _heads(self, rows: Tensor) -> Tensor:
        """[B, n, D] -> [B, heads, n, D / heads]."""
        heads: Tensor = rows.unflatten(2, (self.num_heads, -1)).transpose(1, 2)
        return heads

    def extra_repr(self) -> str:
        """Settings shown by print(module)."""
        return f"num_heads={self.num_heads}"


def rotated(rows: Tensor, positions: Tensor) -> Tensor:
    """Turn each pair of neighbouring channels by position times its frequency (arXiv 2104.09864, equation 34).

    In float32, whatever the rows: bfloat16 cannot tell positions beyond 256 apart.

    Args:
        rows: [B, heads, n, d], d even.
        positions: [n].

    Returns:
        [B, heads, n, d] in the dtype of the rows.
    """
    width = rows.shape[-1]
    channels = torch.arange(0, width, 2, dtype=torch.float32, device=rows.device)
    angles = positions.to(rows.device, torch.float32).unsqueeze(1) * ROTARY_BASE ** (-channels / width)
    cosines, sines = angles.cos(), angles.sin()
    even, odd = rows[..., 0::2], rows[..., 1::2]
    return torch.stack([even * cosines - odd * sines, even * sines + odd * cosines], dim=-1).flatten(-2).to(rows.dtype)
