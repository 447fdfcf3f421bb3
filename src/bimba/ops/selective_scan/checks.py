"""The arguments of a scan in; an error that names both sides out, if they do not fit."""

import torch
from torch import Tensor

from bimba.ops.selective_scan.arguments import ScanArguments

_STATE_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def check_arguments(arguments: ScanArguments) -> None:
    """Refuse what would otherwise be broadcast, converted or read into a wrong result.

    Raises:
        ValueError: shapes, types or devices do not fit.
    """
    x, A, positions = arguments.x, arguments.A, arguments.positions
    if x.ndim != 3 or A.ndim != 2:
        raise ValueError(f"x is [B, L, E] and A [E, N]; got {tuple(x.shape)} and {tuple(A.shape)}.")
    batch, length, channels = x.shape
    state_dim = A.shape[1]
    if positions is not None and (positions.ndim != 1 or positions.dtype != torch.int64):
        raise ValueError(f"positions are int64 [Q]; got {positions.dtype} {tuple(positions.shape)}.")
    num_outputs = length if positions is None else positions.shape[0]
    expected = {
        "x": (batch, length, channels),
        "dt": (batch, length, channels),
        "A": (channels, state_dim),
        "B": (batch, length, state_dim),
        "C": (batch, num_outputs, state_dim),
        "D": (channels,),
        "z": (batch, num_outputs, channels),
        "dt_bias": (channels,),
        "initial_state": (batch, channels, state_dim),
    }
    tensors = arguments._asdict()
    for name, shape in expected.items():
        tensor = tensors[name]
        if tensor is not None:
            _check_tensor(name, tensor, shape, x)


def _check_tensor(name: str, tensor: Tensor, shape: tuple[int, ...], x: Tensor) -> None:
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{name} has the shape {tuple(tensor.shape)} where x {tuple(x.shape)} needs {shape}.")
    if tensor.dtype not in _STATE_TYPES:
        raise ValueError(f"{name} is {tensor.dtype}; a scan takes float16, bfloat16, float32 or float64.")
    if tensor.device != x.device:
        raise ValueError(f"{name} is on {tensor.device} and x on {x.device}; a scan needs them together.")


def check_positions(positions: Tensor, length: int) -> None:
    """Positions rise strictly and lie inside the sequence.

    Raises:
        ValueError: they do not.
    """
    if positions.numel() == 0:
        return
    rises = bool((positions.diff() > 0).all())
    if not rises or int(positions[0]) < 0 or int(positions[-1]) >= length:
        raise ValueError(f"positions must rise strictly within 0..{length - 1}.")
