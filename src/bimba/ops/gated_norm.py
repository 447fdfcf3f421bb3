"""Rows and their gates in, gated and normalised rows out: the norm at the end of a Mamba-2 mixer.

Shapes: E width, G groups.
"""

import torch
from torch import Tensor
from torch.nn import functional


def gated_rms_norm(
    y: Tensor,
    z: Tensor | None,
    weight: Tensor,
    *,
    eps: float = 1e-5,
    num_groups: int = 1,
    norm_before_gate: bool = False,
) -> Tensor:
    """``RMSNorm(y silu(z)) weight``, or ``RMSNorm(y) weight silu(z)`` with the norm first.

    Source: Mamba-2, arXiv 2405.21060, section 7.1 (the extra norm of its block); as in its code, each group of
    neighbouring channels has a norm of its own. All arithmetic is float32 (float64 for float64).

    Args:
        y: [..., E].
        z: gate [..., E], or None for none.
        weight: [E].
        eps: added to the mean of squares.
        num_groups: G, a divisor of E.
        norm_before_gate: normalise first, gate then.

    Returns:
        [..., E] in y's dtype.

    Raises:
        ValueError: the shapes differ, or E is no multiple of G.
    """
    width = y.shape[-1]
    if (z is not None and z.shape != y.shape) or weight.shape != (width,):
        gate = None if z is None else tuple(z.shape)
        raise ValueError(f"y {tuple(y.shape)} needs z alike and weight [{width}], not {gate}, {tuple(weight.shape)}.")
    if num_groups < 1 or width % num_groups:
        raise ValueError(f"{width} channels cannot be {num_groups} groups of equal width.")
    dtype = torch.promote_types(y.dtype, torch.float32)
    gates = None if z is None else functional.silu(z.to(dtype))
    values = y.to(dtype)
    if gates is not None and not norm_before_gate:
        values = values * gates
    grouped = values.unflatten(-1, (num_groups, -1))
    grouped = grouped * torch.rsqrt(grouped.square().mean(-1, keepdim=True) + eps)
    values = grouped.flatten(-2) * weight.to(dtype)
    if gates is not None and norm_before_gate:
        values = values * gates
    result: Tensor = values.to(y.dtype)
    return result
