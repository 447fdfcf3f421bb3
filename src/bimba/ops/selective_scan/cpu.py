"""The selective scan on CPUs: channels shared out among threads, each running the compiled loops of `cpu_kernels`.

Shapes: B batch, L length, E channels, N state, Q positions asked for (L if all), S saved states, G channel groups.
"""

from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from bimba.ops.selective_scan.arguments import STEPS_A_STATE, ScanArguments, ScanGradients, ScanResult
from bimba.ops.threads import run_side_by_side

FEWEST_LANES = 64
"""Channels below which sharing out is not worth it."""

GROUP_LANES, MAX_GROUPS = 128, 32
"""Channels of a group with sums of its own for the gradients of B and C, and most groups; larger ones follow. The order
of the sums, and so the last bits of the result, must not depend on the number of threads."""


def _kernels() -> ModuleType:
    """Imported on use: numba takes half a second."""
    from bimba.ops.selective_scan import cpu_kernels

    return cpu_kernels


def forward(arguments: ScanArguments, *, save_states: bool) -> ScanResult:
    """Scan; see `ScanArguments` and `ScanResult`."""
    kernels = _kernels()
    given = _Rows(arguments)
    batch, length, channels = arguments.x.shape
    state_dim, dtype = arguments.A.shape[1], arguments.state_dtype
    num_saved = -(-length // STEPS_A_STATE) if save_states else 0
    y = torch.empty(batch, given.num_asked, channels, dtype=dtype)
    final_state = torch.empty(batch, channels, state_dim, dtype=dtype)
    saved_states = torch.empty(batch, num_saved, channels, state_dim, dtype=dtype)
    results = [tensor.numpy() for tensor in (y, final_state, saved_states)]

    lanes = _lanes_a_call(batch * channels, kernels.LANES)

    def task(item: int, first: int) -> None:
        last = min(first + lanes, channels)
        kernels.scan_forward(
            *given.of(item, "x", "dt", "A", "B", "C", "D", "z", "dt_bias", "initial_state"),
            given.positions,
            arguments.dt_softplus,
            arguments.reverse,
            first,
            last,
            *(result[item] for result in results),
        )

    run_side_by_side(task, [(item, first) for item in range(batch) for first in range(0, channels, lanes)])
    return ScanResult(y.to(arguments.x.dtype), final_state, saved_states)


def backward(arguments: ScanArguments, saved_states: Tensor, grad_y: Tensor, grad_state: Tensor) -> ScanGradients:
    """Gradients from those of y [B, Q, E] and of the final state [B, E, N]."""
    kernels = _kernels()
    given = _Rows(arguments)
    batch, length, channels = arguments.x.shape
    state_dim, dtype = arguments.A.shape[1], arguments.state_dtype
    num_blocks = -(-channels // GROUP_LANES)
    group = max(1, -(-num_blocks // MAX_GROUPS)) * GROUP_LANES
    num_groups = -(-channels // group)

    def empty(*shape: int) -> Tensor:
        return torch.empty(*shape, dtype=dtype)

    per_row = [empty(batch, length, channels), empty(batch, length, channels), empty(batch, channels, state_dim)]
    B_parts = torch.zeros(batch, num_groups, length, state_dim, dtype=dtype)
    C_parts = torch.zeros(batch, num_groups, given.num_asked, state_dim, dtype=dtype)
    x_grad, dt_grad, A_grad = per_row
    D_grad, bias_grad = empty(batch, channels), empty(batch, channels)
    z_grad, initial_grad = empty(batch, given.num_asked, channels), empty(batch, channels, state_dim)
    incoming = [grad.to(dtype).contiguous().numpy() for grad in (saved_states, grad_y, grad_state)]
    results = [tensor.numpy() for tensor in (x_grad, dt_grad, A_grad)]
    later = [tensor.numpy() for tensor in (D_grad, z_grad, bias_grad, initial_grad)]
    parts = [tensor.numpy() for tensor in (B_parts, C_parts)]

    def task(item: int, first: int) -> None:
        last = min(first + group, channels)
        kernels.scan_backward(
            *given.of(item, "x", "dt", "A", "B", "C", "D", "z", "dt_bias"),
            given.positions,
            arguments.dt_softplus,
            arguments.reverse,
            first,
            last,
            *(grad[item] for grad in incoming),
            *(result[item] for result in results),
            *(part[item, first // group] for part in parts),
            *(result[item] for result in later),
        )

    run_side_by_side(task, [(item, first) for item in range(batch) for first in range(0, channels, group)])
    sums = {
        "x": x_grad,
        "dt": dt_grad,
        "A": A_grad.sum(0),
        "B": B_parts.sum(1),
        "C": C_parts.sum(1),
        "D": D_grad.sum(0),
        "z": z_grad,
        "dt_bias": bias_grad.sum(0),
        "initial_state": initial_grad,
    }
    inputs = arguments._asdict()
    return ScanGradients._make(
        None if inputs[name] is None else sums[name].to(inputs[name].dtype) for name in ScanGradients._fields
    )


def _lanes_a_call(num_channels: int, most: int) -> int:
    """As many channels as give each thread something to do, but not too few at a time."""
    share = -(-num_channels // torch.get_num_threads())
    return min(most, max(FEWEST_LANES, -(-share // FEWEST_LANES) * FEWEST_LANES))


class _Rows:
    """The tensors of a call as contiguous arrays in the state's dtype; empty ones stand for those not given."""

    def __init__(self, arguments: ScanArguments) -> None:
        dtype = arguments.state_dtype
        self.batch = arguments.x.shape[0]
        state_shaped = {"A": 2, "D": 1, "dt_bias": 1}
        per_item = {"x": 2, "dt": 2, "B": 2, "C": 2, "z": 2, "initial_state": 2}
        tensors = arguments._asdict()
        self._shared = {name: self._array(tensors[name], ndim, dtype) for name, ndim in state_shaped.items()}
        self._own = {name: self._array(tensors[name], ndim + 1, dtype) for name, ndim in per_item.items()}
        positions = arguments.positions
        if positions is None:
            positions = torch.arange(arguments.x.shape[1])
        self.positions = positions.contiguous().numpy()
        self.num_asked: int = self.positions.shape[0]

    def _array(self, tensor: Tensor | None, ndim: int, dtype: torch.dtype) -> Any:
        if tensor is None:
            return torch.empty([self.batch, *[0] * (ndim - 1)] if ndim == 3 else [0] * ndim, dtype=dtype).numpy()
        return tensor.detach().to(dtype).contiguous().numpy()

    def of(self, item: int, *names: str) -> list[Any]:
        """Arrays by name, without the batch."""
        return [self._own[name][item] if name in self._own else self._shared[name] for name in names]
