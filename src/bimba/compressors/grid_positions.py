"""Times, rows and columns in, sinusoids that tell where a token stands out, each in channels of its own.

Shapes: T frames, H x W patches a frame, D width.
"""

import torch
from torch import Tensor
from torch.nn import functional

SMALLEST_DIM = 6
"""A sine and a cosine for each of the three."""

BASE = 10_000.0


def time_encoding(times: Tensor, dim: int) -> Tensor:
    """Sinusoids of times (in frames) in the first third of the channels, zero in the others: [T] -> [T, D] float32."""
    time_dim, side_dim = _widths(dim)
    return functional.pad(_sinusoids(times, time_dim), (0, 2 * side_dim + dim % 2))


def place_encoding(height: int, width: int, dim: int, device: torch.device) -> Tensor:
    """Sinusoids of row and column in the other two thirds of the channels, zero in the first: [H, W, D] float32."""
    time_dim, side_dim = _widths(dim)
    rows = _sinusoids(torch.arange(height, device=device), side_dim).unsqueeze(1).expand(height, width, side_dim)
    columns = _sinusoids(torch.arange(width, device=device), side_dim).expand(height, width, side_dim)
    return functional.pad(torch.cat([rows, columns], dim=-1), (time_dim, dim % 2))


def _widths(dim: int) -> tuple[int, int]:
    """Channels, an even number each, of the time, and of row and column each. An odd D leaves the last one out."""
    side_dim = 2 * (dim // 2 // 3)
    return dim - dim % 2 - 2 * side_dim, side_dim


def _sinusoids(positions: Tensor, width: int) -> Tensor:
    """Sines, then cosines, of wavelengths from 2 pi to 10,000 times that (arXiv 1706.03762, section 3.5).

    Args:
        positions: [n].
        width: even.

    Returns:
        [n, width] float32.
    """
    channels = torch.arange(0, width, 2, dtype=torch.float32, device=positions.device)
    angles = positions.to(torch.float32).unsqueeze(1) * BASE ** (-channels / width)
    return torch.cat([angles.sin(), angles.cos()], dim=1)
