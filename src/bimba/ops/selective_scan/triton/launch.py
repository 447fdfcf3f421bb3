"""The selective scan on a GPU in Triton: how a sequence is cut into chunks, and the launches, forward and backward.

In: the checked arguments of one scan. Out: its result, or its gradients. The kernels are in `shared_kernels.py` (what
they share), `forward_kernels.py` and `backward_kernels.py`; they are imported on use, as Triton need not
be installed.

Shapes: B batch, L length, E channels, N state, Q positions asked for (L if all), K chunks, S saved states.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bimba.ops.selective_scan.arguments import STEPS_A_STATE, ScanArguments, ScanGradients, ScanResult

SPAN = 2
"""Steps whose states the backward pass keeps in registers; divides `STEPS_A_STATE`."""

_FORWARD_WARPS = 16
_BACKWARD_WARPS = 8
"""Warps that a multiprocessor holds at a time with the registers that the kernels need."""

_PROGRAMS_ON_CPU = 4


class _Plan(NamedTuple):
    """How one call is laid out over programs.

    Attributes:
        block_channels: channels of one program.
        block_state: N, rounded up to a power of two.
        num_warps: warps of one program.
        num_blocks: blocks of channels.
        num_chunks: chunks of the sequence.
        chunk_length: steps of a chunk, a multiple of `STEPS_A_STATE`; the last chunk may be shorter.
        num_saved: states saved for the backward pass.
    """

    block_channels: int
    block_state: int
    num_warps: int
    num_blocks: int
    num_chunks: int
    chunk_length: int
    num_saved: int


def programs_to_fill(device: torch.device, per_multiprocessor: int) -> int:
    """Return how many programs keep a device busy; a few on a CPU, where Triton's interpreter runs them in turn."""
    if device.type == "cuda":
        return per_multiprocessor * torch.cuda.get_device_properties(device).multi_processor_count
    return _PROGRAMS_ON_CPU


def forward(arguments: ScanArguments, *, save_states: bool) -> ScanResult:
    """Scan a sequence.

    Args:
        arguments: x [B, L, E] and its company.
        save_states: also return the states that `backward` needs.

    Returns:
        y [B, Q, E], the final state [B, E, N] and the saved states [B, S, E, N], those before every 64th step.
    """
    batch, length, channels = arguments.x.shape
    state_dim = arguments.A.shape[1]
    num_outputs = arguments.C.shape[1]
    first_state = _first_state(arguments)
    y = arguments.x.new_empty(batch, num_outputs, channels)
    if 0 in (batch, length, channels):
        num_saved = math.ceil(length / STEPS_A_STATE) if save_states else 0
        return ScanResult(y, first_state.clone(), first_state.new_empty(batch, num_saved, channels, state_dim))
    from bimba.ops.selective_scan.triton import forward_kernels as kernels

    plan = _plan(arguments, _FORWARD_WARPS)
    rates = _rates(arguments)
    entry_states = first_state.unsqueeze(1)
    if plan.num_chunks > 1:
        chunk_states = first_state.new_empty(batch, plan.num_chunks, channels, state_dim)
        step_sums = first_state.new_empty(batch, plan.num_chunks, channels)
        _launch(
            kernels.scan_chunks_from_zero,
            plan,
            (plan.num_blocks, plan.num_chunks, batch),
            chunk_states,
            step_sums,
            _rows(arguments.x),
            _rows(arguments.dt),
            _rows(arguments.B),
            _vector(arguments.dt_bias),
            rates,
            length,
            channels,
            plan.chunk_length,
            state_dim,
            arguments.dt_softplus,
            arguments.reverse,
        )
        entry_states = _carry_over_chunks(plan, chunk_states, step_sums, first_state, rates, backward=False)
    final_state = torch.empty_like(first_state)
    saved_states = first_state.new_empty(batch, plan.num_saved if save_states else 0, channels, state_dim)
    output_steps, first_outputs = _outputs_of_chunks(arguments, plan)
    _launch(
        kernels.scan_chunks,
        plan,
        (plan.num_blocks, plan.num_chunks, batch),
        y,
        final_state,
        saved_states if save_states else None,
        entry_states,
        _rows(arguments.x),
        _rows(arguments.dt),
        _rows(arguments.B),
        _rows(arguments.C),
        None if arguments.z is None else _rows(arguments.z),
        _vector(arguments.D),
        _vector(arguments.dt_bias),
        rates,
        output_steps,
        first_outputs,
        length,
        num_outputs,
        channels,
        plan.chunk_length,
        plan.num_saved,
        state_dim,
        STEPS_A_STATE,
        arguments.dt_softplus,
        arguments.reverse,
    )
    return ScanResult(y, final_state, saved_states)


