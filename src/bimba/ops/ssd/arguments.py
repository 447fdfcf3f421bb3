"""What an implementation of Mamba-2's scan takes and gives: the arguments of one call, checked, and its results.

Shapes: B batch, L length, H heads, P width of a head, G groups, N state.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

_STATE_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_INDEX_TYPES = (torch.int32, torch.int64)


class SSDArguments(NamedTuple):
    """The arguments of `bimba.ops.ssd`, checked, with steps as they are taken.

    Attributes:
        x: [B, L, H, P].
        steps: sizes of the steps, limited, in the state's dtype [B, L, H].
        A: [H].
        B: [B, L, G, N].
        C: [B, L, G, N].
        D: [H], [H, P] or None.
        initial_state: [B, H, P, N] or None.
        seq_idx: integers [B, L] or None.
    """

    x: Tensor
    steps: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor | None
    initial_state: Tensor | None
    seq_idx: Tensor | None

    @property
    def state_dtype(self) -> torch.dtype:
        """Precision of the state and of all arithmetic."""
        return state_dtype_of(self.x)


def state_dtype_of(x: Tensor) -> torch.dtype:
    """float32, or float64 for float64."""
    return torch.promote_types(x.dtype, torch.float32)


def check_tensors(tensors: Mapping[str, Tensor | None], dt_limit: tuple[float, float]) -> None:
    """Refuse what would otherwise be broadcast, converted or read into a wrong result.

    Args:
        tensors: the arguments of `bimba.ops.ssd` that are tensors, by name.
        dt_limit: its least and largest step.

    Raises:
        ValueError: shapes, types or devices do not fit, or the limits are no range.
    """
    x, B = tensors["x"], tensors["B"]
    if x is None or B is None or x.ndim != 4 or B.ndim != 4:
        shapes = [None if tensor is None else tuple(tensor.shape) for tensor in (x, B)]
        raise ValueError(f"x is [B, L, H, P] and B [B, L, G, N]; got {shapes[0]} and {shapes[1]}.")
    batch, length, heads, width = x.shape
    groups, state_dim = B.shape[2:]
    if groups == 0 or heads % groups:
        raise ValueError(f"{heads} heads of x {tuple(x.shape)} cannot share {groups} groups of B {tuple(B.shape)}.")
    D = tensors["D"]
    expected: dict[str, tuple[int, ...]] = {
        "x": (batch, length, heads, width),
        "dt": (batch, length, heads),
        "A": (heads,),
        "B": (batch, length, groups, state_dim),
        "C": (batch, length, groups, state_dim),
        "D": (heads,) if D is None or D.ndim < 2 else (heads, width),
        "dt_bias": (heads,),
        "initial_state": (batch, heads, width, state_dim),
        "seq_idx": (batch, length),
    }
    for name, shape in expected.items():
        tensor = tensors[name]
        if tensor is not None:
            _check_tensor(name, tensor, shape, x)
    least, largest = dt_limit
    if not least <= largest:
        raise ValueError(f"dt_limit is the least and the largest step, in this order; got {dt_limit}.")


def _check_tensor(name: str, tensor: Tensor, shape: tuple[int, ...], x: Tensor) -> None:
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{name} has the shape {tuple(tensor.shape)} where x {tuple(x.shape)} needs {shape}.")
    if name == "seq_idx":
        if tensor.dtype not in _INDEX_TYPES:
            raise ValueError(f"seq_idx is {tensor.dtype}; numbers of sequences are int32 or int64.")
    elif tensor.dtype not in _STATE_TYPES:
        raise ValueError(f"{name} is {tensor.dtype}; a scan takes float16, bfloat16, float32 or float64.")
    if tensor.device != x.device:
        raise ValueError(f"{name} is on {tensor.device} and x on {x.device}; a scan needs them together.")
