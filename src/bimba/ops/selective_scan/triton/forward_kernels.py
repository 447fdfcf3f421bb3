"""Kernels of the scan's forward pass: chunks from a zero state, then outputs from the true one.

Shapes: B batch, L length, E channels, N state, Q outputs, K chunks, S saved states.
"""

# Triton has no types, and gives its functions a meaning of its own.
# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator, no-untyped-def, no-untyped-call"
# mypy: no-check-untyped-defs

import triton
import triton.language as tl

from bimba.ops.selective_scan.triton.shared_kernels import (
    LENGTHS,
    in_memory,
    load_row,
    load_step,
    load_vector,
    next_state,
    program_channels,
    sigmoid,
    state_tile,
)


@triton.jit(do_not_specialize=LENGTHS)
def scan_chunks_from_zero(
    chunk_states,
    chunk_step_sums,
    x,
    dt,
    B,
    dt_bias,
    rates,
    length,
    channels,
    chunk_length,
    N: tl.constexpr,
    SOFTPLUS: tl.constexpr,
    REVERSE: tl.constexpr,
    BLOCK_E: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """Write what each chunk makes of a zero state [B, K, E, N] and the sum of its step sizes [B, K, E]."""
    channel, channel_exists = program_channels(channels, BLOCK_E)
    entry = tl.arange(0, BLOCK_N)
    chunk = tl.program_id(1).to(tl.int64)
    batch = tl.program_id(2).to(tl.int64)
    tile, exists = state_tile(channel, channel_exists, N, BLOCK_N)
    rate = tl.load(rates + tile, mask=exists, other=0.0)
    bias = load_vector(dt_bias, channel, channel_exists, rate.dtype)

    state = tl.zeros([BLOCK_E, BLOCK_N], rate.dtype)
    step_sum = tl.zeros([BLOCK_E], rate.dtype)
    begin = chunk * chunk_length
    for step in range(begin, tl.minimum(begin + chunk_length, length)):
        time = in_memory(step, length, REVERSE)
        x_row, _, sizes, writes = load_step(
            x, dt, B, bias, batch, time, channel, channel_exists, entry, entry < N, rate.dtype, SOFTPLUS
        )
        state = next_state(state, rate, sizes, sizes * x_row, writes)
        step_sum += sizes

    chunk_row = batch * tl.num_programs(1) + chunk
    tl.store(chunk_states + chunk_row * channels * N + tile, state, mask=exists)
    tl.store(chunk_step_sums + chunk_row * channels + channel, step_sum, mask=channel_exists)


@triton.jit(do_not_specialize=LENGTHS)
def scan_chunks(
    y,
    final_state,
    saved_states,
    entry_states,
    x,
    dt,
    B,
    C,
    z,
    D,
    dt_bias,
    rates,
    output_steps,
    first_outputs,
    length,
    num_outputs,
    channels,
    chunk_length,
    num_saved,
    N: tl.constexpr,
    STEPS_A_STATE: tl.constexpr,
    SOFTPLUS: tl.constexpr,
    REVERSE: tl.constexpr,
    BLOCK_E: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """Scan each chunk from its entry state [B, K, E, N]; write y [B, Q, E], the final and the saved states.

    With `output_steps` [Q], rising, only these steps are read out; the outputs from `first_outputs` [K + 1] on are
    those of a chunk. `saved_states` [B, S, E, N] are the states before every `STEPS_A_STATE`-th step; None saves none.
    """
    channel, channel_exists = program_channels(channels, BLOCK_E)
    entry = tl.arange(0, BLOCK_N)
    chunk = tl.program_id(1).to(tl.int64)
    batch = tl.program_id(2).to(tl.int64)
    tile, exists = state_tile(channel, channel_exists, N, BLOCK_N)
    rate = tl.load(rates + tile, mask=exists, other=0.0)
    bias = load_vector(dt_bias, channel, channel_exists, rate.dtype)
    skip = load_vector(D, channel, channel_exists, rate.dtype)

    state_row = (batch * tl.num_programs(1) + chunk) * channels * N
    state = tl.load(entry_states + state_row + tile, mask=exists, other=0.0)
    begin = chunk * chunk_length
    end = tl.minimum(begin + chunk_length, length)
    output = begin
    output_step = begin
    if output_steps is not None:
        output = tl.load(first_outputs + chunk)
        output_step = tl.load(output_steps + output, mask=output < num_outputs, other=-1)
    for saved_step in range(begin, end, STEPS_A_STATE):
        if saved_states is not None:
            saved_row = (batch * num_saved + saved_step // STEPS_A_STATE) * channels * N
            tl.store(saved_states + saved_row + tile, state, mask=exists)
        for step in range(saved_step, tl.minimum(saved_step + STEPS_A_STATE, end)):
            time = in_memory(step, length, REVERSE)
            x_row, _, sizes, writes = load_step(
                x, dt, B, bias, batch, time, channel, channel_exists, entry, entry < N, rate.dtype, SOFTPLUS
            )
            state = next_state(state, rate, sizes, sizes * x_row, writes)
            if step == output_step:
                slot = in_memory(output, num_outputs, REVERSE)
                reads = load_row(C, batch, slot, entry, entry < N, rate.dtype)
                y_row = tl.sum(state * reads[None, :], axis=1) + skip * x_row
                if z is not None:
                    gate = load_row(z, batch, slot, channel, channel_exists, rate.dtype)
                    y_row *= gate * sigmoid(gate)
                y_rows = y + (batch * num_outputs + slot) * channels
                tl.store(y_rows + channel, y_row.to(y.dtype.element_ty), mask=channel_exists)
                output += 1
                if output_steps is not None:
                    output_step = tl.load(output_steps + output, mask=output < num_outputs, other=-1)
                else:
                    output_step += 1
    if end == length:
        tl.store(final_state + batch * channels * N + tile, state, mask=exists)