def backward(arguments: ScanArguments, saved_states: Tensor, grad_y: Tensor, grad_state: Tensor) -> ScanGradients:
    """Give the gradient of every argument.

    Args:
        arguments: those of the forward pass.
        saved_states: [B, S, E, N] from the forward pass.
        grad_y: gradient with respect to y [B, Q, E].
        grad_state: gradient with respect to the final state [B, E, N].
    """
    batch, length, channels = arguments.x.shape
    if 0 in (batch, length, channels):
        return _gradients_of_nothing(arguments, grad_state)
    from bimba.ops.selective_scan.triton import backward_kernels as kernels

    state_dim = arguments.A.shape[1]
    num_outputs = arguments.C.shape[1]
    plan = _plan(arguments, _BACKWARD_WARPS)
    rates = _rates(arguments)
    last_adjoint = grad_state.to(arguments.state_dtype).contiguous()
    output_steps, first_outputs = _outputs_of_chunks(arguments, plan)
    z = None if arguments.z is None else _rows(arguments.z)
    exit_adjoints = last_adjoint.unsqueeze(1)
    if plan.num_chunks > 1:
        chunk_adjoints = last_adjoint.new_empty(batch, plan.num_chunks, channels, state_dim)
        step_sums = last_adjoint.new_empty(batch, plan.num_chunks, channels)
        _launch(
            kernels.adjoint_chunks_from_zero,
            plan,
            (plan.num_blocks, plan.num_chunks, batch),
            chunk_adjoints,
            step_sums,
            _rows(grad_y),
            _rows(arguments.dt),
            _rows(arguments.C),
            z,
            _vector(arguments.dt_bias),
            rates,
            output_steps,
            first_outputs,
            length,
            num_outputs,
            channels,
            plan.chunk_length,
            state_dim,
            arguments.dt_softplus,
            arguments.reverse,
        )
        exit_adjoints = _carry_over_chunks(plan, chunk_adjoints, step_sums, last_adjoint, rates, backward=True)

    per_chunk = (batch, plan.num_chunks, channels)
    grad_x = torch.empty_like(arguments.x, memory_format=torch.contiguous_format)
    grad_dt = torch.empty_like(arguments.dt, memory_format=torch.contiguous_format)
    grad_z = None if arguments.z is None else torch.empty_like(arguments.z, memory_format=torch.contiguous_format)
    grad_initial_state = torch.empty_like(last_adjoint)
    grad_A = last_adjoint.new_empty(*per_chunk, state_dim)
    grad_B = last_adjoint.new_empty(plan.num_blocks, batch, length, state_dim)
    grad_C = last_adjoint.new_empty(plan.num_blocks, batch, num_outputs, state_dim)
    grad_D = None if arguments.D is None else last_adjoint.new_empty(per_chunk)
    grad_dt_bias = None if arguments.dt_bias is None else last_adjoint.new_empty(per_chunk)
    span_states = last_adjoint.new_empty(
        plan.num_blocks * plan.num_chunks * batch, STEPS_A_STATE // SPAN, plan.block_channels, plan.block_state
    )
    _launch(
        kernels.gradient_chunks,
        plan,
        (plan.num_blocks, plan.num_chunks, batch),
        grad_x,
        grad_dt,
        grad_z,
        grad_initial_state,
        grad_A,
        grad_B,
        grad_C,
        grad_D,
        grad_dt_bias,
        span_states,
        saved_states,
        exit_adjoints,
        _rows(grad_y),
        _rows(arguments.x),
        _rows(arguments.dt),
        _rows(arguments.B),
        _rows(arguments.C),
        z,
        _vector(arguments.D),
        _vector(arguments.dt_bias),
        rates,
        output_steps,
        first_outputs,
        length,
        num_outputs,
        channels,
        plan.chunk_length,
        plan.num_saved,
        state_dim,
        STEPS_A_STATE,
        SPAN,
        arguments.dt_softplus,
        arguments.reverse,
    )
    return ScanGradients(
        x=grad_x,
        dt=grad_dt,
        A=grad_A.sum((0, 1)).to(arguments.A.dtype),
        B=grad_B.sum(0).to(arguments.B.dtype),
        C=grad_C.sum(0).to(arguments.C.dtype),
        D=_summed_like(grad_D, arguments.D),
        z=grad_z,
        dt_bias=_summed_like(grad_dt_bias, arguments.dt_bias),
        initial_state=_like(grad_initial_state, arguments.initial_state),
    )


