"""Kernels of the scan's backward pass: adjoints of chunks from zero, then gradients from the true ones.

The adjoint G[t] is the gradient with respect to h[t] through everything after it. With g the gradient with respect to
C . h, its recurrence and the gradients are

    G[t] = g[t] C[t] + exp(s[t+1] A) G[t+1]                          dC[t] = sum over E of g[t] h[t]
    d(s x)[t] = sum over N of G[t] B[t]                              dB[t] = sum over E of G[t] s[t] x[t]
    ds[t] = x[t] d(s x)[t] + sum over N of G[t] A exp(s[t] A) h[t-1]
    dx[t] = s[t] d(s x)[t] + g[t] D                                  dA = sum over t of G[t] s[t] exp(s[t] A) h[t-1]

Shapes: B batch, L length, E channels, N state, Q outputs, K chunks, S saved states.
"""

# Triton has no types, and gives its functions a meaning of its own.
# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator, no-untyped-def, no-untyped-call"
# mypy: no-check-untyped-defs

import triton
import triton.language as tl

from bimba.ops.selective_scan.triton.shared_kernels import (
    LENGTHS,
    LN_2,
    in_memory,
    load_row,
    load_step,
    load_vector,
    next_state,
    program_channels,
    sigmoid,
    state_tile,
    step_sizes,
)


@triton.jit
def ungated_gradient(grad_y, z, batch, slot, channel, channel_exists, dtype: tl.constexpr):
    """Return the gradient with respect to y before its gate, one row [BLOCK_E]."""
    grad_row = load_row(grad_y, batch, slot, channel, channel_exists, dtype)
    if z is not None:
        gate = load_row(z, batch, slot, channel, channel_exists, dtype)
        grad_row *= gate * sigmoid(gate)
    return grad_row


@triton.jit
def last_output(output_steps, first_outputs, chunk, end):
    """Return the index of a chunk's last output in the order of the scan, and its step (-1 if there is none)."""
    output = end - 1
    output_step = end - 1
    if output_steps is not None:
        output = tl.load(first_outputs + chunk + 1) - 1
        output_step = tl.load(output_steps + output, mask=output >= 0, other=-1)
    return output, output_step


@triton.jit
def output_before(output_steps, output):
    """Return the index of the output before one, and its step (-1 if there is none)."""
    output -= 1
    output_step = output
    if output_steps is not None:
        output_step = tl.load(output_steps + output, mask=output >= 0, other=-1)
    return output, output_step


@triton.jit
def replayed_state(
    state,
    rates,
    x,
    dt,
    B,
    bias,
    batch,
    step,
    end,
    length,
    channel,
    channels,
    N: tl.constexpr,
    SOFTPLUS: tl.constexpr,
    REVERSE: tl.constexpr,
):
    """Return the state after a step, computed again; from `end` on nothing changes it."""
    entry = tl.arange(0, rates.shape[1])
    lanes = channel < tl.where(step < end, channels, 0)
    entries = entry < tl.where(step < end, N, 0)
    time = in_memory(step, length, REVERSE)
    x_row, _, sizes, writes = load_step(
        x, dt, B, bias, batch, time, channel, lanes, entry, entries, rates.dtype, SOFTPLUS
    )
    return next_state(state, rates, sizes, sizes * x_row, writes)


