"""The scan as operators of torch, so that torch.compile, autocast, export and autograd see one step.

`bimba::ssd` runs it forward as the implementation does that was asked for, `bimba::ssd_backward` backward as `chunked`.
Their fake versions tell shapes without computing.
"""

from typing import Any

import torch
from torch import Tensor

from bimba.ops.ssd.arguments import SSDArguments, state_dtype_of
from bimba.ops.ssd.choice import choose
from bimba.ops.ssd.chunked import SSDGradients, backward
from bimba.ops.ssd.pieces import cut_into_chunks


@torch.library.custom_op("bimba::ssd", mutates_args=())
def scan_forward(
    x: Tensor,
    steps: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    initial_state: Tensor | None,
    seq_idx: Tensor | None,
    implementation: str,
    save_states: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Arguments of `SSDArguments`, the implementation's name and whether a backward pass will follow.

    Returns:
        y [B, L, H, P], final state [B, H, P, N], saved states [S, B, G, N, H / G * P].
    """
    arguments = SSDArguments(x, steps, A, B, C, D, initial_state, seq_idx)
    # Autocast reaches into operators, and would take the products in low precision.
    with torch.autocast(x.device.type, enabled=False):
        y, final_state, saved = choose(implementation, x.device)(arguments, save_states=save_states)
    return y, final_state, saved


@scan_forward.register_fake
def _scan_forward_shapes(x: Tensor, *inputs: Any) -> tuple[Tensor, Tensor, Tensor]:
    B, save_states = inputs[2], inputs[-1]
    batch, _, heads, width = x.shape
    groups, state_dim = B.shape[2:]
    dtype = state_dtype_of(x)
    return (
        x.new_empty(x.shape),
        x.new_empty(batch, heads, width, state_dim, dtype=dtype),
        x.new_empty(
            len(cut_into_chunks(x).pieces) if save_states else 0,
            batch,
            groups,
            state_dim,
            heads // groups * width,
            dtype=dtype,
        ),
    )


@torch.library.custom_op("bimba::ssd_backward", mutates_args=())
def scan_backward(
    grad_y: Tensor,
    grad_state: Tensor,
    saved_states: Tensor,
    x: Tensor,
    steps: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    initial_state: Tensor | None,
    seq_idx: Tensor | None,
) -> list[Tensor]:
    """Gradients of y and of the final state, what the forward pass saved, and its arguments.

    Returns:
        The gradients of `SSDGradients` in their order; an empty tensor for an argument that is None.
    """
    arguments = SSDArguments(x, steps, A, B, C, D, initial_state, seq_idx)
    with torch.autocast(x.device.type, enabled=False):
        gradients = backward(arguments, saved_states, grad_y, grad_state)
    return [x.new_empty(0) if gradient is None else gradient.contiguous() for gradient in gradients]


@scan_backward.register_fake
def _scan_backward_shapes(*arguments: Any) -> list[Tensor]:
    _, _, _, *rest = arguments
    return [
        rest[0].new_empty(0) if tensor is None else torch.empty_like(tensor, memory_format=torch.contiguous_format)
        for tensor in rest[: len(SSDGradients._fields)]
    ]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    """Save what the backward pass needs."""
    ctx.save_for_backward(output[2], *inputs[:-2])


def _differentiate(ctx: Any, grad_y: Tensor, grad_state: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    """Gradients of all inputs of `scan_forward`."""
    saved_states, *tensors = ctx.saved_tensors
    gradients = SSDGradients(*scan_backward(grad_y, grad_state, saved_states, *tensors))
    kept = (
        None if tensor is None else gradient
        for tensor, gradient in zip(tensors[: len(gradients)], gradients, strict=True)
    )
    return (*kept, None, None, None)  # seq_idx and how to do it have none


scan_forward.register_autograd(_differentiate, setup_context=_keep)
