"""Mamba-2's scan on CPUs, forward: heads shared out among threads, each running the compiled loops of `cpu_kernels`.

Shapes: B batch, L length, H heads, P width of a head, G groups, R = H / G heads of a group, N state, S pieces.
"""

from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from bimba.ops.ssd.arguments import SSDArguments
from bimba.ops.ssd.chunked import SSDResult
from bimba.ops.ssd.pieces import cut_into_chunks
from bimba.ops.threads import run_side_by_side

FEWEST_ENTRIES = 2**21
"""Entries of states, times steps, below which sharing out is not worth it: some tenths of a millisecond."""

TASKS_A_THREAD = 2
"""For a thread that is held up others take over; but each task lays out B and C for itself."""


def _kernels() -> ModuleType:
    """Imported on use: numba takes half a second."""
    from bimba.ops.ssd import cpu_kernels

    return cpu_kernels


def forward(arguments: SSDArguments, *, save_states: bool) -> SSDResult:
    """Scan; see `SSDArguments` and `SSDResult`."""
    kernels = _kernels()
    dtype = arguments.state_dtype
    batch, length, heads, width = arguments.x.shape
    groups, state_dim = arguments.B.shape[2:]
    in_group = heads // groups
    chunks = cut_into_chunks(arguments.x)
    y = torch.empty(batch, length, heads, width, dtype=dtype)
    final_state = torch.empty(batch, heads, width, state_dim, dtype=dtype)
    num_saved = len(chunks.pieces) if save_states else 0
    saved = torch.empty(num_saved, batch, groups, state_dim, in_group * width, dtype=dtype)

    x, B, C = (_Flat(tensor, dtype) for tensor in (arguments.x, arguments.B, arguments.C))
    D = arguments.D
    if D is not None and D.ndim == 1:
        D = D.unsqueeze(1).expand(heads, width)
    steps, A, D, initial_state = (
        _filled(tensor, ndim, dtype)
        for tensor, ndim in ((arguments.steps, 3), (arguments.A, 1), (D, 2), (arguments.initial_state, 4))
    )
    starts = _starts(arguments.seq_idx)
    given, first_states, begun, outputs, last_states, saved_states, rates, skips = (
        tensor.numpy() for tensor in (steps, initial_state, starts, y, final_state, saved, A, D)
    )

    def task(item: int, group: int, first: int, last: int) -> None:
        kernels.scan_heads(
            x.flat(item),
            x.strides[1:3],
            given[item],
            rates,
            B.flat(item, group),
            B.strides[1],
            C.flat(item, group),
            C.strides[1],
            skips,
            first_states[item] if first_states.size else first_states[0],
            begun[item] if begun.size else begun[0],
            chunks.a_piece * chunks.steps,
            first,
            last,
            outputs[item],
            last_states[item],
            saved_states,
            item,
            group,
        )

    share = _heads_a_task(arguments)
    tasks = [
        (item, group, first, min(first + share, (group + 1) * in_group))
        for item in range(batch)
        for group in range(groups)
        for first in range(group * in_group, (group + 1) * in_group, share)
    ]
    run_side_by_side(task, tasks)
    return SSDResult(y.to(arguments.x.dtype), final_state, saved)


def _heads_a_task(arguments: SSDArguments) -> int:
    """As many heads as give each thread something to do, but not too little at a time."""
    batch, length, heads, width = arguments.x.shape
    groups, state_dim = arguments.B.shape[2:]
    share = -(-batch * heads // (torch.get_num_threads() * TASKS_A_THREAD))
    fewest = -(-FEWEST_ENTRIES // max(1, length * width * state_dim))
    return min(max(share, fewest, 1), max(1, heads // groups))


def _filled(tensor: Tensor | None, ndim: int, dtype: torch.dtype) -> Tensor:
    """The tensor, contiguous; with no entries, but something to index, where there is none."""
    if tensor is None:
        return torch.empty(1, *[0] * (ndim - 1), dtype=dtype)
    return tensor.detach().to(dtype).contiguous()


def _starts(seq_idx: Tensor | None) -> Tensor:
    """Whether another sequence begins at a step [B, L]; of no length without seq_idx."""
    if seq_idx is None:
        return torch.empty(1, 0, dtype=torch.bool)
    starts = torch.zeros(seq_idx.shape, dtype=torch.bool)
    starts[:, 1:] = seq_idx[:, 1:] != seq_idx[:, :-1]
    return starts


class _Flat:
    """A tensor as its memory: what was cut out of a larger one is read where it stands.

    Attributes:
        strides: from a number to the next, of each dimension.

    Args:
        tensor: [B, L, H or G, P or N].
        dtype: to convert it to.
    """

    def __init__(self, tensor: Tensor, dtype: torch.dtype) -> None:
        tensor = tensor.detach().to(dtype)
        if tensor.shape[-1] > 1 and tensor.stride(-1) != 1:
            tensor = tensor.contiguous()
        self.strides = tensor.stride()
        span = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, self.strides, strict=True))
        self._memory = tensor.as_strided((span if tensor.numel() else 0,), (1,)).numpy()

    def flat(self, item: int, third: int = 0) -> Any:
        """From an item of the batch on, and from one of the third dimension."""
        return self._memory[item * self.strides[0] + third * self.strides[2] :]
