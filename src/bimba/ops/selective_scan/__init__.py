"""Selective scan (Mamba): a sequence and its input-dependent steps in, what the state lets through out.

Shapes: B batch, L length, E channels, N state, Q positions asked for.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from bimba.ops.selective_scan.reference import selective_scan_reference

Scan = Callable[..., tuple[Tensor, Tensor]]

IMPLEMENTATIONS: Mapping[str, Scan] = MappingProxyType({"reference": selective_scan_reference})
"""Every implementation by name; all take the arguments of the reference and return (y, final_state)."""


def selective_scan(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    dt_softplus: bool = False,
    *,
    reverse: bool = False,
    initial_state: Tensor | None = None,
    return_final_state: bool = False,
    positions: Tensor | None = None,
    implementation: str = "auto",
) -> Tensor | tuple[Tensor, Tensor]:
    """Run the state space recurrence of Mamba over a sequence (arXiv 2312.00752, equation 2 and algorithm 2).

    With s = softplus(dt + dt_bias) (or dt + dt_bias):
    ``h[t] = exp(s[t] A) h[t-1] + s[t] B[t] x[t]`` and ``y[t] = (C[t] . h[t] + D x[t]) silu(z[t])``.
    The state is float32 whatever the inputs' dtype (float64 for float64).

    Args:
        x: [B, L, E].
        dt: step sizes [B, L, E].
        A: [E, N], negative for a state that fades.
        B: what enters the state [B, L, N].
        C: what is read from it [B, L, N], or [B, Q, N] with `positions`.
        D: skip weights [E].
        z: gate [B, L, E], or [B, Q, E] with `positions`.
        dt_bias: [E], added to dt.
        dt_softplus: make steps positive by softplus.
        reverse: scan from the end of the sequence to its start; nothing is flipped or copied.
        initial_state: [B, E, N], the state before the first step (zeros if not given).
        return_final_state: also return the state after the last step, so that a sequence can go through in pieces.
        positions: int64 [Q], rising: only these outputs are computed.
        implementation: "auto" (the best for the device) or a name of `IMPLEMENTATIONS`.

    Returns:
        y [B, L, E] (or [B, Q, E]) in x's dtype; with `return_final_state` also the state [B, E, N].

    Raises:
        ValueError: shapes do not fit, positions do not rise, or the implementation is unknown.
    """
    name = "reference" if implementation == "auto" else implementation
    if name not in IMPLEMENTATIONS:
        raise ValueError(f"selective_scan implementation {name!r} is none of auto, {', '.join(IMPLEMENTATIONS)}.")
    _check_shapes(x, dt, A, B, C, D, z, dt_bias, initial_state, positions)
    y, final_state = IMPLEMENTATIONS[name](
        x,
        dt,
        A,
        B,
        C,
        D,
        z,
        dt_bias,
        dt_softplus,
        reverse=reverse,
        initial_state=initial_state,
        positions=positions,
    )
    return (y, final_state) if return_final_state else y


def _check_shapes(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    initial_state: Tensor | None,
    positions: Tensor | None,
) -> None:
    """Refuse what would otherwise be broadcast into a wrong result."""
    if x.ndim != 3 or A.ndim != 2:
        raise ValueError(f"x is [B, L, E] and A [E, N]; got {tuple(x.shape)} and {tuple(A.shape)}.")
    batch, length, channels = x.shape
    state_dim = A.shape[1]
    num_outputs = length
    if positions is not None:
        _check_positions(positions, length)
        num_outputs = positions.shape[0]
    expected = {
        "dt": (dt, (batch, length, channels)),
        "A": (A, (channels, state_dim)),
        "B": (B, (batch, length, state_dim)),
        "C": (C, (batch, num_outputs, state_dim)),
        "D": (D, (channels,)),
        "z": (z, (batch, num_outputs, channels)),
        "dt_bias": (dt_bias, (channels,)),
        "initial_state": (initial_state, (batch, channels, state_dim)),
    }
    for name, (tensor, shape) in expected.items():
        if tensor is not None and tuple(tensor.shape) != shape:
            raise ValueError(f"{name} has the shape {tuple(tensor.shape)} where x {tuple(x.shape)} needs {shape}.")


def _check_positions(positions: Tensor, length: int) -> None:
    """Positions rise strictly and lie inside the sequence."""
    if positions.ndim != 1 or positions.dtype != torch.int64:
        raise ValueError(f"positions are int64 [Q]; got {positions.dtype} {tuple(positions.shape)}.")
    if positions.numel() == 0:
        return
    if int(positions[0]) < 0 or int(positions[-1]) >= length or bool((positions.diff() <= 0).any()):
        raise ValueError(f"positions must rise strictly within 0..{length - 1}.")


__all__ = ["IMPLEMENTATIONS", "selective_scan"]