def _plan(arguments: ScanArguments, warps_per_multiprocessor: int) -> _Plan:
    """Cut a call into programs: enough chunks to fill the device, and no more, as chunks cost a second pass."""
    batch, length, channels = arguments.x.shape
    block_state = _power_of_two(arguments.A.shape[1])
    # A thread keeps 8 or 16 entries of the state: with more, the backward pass runs out of registers. Up to N = 16
    # one warp does, which never waits for another one.
    num_warps = 1 if block_state <= 16 else min(block_state // 8, 8)
    block_channels = max(min(32, 2048 // block_state), 1)
    num_blocks = math.ceil(channels / block_channels)
    num_programs = programs_to_fill(arguments.x.device, max(warps_per_multiprocessor // num_warps, 1))
    num_saved = math.ceil(length / STEPS_A_STATE)
    wanted_chunks = max(num_programs // (batch * num_blocks), 1)
    saved_per_chunk = math.ceil(num_saved / min(wanted_chunks, num_saved))
    return _Plan(
        block_channels=block_channels,
        block_state=block_state,
        num_warps=num_warps,
        num_blocks=num_blocks,
        num_chunks=math.ceil(num_saved / saved_per_chunk),
        chunk_length=saved_per_chunk * STEPS_A_STATE,
        num_saved=num_saved,
    )


def _power_of_two(count: int) -> int:
    """Return the smallest power of two that is not below `count`."""
    return 1 << max(count - 1, 0).bit_length()


def _launch(kernel: Any, plan: _Plan, grid: tuple[int, ...], output: Tensor, *arguments: object) -> None:
    """Run a kernel on the device of its first output, which need not be the one that torch is set to."""
    with torch.cuda.device_of(output):
        # Triton's default for fused multiply-adds depends on its version.
        kernel[grid](
            output,
            *arguments,
            plan.block_channels,
            plan.block_state,
            num_warps=plan.num_warps,
            enable_fp_fusion=True,
        )


def _carry_over_chunks(
    plan: _Plan, chunk_states: Tensor, step_sums: Tensor, first_state: Tensor, rates: Tensor, *, backward: bool
) -> Tensor:
    """Return what each chunk is entered with [B, K, E, N], from what it makes of zero [B, K, E, N]."""
    from bimba.ops.selective_scan.triton import shared_kernels as kernels

    batch, channels, state_dim = first_state.shape
    entry_states = torch.empty_like(chunk_states)
    _launch(
        kernels.carry_over_chunks,
        plan,
        (plan.num_blocks, batch),
        entry_states,
        chunk_states,
        step_sums,
        first_state,
        rates,
        plan.num_chunks,
        channels,
        state_dim,
        backward,
    )
    return entry_states


def _first_state(arguments: ScanArguments) -> Tensor:
    """Return the state before the first step [B, E, N], contiguous and in the state's dtype."""
    batch, _, channels = arguments.x.shape
    if arguments.initial_state is None:
        return arguments.x.new_zeros(batch, channels, arguments.A.shape[1], dtype=arguments.state_dtype)
    return arguments.initial_state.to(arguments.state_dtype).contiguous()


def _rates(arguments: ScanArguments) -> Tensor:
    """Return A log2(e) [E, N]: a GPU has an instruction for powers of two."""
    return (arguments.A.to(arguments.state_dtype) * math.log2(math.e)).contiguous()


def _rows(tensor: Tensor) -> tuple[Any, ...]:
    """Return a tensor [B, rows, columns] as kernels take it: with its strides, so that none has to be copied."""
    return (tensor, *tensor.stride())


def _vector(tensor: Tensor | None) -> Tensor | None:
    """Return weights [E] contiguous."""
    return None if tensor is None else tensor.contiguous()


def _outputs_of_chunks(arguments: ScanArguments, plan: _Plan) -> tuple[Tensor | None, Tensor | None]:
    """Return the steps asked for [Q], rising in the order of the scan, and each chunk's first one in them [K + 1].

    Found on the device: nothing waits for a copy to the host.
    """
    if arguments.positions is None:
        return None, None
    length = arguments.x.shape[1]
    steps = arguments.positions.to(arguments.x.device)
    if arguments.reverse:
        steps = (length - 1 - steps).flip(0)
    chunk_begins = torch.arange(plan.num_chunks + 1, device=steps.device) * plan.chunk_length
    return steps.contiguous(), torch.searchsorted(steps.contiguous(), chunk_begins)


def _gradients_of_nothing(arguments: ScanArguments, grad_state: Tensor) -> ScanGradients:
    """Return the gradients through no step: zeros, and for the initial state that of the final one."""
    return ScanGradients(
        x=torch.zeros_like(arguments.x),
        dt=torch.zeros_like(arguments.dt),
        A=torch.zeros_like(arguments.A),
        B=torch.zeros_like(arguments.B),
        C=torch.zeros_like(arguments.C),
        D=None if arguments.D is None else torch.zeros_like(arguments.D),
        z=None if arguments.z is None else torch.zeros_like(arguments.z),
        dt_bias=None if arguments.dt_bias is None else torch.zeros_like(arguments.dt_bias),
        initial_state=_like(grad_state.clone(), arguments.initial_state),
    )


def _summed_like(parts: Tensor | None, like: Tensor | None) -> Tensor | None:
    """Return parts per sequence and chunk [B, K, E] added up, in the dtype of what they are the gradient of."""
    return None if parts is None else _like(parts.sum((0, 1)), like)


def _like(gradient: Tensor | None, like: Tensor | None) -> Tensor | None:
    """Return a gradient in the dtype of its argument, None where there is none."""
    return None if gradient is None or like is None else gradient.to(like.dtype)
