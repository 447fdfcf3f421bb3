"""Selective scan (Mamba): a sequence and its input-dependent steps in, what the state lets through out.

Shapes: B batch, L length, E channels, N state, Q positions asked for.
"""

import torch
from torch import Tensor

from bimba.ops.selective_scan.arguments import ScanArguments
from bimba.ops.selective_scan.checks import check_arguments
from bimba.ops.selective_scan.choice import IMPLEMENTATIONS, Implementation, check_name, choose
from bimba.ops.selective_scan.mamba_ssm import selective_scan_mamba_ssm
from bimba.ops.selective_scan.operator import scan_forward


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
    The state is float32 whatever the inputs' dtype (float64 for float64). Every tensor has a gradient, once; what the
    backward pass needs beside the inputs are states [B, ceil(L / 64), E, N].

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
        implementation: "auto" (the best for the device), or a name of `IMPLEMENTATIONS`: "reference", "cpu", "triton",
            "mamba_ssm".

    Returns:
        y [B, L, E] (or [B, Q, E]) in x's dtype; with `return_final_state` also the state [B, E, N].

    Raises:
        ValueError: shapes, types or devices do not fit, positions do not rise, or there is no such implementation.
        InputError: the implementation cannot run here; the error names what to install.
    """
    arguments = ScanArguments(x, dt, A, B, C, D, z, dt_bias, initial_state, positions, dt_softplus, reverse)
    check_arguments(arguments)
    check_name(implementation)
    if implementation == "mamba_ssm":
        # It brings its own gradients, which the inside of an operator could not have.
        choose(implementation, x.device)
        y, final_state = selective_scan_mamba_ssm(arguments)
        return (y, final_state) if return_final_state else y
    tensors = (value for value in arguments if isinstance(value, Tensor))
    save_states = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    y, final_state, _ = scan_forward(*arguments, implementation, save_states)
    return (y, final_state) if return_final_state else y


__all__ = ["IMPLEMENTATIONS", "Implementation", "selective_scan"]
