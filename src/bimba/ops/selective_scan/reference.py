"""The definition of the selective scan: a loop over time, in float32.

Shapes: B batch, L length, E channels, N state, Q positions asked for.
"""

import torch
from torch import Tensor
from torch.nn import functional


def selective_scan_reference(
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
    positions: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Arguments and result of `bimba.ops.selective_scan`; the final state always comes along.

    Source: Mamba, arXiv 2312.00752, equation 2 (recurrence) with the discretisation of equation 4, B by Euler's rule.

    Returns:
        y [B, L, E] or [B, Q, E] in x's dtype, and the state after the last step [B, E, N] in float32 (float64 for
        float64).
    """
    batch, length, channels = x.shape
    state_dtype = torch.promote_types(x.dtype, torch.float32)
    steps = dt.to(state_dtype)
    if dt_bias is not None:
        steps = steps + dt_bias.to(state_dtype)
    if dt_softplus:
        steps = functional.softplus(steps)
    inputs = steps * x.to(state_dtype)
    rates, writes, reads = A.to(state_dtype), B.to(state_dtype), C.to(state_dtype)

    state = x.new_zeros(batch, channels, A.shape[1], dtype=state_dtype)
    if initial_state is not None:
        state = initial_state.to(state_dtype)
    # Taken apart once: a slice at each step would cost the backward pass a gradient of the whole sequence each time.
    steps_at, inputs_at, writes_at, reads_at = (values.unbind(1) for values in (steps, inputs, writes, reads))
    asked = range(length) if positions is None else positions.tolist()
    slot_of = {position: slot for slot, position in enumerate(asked)}
    read_out: list[Tensor | None] = [None] * len(slot_of)
    for t in reversed(range(length)) if reverse else range(length):
        # [B, E, 1] * [E, N]: one decay a channel and state entry.
        state = torch.exp(steps_at[t].unsqueeze(-1) * rates) * state
        state = state + inputs_at[t].unsqueeze(-1) * writes_at[t].unsqueeze(-2)
        slot = slot_of.get(t)
        if slot is not None:
            read_out[slot] = (state * reads_at[slot].unsqueeze(-2)).sum(-1)

    kept = [value for value in read_out if value is not None]
    y = torch.stack(kept, dim=1) if kept else x.new_zeros(batch, 0, channels, dtype=state_dtype)
    if D is not None:
        skipped = x if positions is None else x.index_select(1, positions.to(x.device))
        y = y + D.to(state_dtype) * skipped.to(state_dtype)
    if z is not None:
        y = y * functional.silu(z.to(state_dtype))
    return y.to(x.dtype), state