@triton.jit(do_not_specialize=LENGTHS)
def adjoint_chunks_from_zero(
    chunk_adjoints,
    chunk_step_sums,
    grad_y,
    dt,
    C,
    z,
    dt_bias,
    rates,
    output_steps,
    first_outputs,
    length,
    num_outputs,
    channels,
    chunk_length,
    N: tl.constexpr,
    SOFTPLUS: tl.constexpr,
    REVERSE: tl.constexpr,
    BLOCK_E: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """Write the gradient with respect to each chunk's entry state through its own outputs [B, K, E, N].

    Also the sum of the chunk's step sizes [B, K, E].
    """
    channel, channel_exists = program_channels(channels, BLOCK_E)
    entry = tl.arange(0, BLOCK_N)
    chunk = tl.program_id(1).to(tl.int64)
    batch = tl.program_id(2).to(tl.int64)
    tile, exists = state_tile(channel, channel_exists, N, BLOCK_N)
    rate = tl.load(rates + tile, mask=exists, other=0.0)
    bias = load_vector(dt_bias, channel, channel_exists, rate.dtype)

    adjoint = tl.zeros([BLOCK_E, BLOCK_N], rate.dtype)
    step_sum = tl.zeros([BLOCK_E], rate.dtype)
    begin = chunk * chunk_length
    end = tl.minimum(begin + chunk_length, length)
    output, output_step = last_output(output_steps, first_outputs, chunk, end)
    for steps_left in range(end - begin):
        step = end - 1 - steps_left
        if step == output_step:
            slot = in_memory(output, num_outputs, REVERSE)
            reads = load_row(C, batch, slot, entry, entry < N, rate.dtype)
            grad_read = ungated_gradient(grad_y, z, batch, slot, channel, channel_exists, rate.dtype)
            adjoint += grad_read[:, None] * reads[None, :]
            output, output_step = output_before(output_steps, output)
        time = in_memory(step, length, REVERSE)
        raw = load_row(dt, batch, time, channel, channel_exists, rate.dtype) + bias
        sizes = step_sizes(raw, channel_exists, SOFTPLUS)
        adjoint *= tl.exp2(sizes[:, None] * rate)
        step_sum += sizes

    chunk_row = batch * tl.num_programs(1) + chunk
    tl.store(chunk_adjoints + chunk_row * channels * N + tile, adjoint, mask=exists)
    tl.store(chunk_step_sums + chunk_row * channels + channel, step_sum, mask=channel_exists)


@triton.jit(do_not_specialize=LENGTHS)
def gradient_chunks(
    grad_x,
    grad_dt,
    grad_z,
    grad_initial_state,
    grad_A_parts,
    grad_B_parts,
    grad_C_parts,
    grad_D_parts,
    grad_bias_parts,
    span_states,
    saved_states,
    exit_adjoints,
    grad_y,
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
    SPAN: tl.constexpr,
    SOFTPLUS: tl.constexpr,
    REVERSE: tl.constexpr,
    BLOCK_E: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """Go back through each chunk from the adjoint at its exit [B, K, E, N] and write every gradient.

    The steps after one saved state are recomputed in two rounds: the first leaves the state before every span of
    `SPAN` steps in `span_states` [programs, STEPS_A_STATE / SPAN, BLOCK_E, BLOCK_N], the second the states within one
    span in registers. Keeping all of them in memory would cost more time than the arithmetic.

    Sums over time go to parts per chunk: `grad_A_parts` [B, K, E, N], `grad_D_parts` and `grad_bias_parts` [B, K, E].
    Sums over channels go to parts per block of channels: `grad_B_parts` [blocks, B, L, N] and `grad_C_parts`
    [blocks, B, Q, N]. They are added afterwards in a fixed order: atomics would not give the same bits twice.
    """
    channel, channel_exists = program_channels(channels, BLOCK_E)
    entry = tl.arange(0, BLOCK_N)
    block = tl.program_id(0).to(tl.int64)
    chunk = tl.program_id(1).to(tl.int64)
    batch = tl.program_id(2).to(tl.int64)
    tile, exists = state_tile(channel, channel_exists, N, BLOCK_N)
    rate = tl.load(rates + tile, mask=exists, other=0.0)
    bias = load_vector(dt_bias, channel, channel_exists, rate.dtype)
    skip = load_vector(D, channel, channel_exists, rate.dtype)

    chunk_row = batch * tl.num_programs(1) + chunk
    program = chunk_row * tl.num_programs(0) + block
    span_size: tl.constexpr = BLOCK_E * BLOCK_N
    span_tile = tl.arange(0, BLOCK_E)[:, None] * BLOCK_N + entry[None, :]
    spans = span_states + program * (STEPS_A_STATE // SPAN) * span_size + span_tile
    parts_row = block * tl.num_programs(2) + batch

    adjoint = tl.load(exit_adjoints + chunk_row * channels * N + tile, mask=exists, other=0.0)
    grad_A = tl.zeros([BLOCK_E, BLOCK_N], rate.dtype)
    grad_D = tl.zeros([BLOCK_E], rate.dtype)
    grad_bias = tl.zeros([BLOCK_E], rate.dtype)
    begin = chunk * chunk_length
    end = tl.minimum(begin + chunk_length, length)
    output, output_step = last_output(output_steps, first_outputs, chunk, end)
    num_saved_here = tl.cdiv(end - begin, STEPS_A_STATE)
    for saved_left in range(num_saved_here):
        saved_step = begin + (num_saved_here - 1 - saved_left) * STEPS_A_STATE
        saved_row = (batch * num_saved + saved_step // STEPS_A_STATE) * channels * N
        state = tl.load(saved_states + saved_row + tile, mask=exists, other=0.0)
        num_spans = tl.cdiv(tl.minimum(end - saved_step, STEPS_A_STATE), SPAN)
        # Triton does not order what different threads of a program do in memory.
        tl.debug_barrier()
        for span in range(num_spans):
            tl.store(spans + span * span_size, state)
            for index in tl.static_range(SPAN):
                step = saved_step + span * SPAN + index
                state = replayed_state(
                    state, rate, x, dt, B, bias, batch, step, end, length, channel, channels, N, SOFTPLUS, REVERSE
                )
        tl.debug_barrier()
        for spans_left in range(num_spans):
            span = num_spans - 1 - spans_left
            state = tl.load(spans + span * span_size)
            states = (state,)
            for index in tl.static_range(SPAN - 1):
                step = saved_step + span * SPAN + index
                state = replayed_state(
                    state, rate, x, dt, B, bias, batch, step, end, length, channel, channels, N, SOFTPLUS, REVERSE
                )
                states = states + (state,)  # type: ignore[assignment]  # noqa: RUF005 - a tuple grows in Triton only so
            for index_left in tl.static_range(SPAN):
                step = saved_step + span * SPAN + SPAN - 1 - index_left
                lanes = channel < tl.where(step < end, channels, 0)
                entries = entry < tl.where(step < end, N, 0)
                time = in_memory(step, length, REVERSE)
                x_row, raw, sizes, writes = load_step(
                    x, dt, B, bias, batch, time, channel, lanes, entry, entries, rate.dtype, SOFTPLUS
                )
                inputs = sizes * x_row
                decay = tl.exp2(sizes[:, None] * rate)
                # Not h[t] - s B x, which would lose the digits of a small decayed state.
                decayed = decay * states[SPAN - 1 - index_left]
                grad_x_row = tl.zeros([BLOCK_E], rate.dtype)
                if step == output_step:
                    slot = in_memory(output, num_outputs, REVERSE)
                    reads = load_row(C, batch, slot, entry, entry < N, rate.dtype)
                    state = decayed + inputs[:, None] * writes[None, :]
                    grad_read = load_row(grad_y, batch, slot, channel, channel_exists, rate.dtype)
                    if z is not None:
                        gate = load_row(z, batch, slot, channel, channel_exists, rate.dtype)
                        ungated = tl.sum(state * reads[None, :], axis=1) + skip * x_row
                        open_part = sigmoid(gate)
                        grad_gate = grad_read * ungated * open_part * (1.0 + gate * (1.0 - open_part))
                        grad_z_rows = grad_z + (batch * num_outputs + slot) * channels
                        tl.store(grad_z_rows + channel, grad_gate.to(grad_z.dtype.element_ty), mask=channel_exists)
                        grad_read *= gate * open_part
                    grad_reads = tl.sum(grad_read[:, None] * state, axis=0)
                    tl.store(grad_C_parts + (parts_row * num_outputs + slot) * N + entry, grad_reads, mask=entry < N)
                    adjoint += grad_read[:, None] * reads[None, :]
                    grad_x_row += grad_read * skip
                    grad_D += grad_read * x_row
                    output, output_step = output_before(output_steps, output)
                grad_writes = tl.sum(adjoint * inputs[:, None], axis=0)
                tl.store(grad_B_parts + (parts_row * length + time) * N + entry, grad_writes, mask=entries)
                grad_inputs = tl.sum(adjoint * writes[None, :], axis=1)
                grad_decayed = adjoint * decayed
                grad_A += grad_decayed * sizes[:, None]
                # Rates are A / ln(2).
                grad_raw = x_row * grad_inputs + LN_2 * tl.sum(grad_decayed * rate, axis=1)
                if SOFTPLUS:
                    grad_raw *= sigmoid(raw)
                grad_raw = tl.where(lanes, grad_raw, 0.0)
                grad_bias += grad_raw
                grad_x_row += sizes * grad_inputs
                time_row = (batch * length + time) * channels + channel
                tl.store(grad_x + time_row, grad_x_row.to(grad_x.dtype.element_ty), mask=lanes)
                tl.store(grad_dt + time_row, grad_raw.to(grad_dt.dtype.element_ty), mask=lanes)
                adjoint *= decay

    tl.store(grad_A_parts + chunk_row * channels * N + tile, grad_A, mask=exists)
    parts_channel = chunk_row * channels + channel
    if D is not None:
        tl.store(grad_D_parts + parts_channel, grad_D, mask=channel_exists)
    if dt_bias is not None:
        tl.store(grad_bias_parts + parts_channel, grad_bias, mask=channel_exists)
    if chunk == 0:
        tl.store(grad_initial_state + batch * channels * N + tile, adjoint, mask=exists)
