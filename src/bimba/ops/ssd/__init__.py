"""Mamba-2's scan (SSD): a sequence in heads and its input-dependent steps in, what the states let through out.

Shapes: B batch, L length, H heads, P width of a head, G groups, N state.
"""

from math import inf

import torch
from torch import Tensor
from torch.nn import functional

from bimba.ops.ssd.arguments import SSDArguments, check_tensors, state_dtype_of
from bimba.ops.ssd.choice import IMPLEMENTATIONS, check_name
from bimba.ops.ssd.operator import scan_forward
from bimba.ops.ssd.reference import ssd_reference


def ssd(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    dt_bias: Tensor | None = None,
    dt_softplus: bool = False,
    *,
    dt_limit: tuple[float, float] = (0.0, inf),
    seq_idx: Tensor | None = None,
    initial_state: Tensor | None = None,
    return_final_state: bool = False,
    implementation: str = "auto",
) -> Tensor | tuple[Tensor, Tensor]:
    """Run the state space recurrence of Mamba-2 over a sequence (arXiv 2405.21060, equation 1 and section 6).

    With s = softplus(dt + dt_bias) (or dt + dt_bias), limited to dt_limit:
    ``h[t] = exp(s[t] A) h[t-1] + s[t] x[t] B[t]`` and ``y[t] = h[t] C[t] + D x[t]``, for each head.
    Decays, states and sums are float32 whatever the inputs' dtype (float64 for float64). Every floating tensor has a
    gradient, once; what the backward pass needs beside the inputs grows with L / 64 states at most.

    Args:
        x: [B, L, H, P].
        dt: step sizes [B, L, H].
        A: [H], negative for a state that fades.
        B: what enters the state [B, L, G, N]; H / G neighbouring heads share a group.
        C: what is read from it [B, L, G, N].
        D: skip weights [H] or [H, P].
        dt_bias: [H], added to dt.
        dt_softplus: make steps positive by softplus.
        dt_limit: least and largest step; what lies outside is moved to the nearest.
        seq_idx: integers [B, L]: the state is emptied where they change, so that each run of equal numbers is a
            sequence of its own; the initial state belongs to the first.
        initial_state: [B, H, P, N], the state before the first step (zeros if not given).
        return_final_state: also return the state after the last step, so that a sequence can go through in pieces.
        implementation: "auto" (the best for the device), or a name of `IMPLEMENTATIONS`: "reference", "chunked", "cpu".

    Returns:
        y [B, L, H, P] in x's dtype; with `return_final_state` also the state [B, H, P, N].

    Raises:
        ValueError: shapes, types or devices do not fit, or there is no such implementation.
        InputError: the implementation cannot run here; the error says what to do.
    """
    tensors = {
        "x": x, "dt": dt, "A": A, "B": B, "C": C, "D": D, "dt_bias": dt_bias, "initial_state": initial_state,
        "seq_idx": seq_idx,
    }  # fmt: skip
    check_tensors(tensors, dt_limit)
    check_name(implementation)
    steps = dt.to(state_dtype_of(x))
    if dt_bias is not None:
        steps = steps + dt_bias.to(steps.dtype)
    if dt_softplus:
        steps = functional.softplus(steps)
    arguments = SSDArguments(x, steps.clamp(*dt_limit), A, B, C, D, initial_state, seq_idx)
    if implementation == "reference":
        y, final_state = ssd_reference(arguments)
    else:
        given = (tensor for tensor in arguments if tensor is not None)
        save_states = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in given)
        y, final_state, _ = scan_forward(*arguments, implementation, save_states)
    return (y, final_state) if return_final_state else y


__all__ = ["IMPLEMENTATIONS", "ssd"]
