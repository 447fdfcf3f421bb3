"""The causal convolution on CPUs, as operators of torch: rows shared out among threads running compiled loops.

Shapes: B batch, L length, E channels, K taps.
"""

from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from bimba.ops.threads import run_side_by_side

ROWS_A_CALL = 256
"""Rows that one thread does at a time."""


def _kernels() -> ModuleType:
    """Imported on use: numba takes half a second."""
    from bimba.ops.causal_conv1d import cpu_kernels

    return cpu_kernels


def _array(tensor: Tensor, dtype: torch.dtype) -> Any:
    return tensor.detach().to(dtype).contiguous().numpy()


@torch.library.custom_op("bimba::causal_conv1d", mutates_args=())
def convolve(x: Tensor, weight: Tensor, bias: Tensor, reverse: bool, activation: bool) -> Tensor:
    """Arguments of `causal_conv1d`, all given -> [B, L, E] in x's dtype."""
    kernels = _kernels()
    dtype = torch.promote_types(x.dtype, torch.float32)
    result = torch.empty(x.shape, dtype=dtype)
    rows, taps, shift, written = _array(x, dtype), _array(weight[:, 0].T, dtype), _array(bias, dtype), result.numpy()
    length = x.shape[1]

    def task(item: int, begin: int) -> None:
        end = min(begin + ROWS_A_CALL, length)
        kernels.convolve(rows[item], taps, shift, reverse, activation, begin, end, written[item])

    run_side_by_side(task, [(item, begin) for item in range(x.shape[0]) for begin in range(0, length, ROWS_A_CALL)])
    return result.to(x.dtype)


@convolve.register_fake
def _convolve_shape(x: Tensor, *_: Any) -> Tensor:
    return x.new_empty(x.shape)


@torch.library.custom_op("bimba::causal_conv1d_backward", mutates_args=())
def convolve_back(
    grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor, reverse: bool, activation: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, weight and bias from that of the result [B, L, E]."""
    kernels = _kernels()
    dtype = torch.promote_types(x.dtype, torch.float32)
    batch, _, channels = x.shape
    num_taps = weight.shape[2]
    x_grad = torch.empty(x.shape, dtype=dtype)
    taps_grad, bias_grad = (
        torch.empty(batch, num_taps, channels, dtype=dtype),
        torch.empty(batch, channels, dtype=dtype),
    )
    rows, taps, shift, incoming = (_array(tensor, dtype) for tensor in (x, weight[:, 0].T, bias, grad))
    results = [tensor.numpy() for tensor in (x_grad, taps_grad, bias_grad)]

    def task(item: int, first: int) -> None:
        last = min(first + kernels.LANES, channels)
        written = (result[item] for result in results)
        kernels.convolve_back(rows[item], taps, shift, reverse, activation, first, last, incoming[item], *written)

    run_side_by_side(task, [(item, first) for item in range(batch) for first in range(0, channels, kernels.LANES)])
    weight_grad = taps_grad.sum(0).T.unsqueeze(1)
    return x_grad.to(x.dtype), weight_grad.to(weight.dtype).contiguous(), bias_grad.sum(0).to(bias.dtype)


@convolve_back.register_fake
def _convolve_back_shapes(
    grad: Tensor,  # noqa: ARG001 # the operator's signature
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    *_: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    return x.new_empty(x.shape), weight.new_empty(weight.shape), bias.new_empty(bias.shape)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001 # torch's signature
    *tensors, reverse, activation = inputs
    ctx.save_for_backward(*tensors)
    ctx.how = (reverse, activation)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return (*convolve_back(grad, *ctx.saved_tensors, *ctx.how), None, None)


convolve.register_autograd(_differentiate, setup_context=_keep)
