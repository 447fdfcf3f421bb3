"""The definition of the selective scan: a loop over time, in float32.

`selective_scan_reference` is what every implementation is compared with, its gradients are autograd's. `forward` and
`backward` are that loop as an implementation: piece by piece, so that the states of one piece at a time are held, not
those of all steps.

Shapes: B batch, L length, E channels, N state, Q positions asked for, S pieces.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from bimba.ops.selective_scan.arguments import STEPS_A_STATE, ScanArguments, ScanGradients, ScanResult


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
        state = state + initial_state.to(state_dtype)
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


def forward(arguments: ScanArguments, *, save_states: bool) -> ScanResult:
    """Scan piece by piece; see `ScanArguments` and `ScanResult`."""
    batch, _, channels = arguments.x.shape
    state = arguments.x.new_zeros(batch, channels, arguments.A.shape[1], dtype=arguments.state_dtype)
    if arguments.initial_state is not None:
        state = state + arguments.initial_state
    saved, outputs = [], []
    for piece, _ in _pieces(arguments):
        saved.append(state)
        y, state = _scan(piece._replace(initial_state=state))
        outputs.append(y)
    if arguments.reverse:
        outputs.reverse()
    y = torch.cat(outputs, dim=1) if outputs else torch.empty_like(arguments.x)
    kept = torch.stack(saved, dim=1) if save_states and saved else state.new_empty(batch, 0, *state.shape[1:])
    return ScanResult(y, state, kept)


def backward(arguments: ScanArguments, saved_states: Tensor, grad_y: Tensor, grad_state: Tensor) -> ScanGradients:
    """Gradients from those of y [B, Q, E] and of the final state [B, E, N], the last piece first."""
    tensors = {name: value for name, value in arguments._asdict().items() if isinstance(value, Tensor)}
    sums = {name: torch.zeros_like(tensor, dtype=arguments.state_dtype) for name, tensor in tensors.items()}
    for (piece, (steps, asked)), state in reversed(list(zip(_pieces(arguments), saved_states.unbind(1), strict=True))):
        gradients = _piece_gradients(piece, state, grad_y[:, asked], grad_state)
        grad_state = gradients["initial_state"]
        for name in gradients.keys() & sums.keys():
            if name in {"A", "D", "dt_bias"}:
                sums[name] += gradients[name]
            elif name != "initial_state":
                sums[name][:, asked if name in {"C", "z"} else steps] = gradients[name]
    sums["initial_state"] = grad_state.clone()
    return ScanGradients._make(
        sums[name].to(tensors[name].dtype) if name in tensors else None for name in ScanGradients._fields
    )


def _piece_gradients(piece: ScanArguments, state: Tensor, grad_y: Tensor, grad_state: Tensor) -> dict[str, Tensor]:
    """Gradients of one piece from the state before it, in the state's dtype; the chain rule, last step first.

    Not left to autograd: an operator's inside is out of its sight. J steps in the piece.
    """
    tensors = {name: value for name, value in piece._asdict().items() if isinstance(value, Tensor)}
    x, dt, A, B, C = (tensors[name].to(piece.state_dtype) for name in ("x", "dt", "A", "B", "C"))
    length = x.shape[1]
    asked = torch.arange(length, device=x.device) if piece.positions is None else piece.positions
    order = list(reversed(range(length))) if piece.reverse else list(range(length))
    shifted = dt if piece.dt_bias is None else dt + piece.dt_bias
    steps = functional.softplus(shifted) if piece.dt_softplus else shifted
    inputs = steps * x

    decays = torch.exp(steps.unsqueeze(-1) * A)  # [B, J, E, N]
    before, after = torch.empty_like(decays), torch.empty_like(decays)
    for t in order:
        before[:, t] = state
        state = decays[:, t] * state + inputs[:, t].unsqueeze(-1) * B[:, t].unsqueeze(-2)
        after[:, t] = state
    read = after[:, asked]

    gradients = {}
    grad_y = grad_y.to(piece.state_dtype)
    if piece.z is not None:
        ungated = (read * C.unsqueeze(-2)).sum(-1)
        if piece.D is not None:
            ungated = ungated + piece.D * x[:, asked]
        share = torch.sigmoid(piece.z.to(piece.state_dtype))
        gradients["z"] = grad_y * ungated * share * (1 + piece.z * (1 - share))
        grad_y = grad_y * piece.z * share
    gradients["C"] = (grad_y.unsqueeze(-1) * read).sum(-2)

    adjoints = torch.zeros_like(decays)
    adjoints[:, asked] = grad_y.unsqueeze(-1) * C.unsqueeze(-2)
    for t in reversed(order):
        adjoints[:, t] += grad_state
        grad_state = decays[:, t] * adjoints[:, t]
    gradients["initial_state"] = grad_state
    through = adjoints * decays * before
    grad_inputs = (adjoints * B.unsqueeze(-2)).sum(-1)
    grad_steps = (through * A).sum(-1) + grad_inputs * x
    gradients["A"] = (through * steps.unsqueeze(-1)).sum((0, 1))
    gradients["B"] = (adjoints * inputs.unsqueeze(-1)).sum(-2)
    gradients["x"] = grad_inputs * steps
    if piece.D is not None:
        gradients["x"][:, asked] += grad_y * piece.D
        gradients["D"] = (grad_y * x[:, asked]).sum((0, 1))
    gradients["dt"] = grad_steps * torch.sigmoid(shifted) if piece.dt_softplus else grad_steps
    gradients["dt_bias"] = gradients["dt"].sum((0, 1))
    return gradients


def _scan(arguments: ScanArguments) -> tuple[Tensor, Tensor]:
    return selective_scan_reference(**arguments._asdict())


def _pieces(arguments: ScanArguments) -> Iterator[tuple[ScanArguments, tuple[slice, slice]]]:
    """The arguments for `STEPS_A_STATE` steps at a time, in the scan's order, and which steps and outputs they are."""
    length = arguments.x.shape[1]
    positions = arguments.positions
    # Counted from where the scan begins, so that the last piece is the one that is cut short.
    for begin in range(0, length, STEPS_A_STATE):
        end = min(length, begin + STEPS_A_STATE)
        first, last = (length - end, length - begin) if arguments.reverse else (begin, end)
        steps = asked = slice(first, last)
        if positions is not None:
            before, until = torch.searchsorted(positions, positions.new_tensor([first, last])).tolist()
            asked = slice(before, until)
        yield (
            arguments._replace(
                x=arguments.x[:, steps],
                dt=arguments.dt[:, steps],
                B=arguments.B[:, steps],
                C=arguments.C[:, asked],
                z=None if arguments.z is None else arguments.z[:, asked],
                positions=None if positions is None else positions[asked] - first,
            ),
            (steps, asked),
        )
