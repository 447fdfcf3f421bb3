"""Rows of one sequence in, Mamba-2's scan of some of its heads out: the loops of the CPU implementation.

The equations are those of the README, "Chunks", for chunks of `TILE` steps, whose outputs and inputs stay in a core's
registers while it goes once through the state: two operations a step for each entry of the state, where the recurrence
has three. Sums within a tile are written out, so that nothing reaches an earlier step. Import needs numba.

Shapes: L length, H heads, P width of a head, G groups, R = H / G, N state, W width in whole vectors, K tiles of a
stretch, J = TILE steps, S pieces. x, B and C are flat, as they lie in memory, with the distance of neighbours beside
them. A tensor that is not given is an array of size 0.
"""

from typing import Any

import numpy as np

from bimba.ops.ssd.lanes import LANE_BYTES, add_product, multiply, nothing, read, spread, write
from bimba.ops.vector_math import LOG2_E, exp2, vectorised

TILE = 8
"""Steps that go through the state together: two vectors for each must fit into the registers."""

STRETCH_STEPS = 256
"""Steps done of one head, then of the next: their rows of B and C are laid out once and fit into a core's cache."""

MOST_GROWTH = 2.0**32
"""Of a state within a tile; products of decays beyond it might overflow where the state does not."""

_SINGLE_STEPS = 2
"""Steps of a tile up to which it is quicker to take them one by one."""

_COLUMNS = 2 * TILE
_ENTERING, _LEAVING, _WHOLE = TILE * TILE, TILE * TILE + TILE, TILE * TILE + 2 * TILE
"""Where the shares of a tile are, behind those between its steps [J (t), J (j)]."""

# Products and sums may become one instruction (fma); nothing else may change.
_EXACT = {"contract"}


@vectorised(_EXACT)
def _find_tiles(starts: Any, begin: int, end: int, tiles: Any) -> int:
    """First step and number of steps of the tiles of begin..end -> tiles [K, 2]; none goes beyond a sequence."""
    number = 0
    while begin < end:
        last = begin + 1
        while last < min(begin + TILE, end) and not (starts.size and starts[last]):
            last += 1
        tiles[number, 0], tiles[number, 1] = begin, last - begin
        number, begin = number + 1, last
    return number


@vectorised(_EXACT)
def _lay_out(B: Any, B_step: int, C: Any, C_step: int, begin: int, num_steps: int, state_dim: int, rows: Any) -> None:
    """A tile's rows of C and B -> rows, flat [N, 2 J], zero behind its end."""
    if num_steps < TILE:
        rows[: state_dim * _COLUMNS] = 0.0
    for j in range(num_steps):
        read_at, written_at = (begin + j) * C_step, (begin + j) * B_step
        for n in range(state_dim):
            rows[n * _COLUMNS + j] = C[read_at + n]
            rows[n * _COLUMNS + TILE + j] = B[written_at + n]


