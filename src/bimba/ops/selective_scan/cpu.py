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

    sums = ScanGradients(
        x=empty(batch, length, channels),
        dt=empty(batch, length, channels),
        A=empty(batch, channels, state_dim),
        B=torch.zeros(batch, num_groups, length, state_dim, dtype=dtype),
        C=torch.zeros(batch, num_groups, given.num_asked, state_dim, dtype=dtype),
        D=empty(batch, channels),
        z=empty(batch, 0 if arguments.z is None else given.num_asked, channels),
        dt_bias=empty(batch, channels),
        initial_state=empty(batch, channels, state_dim),
    )
    incoming = [grad.to(dtype).contiguous().numpy() for grad in (saved_states, grad_y, grad_state)]
    written = {name: tensor.numpy() for name, tensor in sums._asdict().items()}

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
            *(array[item, first // group] if name in {"B", "C"} else array[item] for name, array in written.items()),
        )

    run_side_by_side(task, [(item, first) for item in range(batch) for first in range(0, channels, group)])
    inputs = arguments._asdict()
    over = {"A": 0, "B": 1, "C": 1, "D": 0, "dt_bias": 0}  # the batch, or the groups
    return ScanGradients._make(
        None if inputs[name] is None else (total.sum(over[name]) if name in over else total).to(inputs[name].dtype)
        for name, total in sums._asdict().items()
    )


def _lanes_a_call(num_channels: int, most: int) -> int:
    """As many channels as give each thread something to do, but not too few at a time."""
    share = -(-num_channels // torch.get_num_threads())
    return min(most, max(FEWEST_LANES, -(-share // FEWEST_LANES) * FEWEST_LANES))


class _Rows:
    """The tensors of a call as contiguous arrays in the state's dtype; empty ones stand for those not given."""

    def __init__(self, arguments: ScanArguments) -> None:
        dtype = arguments.state_dtype
        shared = {"A": (0, 0), "D": (0,), "dt_bias": (0,)}
        batched = dict.fromkeys(("x", "dt", "B", "C", "z", "initial_state"), (arguments.x.shape[0], 0, 0))
        tensors = arguments._asdict()
        self._shared = {name: self._array(tensors[name], shape, dtype) for name, shape in shared.items()}
        self._batched = {name: self._array(tensors[name], shape, dtype) for name, shape in batched.items()}
        positions = arguments.positions
        if positions is None:
            positions = torch.arange(arguments.x.shape[1])
        self.positions = positions.contiguous().numpy()
        self.num_asked: int = self.positions.shape[0]

    def _array(self, tensor: Tensor | None, absent: tuple[int, ...], dtype: torch.dtype) -> Any:
        """The tensor's values, or an array of the shape `absent`."""
        if tensor is None:
            return torch.empty(absent, dtype=dtype).numpy()
        return tensor.detach().to(dtype).contiguous().numpy()

    def of(self, item: int, *names: str) -> list[Any]:
        """Arrays by name, without the batch."""
        return [self._batched[name][item] if name in self._batched else self._shared[name] for name in names]
