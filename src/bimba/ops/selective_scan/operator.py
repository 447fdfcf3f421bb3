"""The scan as operators of torch, so that torch.compile, autocast, export and autograd see one step, not its inside.

`bimba::selective_scan` runs the chosen implementation forward, `bimba::selective_scan_backward` backward. Their fake
versions tell shapes without computing.
"""

from typing import Any

import torch
from torch import Tensor

from bimba.ops.selective_scan.arguments import STEPS_A_STATE, ScanArguments, ScanGradients
from bimba.ops.selective_scan.checks import check_positions
from bimba.ops.selective_scan.choice import choose


@torch.library.custom_op("bimba::selective_scan", mutates_args=())
def scan_forward(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    initial_state: Tensor | None,
    positions: Tensor | None,
    dt_softplus: bool,
    reverse: bool,
    implementation: str,
    save_states: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Arguments of `ScanArguments`, the implementation's name and whether a backward pass will follow.

    Returns:
        y [B, Q, E], final state [B, E, N], saved states [B, S, E, N].
    """
    arguments = ScanArguments(x, dt, A, B, C, D, z, dt_bias, initial_state, positions, dt_softplus, reverse)
    chosen = choose(implementation, x.device)
    if positions is not None:
        check_positions(positions, x.shape[1])
        # Callers may keep positions on the CPU.
        arguments = arguments._replace(positions=positions.to(x.device).contiguous())
    y, final_state, saved = chosen.module.forward(arguments, save_states=save_states)
    return y.contiguous(), final_state.contiguous(), saved.contiguous()


@scan_forward.register_fake
def _scan_forward_shapes(*inputs: Any) -> tuple[Tensor, Tensor, Tensor]:
    *given, _, save_states = inputs
    arguments = ScanArguments(*given)
    x, positions = arguments.x, arguments.positions
    batch, length, channels = x.shape
    state_dim, dtype = arguments.A.shape[1], arguments.state_dtype
    num_saved = -(-length // STEPS_A_STATE) if save_states else 0
    return (
        x.new_empty(batch, length if positions is None else positions.shape[0], channels),
        x.new_empty(batch, channels, state_dim, dtype=dtype),
        x.new_empty(batch, num_saved, channels, state_dim, dtype=dtype),
    )


@torch.library.custom_op("bimba::selective_scan_backward", mutates_args=())
def scan_backward(
    grad_y: Tensor,
    grad_state: Tensor,
    saved_states: Tensor,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    initial_state: Tensor | None,
    positions: Tensor | None,
    dt_softplus: bool,
    reverse: bool,
    implementation: str,
) -> list[Tensor]:
    """Gradients of y and of the final state, what the forward pass saved, and its arguments.

    Returns:
        The gradients of `ScanGradients` in their order; an empty tensor for an argument that is None.
    """
    if positions is not None:
        positions = positions.to(x.device).contiguous()
    arguments = ScanArguments(x, dt, A, B, C, D, z, dt_bias, initial_state, positions, dt_softplus, reverse)
    module = choose(implementation, x.device).module
    gradients = module.backward(arguments, saved_states, grad_y, grad_state)
    return [x.new_empty(0) if gradient is None else gradient.contiguous() for gradient in gradients]


@scan_backward.register_fake
def _scan_backward_shapes(*arguments: Any) -> list[Tensor]:
    num_grads = len(ScanGradients._fields)
    _, _, _, *rest = arguments
    return [
        rest[0].new_empty(0) if tensor is None else torch.empty_like(tensor, memory_format=torch.contiguous_format)
        for tensor in rest[:num_grads]
    ]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    """Save what the backward pass needs."""
    *tensors, dt_softplus, reverse, implementation, _ = inputs
    ctx.save_for_backward(output[2], *tensors)
    ctx.how = (dt_softplus, reverse, implementation)


def _differentiate(ctx: Any, grad_y: Tensor, grad_state: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    """Gradients of all inputs of `scan_forward`."""
    saved_states, *tensors = ctx.saved_tensors
    gradients = ScanGradients(*scan_backward(grad_y, grad_state, saved_states, *tensors, *ctx.how))
    given = tensors[: len(gradients)]
    num_others = len(tensors) - len(given) + len(ctx.how) + 1
    kept = (None if tensor is None else gradient for tensor, gradient in zip(given, gradients, strict=True))
    return (*kept, *(None for _ in range(num_others)))


scan_forward.register_autograd(_differentiate, setup_context=_keep)