@vectorised(_EXACT)
def _multiply_rows(rows: Any, state_dim: int, products: Any) -> None:
    """C[t] . B[j] of a tile's rows, flat [N, 2 J] -> products, flat [J (t), 2 J], where j <= t; elsewhere anything."""
    for first in range(0, TILE, LANE_BYTES // rows.itemsize):
        c0 = c1 = c2 = c3 = c4 = c5 = c6 = c7 = nothing(rows)
        for n in range(state_dim):
            place = n * _COLUMNS
            writes = read(rows, place + TILE + first)
            c0 = add_product(c0, spread(rows, place), writes)
            c1 = add_product(c1, spread(rows, place + 1), writes)
            c2 = add_product(c2, spread(rows, place + 2), writes)
            c3 = add_product(c3, spread(rows, place + 3), writes)
            c4 = add_product(c4, spread(rows, place + 4), writes)
            c5 = add_product(c5, spread(rows, place + 5), writes)
            c6 = add_product(c6, spread(rows, place + 6), writes)
            c7 = add_product(c7, spread(rows, place + 7), writes)
        write(products, first, c0)
        write(products, _COLUMNS + first, c1)
        write(products, 2 * _COLUMNS + first, c2)
        write(products, 3 * _COLUMNS + first, c3)
        write(products, 4 * _COLUMNS + first, c4)
        write(products, 5 * _COLUMNS + first, c5)
        write(products, 6 * _COLUMNS + first, c6)
        write(products, 7 * _COLUMNS + first, c7)


@vectorised(_EXACT)
def _find_shares(steps: Any, decays: Any, num_steps: int, products: Any, smallest: float, shares: Any) -> None:
    """What is left between the steps of a tile, as factors of x and of the state -> shares.

    What is below the smallest share is nothing: numbers without all their digits take a hundred times as long.
    """
    shares[_ENTERING:] = 0.0
    share = decays.dtype.type(1.0)
    for t in range(num_steps):
        share *= decays[t]
        if share < smallest:
            share *= 0.0
        shares[_ENTERING + t] = share
    shares[_WHOLE] = share
    for j in range(num_steps):
        share = decays.dtype.type(1.0)
        for t in range(j, num_steps):
            if t > j:
                share *= decays[t]
            if share < smallest:
                share *= 0.0
            shares[t * TILE + j] = share * steps[j] * products[t * _COLUMNS + j]
        shares[_LEAVING + j] = share * steps[j]


@vectorised(_EXACT)
def _take_together(h: Any, state_dim: int, width: int, rows: Any, x: Any, num_steps: int, shares: Any, y: Any) -> None:
    """Take h [N, W] over a tile: y [J, W] of its x [J, W] and its rows of C and B [N, 2 J]; all of them are flat."""
    for p in range(0, width, LANE_BYTES // x.itemsize):
        u0 = multiply(spread(shares, _LEAVING), read(x, p))
        u1 = multiply(spread(shares, _LEAVING + 1), read(x, width + p))
        u2 = multiply(spread(shares, _LEAVING + 2), read(x, 2 * width + p))
        u3 = multiply(spread(shares, _LEAVING + 3), read(x, 3 * width + p))
        u4 = multiply(spread(shares, _LEAVING + 4), read(x, 4 * width + p))
        u5 = multiply(spread(shares, _LEAVING + 5), read(x, 5 * width + p))
        u6 = multiply(spread(shares, _LEAVING + 6), read(x, 6 * width + p))
        u7 = multiply(spread(shares, _LEAVING + 7), read(x, 7 * width + p))
        whole = spread(shares, _WHOLE)
        y0 = y1 = y2 = y3 = y4 = y5 = y6 = y7 = nothing(x)
        for n in range(state_dim):
            place = n * _COLUMNS
            entry = read(h, n * width + p)
            y0 = add_product(y0, spread(rows, place), entry)
            y1 = add_product(y1, spread(rows, place + 1), entry)
            y2 = add_product(y2, spread(rows, place + 2), entry)
            y3 = add_product(y3, spread(rows, place + 3), entry)
            y4 = add_product(y4, spread(rows, place + 4), entry)
            y5 = add_product(y5, spread(rows, place + 5), entry)
            y6 = add_product(y6, spread(rows, place + 6), entry)
            y7 = add_product(y7, spread(rows, place + 7), entry)
            entry = multiply(whole, entry)
            entry = add_product(entry, spread(rows, place + 8), u0)
            entry = add_product(entry, spread(rows, place + 9), u1)
            entry = add_product(entry, spread(rows, place + 10), u2)
            entry = add_product(entry, spread(rows, place + 11), u3)
            entry = add_product(entry, spread(rows, place + 12), u4)
            entry = add_product(entry, spread(rows, place + 13), u5)
            entry = add_product(entry, spread(rows, place + 14), u6)
            entry = add_product(entry, spread(rows, place + 15), u7)
            write(h, n * width + p, entry)
        write(y, p, y0)
        write(y, width + p, y1)
        write(y, 2 * width + p, y2)
        write(y, 3 * width + p, y3)
        write(y, 4 * width + p, y4)
        write(y, 5 * width + p, y5)
        write(y, 6 * width + p, y6)
        write(y, 7 * width + p, y7)
        for t in range(num_steps):
            total = multiply(spread(shares, _ENTERING + t), read(y, t * width + p))
            for j in range(t + 1):
                total = add_product(total, spread(shares, t * TILE + j), read(x, j * width + p))
            write(y, t * width + p, total)


@vectorised(_EXACT)
def _take_one_by_one(
    h: Any, state_dim: int, width: int, rows: Any, x: Any, num_steps: int, steps: Any, decays: Any, y: Any
) -> None:
    """The same by the recurrence."""
    u = np.empty(width, x.dtype)
    for j in range(num_steps):
        for p in range(width):
            u[p] = steps[j] * x[j * width + p]
            y[j * width + p] = 0.0
        for n in range(state_dim):
            reads, writes = rows[n * _COLUMNS + j], rows[n * _COLUMNS + TILE + j]
            for p in range(width):
                entry = decays[j] * h[n * width + p] + writes * u[p]
                h[n * width + p] = entry
                y[j * width + p] += reads * entry


@vectorised(_EXACT)
def _find_decays(steps: Any, begin: int, end: int, head: int, A: Any, sizes: Any, decays: Any) -> None:
    """The steps begin..end of a head, of steps [L, H] -> their sizes and decays."""
    rate = A[head] * A.dtype.type(LOG2_E)
    for j in range(end - begin):
        sizes[j] = steps[begin + j, head]
    for j in range(end - begin):
        decays[j] = exp2(sizes[j] * rate)


@vectorised(_EXACT)
def _growth(decays: Any, num_steps: int) -> Any:
    """Largest factor by which a tile's steps, or some of them, let the state grow."""
    growth = decays.dtype.type(1.0)
    for j in range(num_steps):
        if decays[j] > 1.0:
            growth *= decays[j]
    return growth


@vectorised(_EXACT)
def _load_state(state: Any, width: int, h: Any) -> None:
    """State [P, N] -> h, flat [N, W]."""
    for n in range(state.shape[1]):
        for p in range(state.shape[0]):
            h[n * width + p] = state[p, n]


@vectorised(_EXACT)
def _store_state(h: Any, width: int, state: Any) -> None:
    """Store h, flat [N, W], as state [P, N]."""
    for p in range(state.shape[0]):
        for n in range(state.shape[1]):
            state[p, n] = h[n * width + p]


@vectorised(_EXACT)
def _save_state(h: Any, width: int, first: int, last: int, saved: Any) -> None:
    """Store h, flat [N, W], in the columns first..last of a saved state [N, R * P]."""
    for n in range(saved.shape[0]):
        for p in range(last - first):
            saved[n, first + p] = h[n * width + p]


@vectorised(_EXACT)
def _load_inputs(
    x: Any, begin: int, end: int, step: tuple[int, int], num_channels: int, width: int, inputs: Any
) -> None:
    """Inputs of the steps begin..end of neighbouring heads -> inputs, flat [J + stretch, W] for each head.

    All heads of a step at a time: so they stand in memory, and so they come from there in time.
    """
    for t in range(begin, end):
        for head in range(inputs.shape[0]):
            for p in range(num_channels):
                inputs[head, (t - begin) * width + p] = x[t * step[0] + head * step[1] + p]


@vectorised(_EXACT)
def _store_outputs(outputs: Any, inputs: Any, D: Any, first: int, begin: int, end: int, width: int, y: Any) -> None:
    """Store outputs + D x, as they are laid out by `_load_inputs`, in y [L, H, P]."""
    for t in range(begin, end):
        for head in range(inputs.shape[0]):
            at = (t - begin) * width
            for p in range(y.shape[2]):
                y[t, first + head, p] = outputs[head, at + p]
            if D.size:
                for p in range(y.shape[2]):
                    y[t, first + head, p] += D[first + head, p] * inputs[head, at + p]


@vectorised(_EXACT)
def scan_heads(
    x: Any,
    x_step: tuple[int, int],
    steps: Any,
    A: Any,
    B: Any,
    B_step: int,
    C: Any,
    C_step: int,
    D: Any,
    initial_state: Any,
    starts: Any,
    piece_steps: int,
    first: int,
    last: int,
    y: Any,
    final_state: Any,
    saved: Any,
    item: int,
    group: int,
) -> None:
    """Scan the heads first..last of one sequence, which belong to one group.

    Args:
        x: flat.
        x_step: in x, from a step to the next, and from a head to the next.
        steps: [L, H].
        A: [H].
        B, C: flat, of the group.
        B_step, C_step: in B and C, from a step to the next.
        D: [H, P].
        initial_state: [H, P, N].
        starts: whether a sequence starts, which is not the first, [L].
        piece_steps: steps of a piece.
        first, last: heads to do.
        y: result [L, H, P].
        final_state: result [H, P, N].
        saved: result [S, B, G, N, R * P], the states before the pieces; none are saved if S is 0.
        item: of the batch, for saved.
        group: for saved.
    """
    length, num_channels, state_dim = y.shape[0], y.shape[2], final_state.shape[2]
    lanes, num_heads = LANE_BYTES // y.itemsize, last - first
    width, most = -(-num_channels // lanes) * lanes, min(length, STRETCH_STEPS)
    h = np.zeros((num_heads, state_dim * width), y.dtype)
    inputs, outputs = (
        np.zeros((num_heads, most * width), y.dtype),
        np.empty((num_heads, (most + TILE) * width), y.dtype),
    )
    tiles, rows = np.empty((most, 2), np.int64), np.empty((most, (state_dim + 1) * _COLUMNS), y.dtype)
    products, shares = np.empty((most, TILE * _COLUMNS), y.dtype), np.empty(_WHOLE + 1, y.dtype)
    sizes, decays, few = np.empty(most, y.dtype), np.empty(most, y.dtype), np.zeros(TILE * width, y.dtype)
    smallest = np.finfo(y.dtype).tiny * y.dtype.type(2.0**26)
    rows[:, state_dim * _COLUMNS :] = 0.0  # a vector may reach beyond the last row
    if initial_state.size:
        for i in range(num_heads):
            _load_state(initial_state[first + i], width, h[i])
    begin = 0
    while begin < length:
        end = min(begin + STRETCH_STEPS, (begin // piece_steps + 1) * piece_steps, length)
        _load_inputs(x[first * x_step[1] :], begin, end, x_step, num_channels, width, inputs)
        num_tiles = _find_tiles(starts, begin, end, tiles)
        for k in range(num_tiles):
            _lay_out(B, B_step, C, C_step, tiles[k, 0], tiles[k, 1], state_dim, rows[k])
            _multiply_rows(rows[k], state_dim, products[k])
        for i in range(num_heads):
            state = h[i]
            if saved.shape[0] and begin % piece_steps == 0:
                column = (first + i - group * (y.shape[1] // saved.shape[2])) * num_channels
                _save_state(state, width, column, column + num_channels, saved[begin // piece_steps, item, group])
            _find_decays(steps, begin, end, first + i, A, sizes, decays)
            for k in range(num_tiles):
                t, num_steps = tiles[k, 0] - begin, tiles[k, 1]
                if starts.size and starts[begin + t]:
                    state[:] = 0.0
                s, d, u, out = sizes[t:], decays[t:], inputs[i, t * width :], outputs[i, t * width :]
                if num_steps <= _SINGLE_STEPS or _growth(d, num_steps) > MOST_GROWTH:
                    _take_one_by_one(state, state_dim, width, rows[k], u, num_steps, s, d, out)
                    continue
                if num_steps < TILE:
                    # What stands behind the tile must not reach it, not even times zero.
                    few[num_steps * width :] = 0.0
                    few[: num_steps * width] = u[: num_steps * width]
                    u = few
                _find_shares(s, d, num_steps, products[k], smallest, shares)
                _take_together(state, state_dim, width, rows[k], u, num_steps, shares, out)
        _store_outputs(outputs, inputs, D, first, begin, end, width, y)
        begin = end
    for i in range(num_heads):
        _store_state(h[i], width, final_state[first + i])
