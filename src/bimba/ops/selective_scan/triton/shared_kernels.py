"""What the kernels of the Triton scan share, and the one that joins chunks: rows in, steps and states out.

A sequence is cut into chunks that are scanned side by side. A chunk changes the state it is entered with in a way that
is known without knowing that state, h -> decay h + end, with decay = exp(A sum(s)) and `end` what a scan from zero
ends with. So one pass finds `end` for all chunks, a short one carries the true state over the chunks, and a last one
scans every chunk from its true entry state. The adjoint goes back over the chunks in the same way.

Shapes: B batch, L length, E channels, N state, Q outputs, K chunks. A program works on `BLOCK_E` channels of one
sequence; a state is the tile [BLOCK_E, BLOCK_N]. Time is counted in the order of the scan ("step"); where a step
stands in memory is found by `in_memory`. Rates are A log2(e), so that exp(s A) is exp2(s rates).
"""

# Triton has no types, and gives its functions a meaning of its own.
# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator, no-untyped-def, no-untyped-call"
# mypy: no-check-untyped-defs

import math

import triton
import triton.language as tl

LENGTHS = ("length", "num_outputs", "chunk_length", "num_saved", "num_chunks")
"""Arguments that change from one video to the next: kernels are not compiled anew for odd, even or single ones."""

LN_2 = tl.constexpr(math.log(2))


@triton.jit
def in_memory(step, count, REVERSE: tl.constexpr):
    """Return the index in memory of what comes `step`-th of `count` in the order of the scan."""
    return count - 1 - step if REVERSE else step


@triton.jit
def program_channels(channels, BLOCK_E: tl.constexpr):
    """Return the channels of this program [BLOCK_E] and which of them exist; int64, as L E may pass 2^31."""
    channel = tl.program_id(0).to(tl.int64) * BLOCK_E + tl.arange(0, BLOCK_E)
    return channel, channel < channels


@triton.jit
def state_tile(channel, channel_exists, N: tl.constexpr, BLOCK_N: tl.constexpr):
    """Return the offsets of a state tile in a tensor [E, N], and which of its entries exist."""
    entry = tl.arange(0, BLOCK_N)
    offsets = channel[:, None] * N + entry[None, :]
    return offsets, channel_exists[:, None] & (entry < N)[None, :]


@triton.jit
def load_row(rows, batch, row, columns, mask, dtype: tl.constexpr):
    """Return one row of `rows`, (tensor [B, rows, columns], *strides), in the state's precision; zero where masked."""
    first_row = rows[0] + batch * rows[1] + columns * rows[3]
    # The interpreter's loops count in Python's integers, which would take the width of the stride.
    return tl.load(first_row + tl.cast(row, tl.int64) * rows[2], mask=mask, other=0.0).to(dtype)


@triton.jit
def load_vector(vector, index, mask, dtype: tl.constexpr):
    """Return entries of a vector in the precision of the state; zeros if there is none (None)."""
    values = tl.zeros(index.shape, dtype)
    if vector is not None:
        values = tl.load(vector + index, mask=mask, other=0.0).to(dtype)
    return values


@triton.jit
def step_sizes(raw, exists, SOFTPLUS: tl.constexpr):
    """Return s from dt + dt_bias; zero, a step that changes nothing, where none exists."""
    if SOFTPLUS:
        # log(1 + u) with u = exp(-|raw|), multiplied by u / ((1 + u) - 1) to undo the rounding of 1 + u.
        u = tl.exp(-tl.abs(raw))
        rounded = 1.0 + u
        is_one = rounded == 1.0
        log1p = tl.where(is_one, u, tl.log(rounded) * (u / tl.where(is_one, 1.0, rounded - 1.0)))
        raw = tl.maximum(raw, 0.0) + log1p
    return tl.where(exists, raw, 0.0)


@triton.jit
def sigmoid(values):
    """Return 1 / (1 + exp(-values)), with an exponential that cannot overflow."""
    u = tl.exp(-tl.abs(values))
    return tl.where(values >= 0.0, 1.0, u) / (1.0 + u)


@triton.jit
def load_step(
    x,
    dt,
    B,
    bias,
    batch,
    time,
    channel,
    channel_exists,
    entry,
    entry_exists,
    dtype: tl.constexpr,
    SOFTPLUS: tl.constexpr,
):
    """Return what enters the scan at one time: x, dt + dt_bias and s, each [BLOCK_E], and B [BLOCK_N]."""
    x_row = load_row(x, batch, time, channel, channel_exists, dtype)
    raw = load_row(dt, batch, time, channel, channel_exists, dtype) + bias
    writes = load_row(B, batch, time, entry, entry_exists, dtype)
    return x_row, raw, step_sizes(raw, channel_exists, SOFTPLUS), writes


@triton.jit
def next_state(state, rates, sizes, inputs, writes):
    """Return exp(s A) h + (s x) B; `sizes` s and `inputs` s x are [BLOCK_E], `writes` B is [BLOCK_N]."""
    return tl.exp2(sizes[:, None] * rates) * state + inputs[:, None] * writes[None, :]


@triton.jit(do_not_specialize=LENGTHS)
def carry_over_chunks(
    entry_states,
    chunk_states,
    chunk_step_sums,
    first_state,
    rates,
    num_chunks,
    channels,
    N: tl.constexpr,
    BACKWARD: tl.constexpr,
    BLOCK_E: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """Write what each chunk is entered with [B, K, E, N], from what it makes of zero [B, K, E, N].

    `BACKWARD` carries adjoints from the last chunk to the first one, states go from the first to the last.
    """
    channel, channel_exists = program_channels(channels, BLOCK_E)
    batch = tl.program_id(1).to(tl.int64)
    tile, exists = state_tile(channel, channel_exists, N, BLOCK_N)
    rate = tl.load(rates + tile, mask=exists, other=0.0)
    state = tl.load(first_state + batch * channels * N + tile, mask=exists, other=0.0)
    for index in range(num_chunks):
        chunk = batch * num_chunks + in_memory(index, num_chunks, BACKWARD)
        step_sum = tl.load(chunk_step_sums + chunk * channels + channel, mask=channel_exists, other=0.0)
        chunk_tile = chunk * channels * N + tile
        tl.store(entry_states + chunk_tile, state, mask=exists)
        from_zero = tl.load(chunk_states + chunk_tile, mask=exists, other=0.0)
        state = tl.exp2(step_sum[:, None] * rate) * state + from_zero
