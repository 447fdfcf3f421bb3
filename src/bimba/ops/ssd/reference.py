"""The definition of Mamba-2's scan: a loop over time, in float32; its gradients are autograd's.

Shapes: B batch, L length, H heads, P width of a head, G groups, N state.
"""

import torch
from torch import Tensor

from bimba.ops.ssd.arguments import SSDArguments


def ssd_reference(arguments: SSDArguments) -> tuple[Tensor, Tensor]:
    """Arguments of `bimba.ops.ssd` with steps as they are taken; the final state always comes along.

    Source: Mamba-2, arXiv 2405.21060, equation 1 (recurrence), A being one number for each head.
    All states are kept where gradients are asked for: it is there to compare with.

    Returns:
        y [B, L, H, P] in x's dtype, and the state after the last step [B, H, P, N] in float32 (float64 for float64).
    """
    x, dtype = arguments.x, arguments.state_dtype
    batch, length, heads, width = x.shape
    groups, state_dim = arguments.B.shape[2:]
    steps = arguments.steps.to(dtype)
    decays = torch.exp(steps * arguments.A.to(dtype))
    inputs = steps.unsqueeze(-1) * x.to(dtype)
    # Neighbouring heads share a group.
    writes, reads = (
        values.to(dtype).repeat_interleave(heads // groups, dim=2) for values in (arguments.B, arguments.C)
    )
    kept = _kept(arguments)

    state = x.new_zeros(batch, heads, width, state_dim, dtype=dtype)
    if arguments.initial_state is not None:
        state = state + arguments.initial_state.to(dtype)
    outputs = []
    for t in range(length):
        if kept is not None:
            state = torch.where(kept[:, t, None, None, None], state, 0.0)
        # One decay for the whole state of a head, and the outer product of what enters.
        state = decays[:, t, :, None, None] * state + inputs[:, t].unsqueeze(-1) * writes[:, t].unsqueeze(-2)
        outputs.append((state * reads[:, t].unsqueeze(-2)).sum(-1))
    y = torch.stack(outputs, dim=1) if outputs else x.new_zeros(x.shape, dtype=dtype)
    if arguments.D is not None:
        y = y + arguments.D.to(dtype).reshape(heads, -1) * x.to(dtype)
    return y.to(x.dtype), state


def _kept(arguments: SSDArguments) -> Tensor | None:
    """Whether the state before each step belongs to its sequence [B, L]; the initial one belongs to the first."""
    if arguments.seq_idx is None:
        return None
    same = arguments.seq_idx[:, 1:] == arguments.seq_idx[:, :-1]
    return torch.nn.functional.pad(same, (1, 0), value=True)
