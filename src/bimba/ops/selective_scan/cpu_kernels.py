"""Rows of one sequence in, its scan or the scan's gradients out: the loops of the CPU implementation.

Each call does the channels first..last of one sequence, up to `LANES` at a time, and shares nothing that it writes with
calls for other channels; so calls run side by side. The lanes are channels, since those are neighbours in memory and
do not talk to each other. Import needs numba.

Shapes: L length, E channels, N state, Q positions asked for (L if all), S saved states, J = STEPS_A_STATE,
W lanes. A tensor that is not given is an array of size 0.
"""

from typing import Any

import numpy as np

from bimba.ops.selective_scan.arguments import STEPS_A_STATE
from bimba.ops.vector_math import LOG2_E, exp2, sigmoid, softplus, vectorised

LANES = 256
"""Most channels done together: enough to hide the latency of exponentials, few enough for the cache to hold states."""

_TILE = 16
"""Steps whose inputs are fetched and whose outputs are finished together; a divisor of STEPS_A_STATE."""

# Sums over the lanes may be taken in any order, which is the same order each time; elsewhere only fma.
_SUMS = {"contract", "reassoc"}
_EXACT = {"contract"}


@vectorised(_EXACT)
def _load_rates(A: Any, first: int, width: int, rates: Any) -> None:
    """A [E, N] -> rates [N, W] for powers of two; lanes beyond the last channel do not fade."""
    for n in range(rates.shape[0]):
        for i in range(width):
            rates[n, i] = A[first + i, n] * LOG2_E
        for i in range(width, rates.shape[1]):
            rates[n, i] = 0.0


@vectorised(_EXACT)
def _load_state(state: Any, first: int, width: int, h: Any) -> None:
    """State [E, N] -> h [N, W]; zeros where there is none."""
    h[:] = 0.0
    if state.size:
        for n in range(h.shape[0]):
            for i in range(width):
                h[n, i] = state[first + i, n]


@vectorised(_EXACT)
def _store_state(h: Any, first: int, width: int, state: Any) -> None:
    """Store h [N, W] as state [E, N]."""
    for i in range(width):
        for n in range(h.shape[0]):
            state[first + i, n] = h[n, i]


@vectorised(_EXACT)
def _load_steps(
    x: Any,
    dt: Any,
    dt_bias: Any,
    dt_softplus: bool,
    reverse: bool,
    begin: int,
    end: int,
    first: int,
    width: int,
    s: Any,
    u: Any,
) -> None:
    """The steps begin..end of x and dt [L, E] -> their sizes s and inputs u = s x [end - begin, W]."""
    length = x.shape[0]
    for j in range(end - begin):
        t = length - 1 - begin - j if reverse else begin + j
        for i in range(width):
            s[j, i] = dt[t, first + i]
        if dt_bias.size:
            for i in range(width):
                s[j, i] += dt_bias[first + i]
    if dt_softplus:
        every = s.ravel()
        for i in range((end - begin) * s.shape[1]):
            every[i] = softplus(every[i])
    for j in range(end - begin):
        t = length - 1 - begin - j if reverse else begin + j
        for i in range(width):
            u[j, i] = s[j, i] * x[t, first + i]


@vectorised(_EXACT)
def _step(rates: Any, s: Any, u: Any, j: int, B: Any, t: int, h: Any, place: int) -> None:
    """Set h[place + 1] <- exp(s A) h[place] + B u, of the row j of s and u and the row t of B [L, N]."""
    for n in range(h.shape[1]):
        write = B[t, n]
        for i in range(h.shape[2]):
            h[place + 1, n, i] = exp2(s[j, i] * rates[n, i]) * h[place, n, i] + write * u[j, i]


@vectorised(_EXACT)
def _step_in_place(rates: Any, s: Any, u: Any, j: int, B: Any, t: int, h: Any) -> None:
    """Set h <- exp(s A) h + B u, of the row j of s and u and the row t of B [L, N]."""
    for n in range(h.shape[0]):
        write = B[t, n]
        for i in range(h.shape[1]):
            h[n, i] = exp2(s[j, i] * rates[n, i]) * h[n, i] + write * u[j, i]


@vectorised(_EXACT)
def _step_and_read(rates: Any, s: Any, u: Any, j: int, B: Any, t: int, C: Any, slot: int, h: Any, y: Any) -> None:
    """The same, and y = C . h [W], of the row slot of C [Q, N]."""
    for i in range(h.shape[1]):
        y[i] = 0.0
    for n in range(h.shape[0]):
        write, read = B[t, n], C[slot, n]
        for i in range(h.shape[1]):
            entry = exp2(s[j, i] * rates[n, i]) * h[n, i] + write * u[j, i]
            h[n, i] = entry
            y[i] += read * entry


@vectorised(_EXACT)
def _store_output(read: Any, x: Any, t: int, D: Any, z: Any, slot: int, first: int, width: int, y: Any) -> None:
    """(C . h + D x) silu(z) -> the row slot of y [Q, E]; of the row t of x [L, E] and the row slot of z [Q, E]."""
    if D.size:
        for i in range(width):
            read[i] += D[first + i] * x[t, first + i]
    if z.size:
        for i in range(width):
            gate = z[slot, first + i]
            read[i] *= gate * sigmoid(gate)
    for i in range(width):
        y[slot, first + i] = read[i]


@vectorised(_EXACT)
def scan_forward(
    x: Any,
    dt: Any,
    A: Any,
    B: Any,
    C: Any,
    D: Any,
    z: Any,
    dt_bias: Any,
    initial_state: Any,
    positions: Any,
    dt_softplus: bool,
    reverse: bool,
    first: int,
    last: int,
    y: Any,
    final_state: Any,
    saved_states: Any,
) -> None:
    """Scan the channels first..last of one sequence.

    Args:
        x, dt: [L, E].
        A: [E, N].
        B: [L, N].
        C: [Q, N].
        D, dt_bias: [E].
        z: [Q, E].
        initial_state: [E, N].
        positions: int64 [Q].
        dt_softplus, reverse: as of `selective_scan`.
        first, last: channels to do.
        y: result [Q, E].
        final_state: result [E, N].
        saved_states: result [S, E, N], the states before the steps 0, J, 2 J, ...; none are saved if S is 0.
    """
    length, state_dim, num_asked = x.shape[0], A.shape[1], positions.shape[0]
    lanes = min(LANES, last - first)
    rates, h = np.empty((state_dim, lanes), x.dtype), np.empty((state_dim, lanes), x.dtype)
    s, u, read = np.zeros((_TILE, lanes), x.dtype), np.zeros((_TILE, lanes), x.dtype), np.empty(lanes, x.dtype)
    for start in range(first, last, lanes):
        width = min(lanes, last - start)
        _load_rates(A, start, width, rates)
        _load_state(initial_state, start, width, h)
        slot = num_asked - 1 if reverse else 0
        for begin in range(0, length, _TILE):
            end = min(begin + _TILE, length)
            if saved_states.shape[0] and begin % STEPS_A_STATE == 0:
                _store_state(h, start, width, saved_states[begin // STEPS_A_STATE])
            _load_steps(x, dt, dt_bias, dt_softplus, reverse, begin, end, start, width, s, u)
            for step in range(begin, end):
                t = length - 1 - step if reverse else step
                if 0 <= slot < num_asked and positions[slot] == t:
                    _step_and_read(rates, s, u, step - begin, B, t, C, slot, h, read)
                    _store_output(read, x, t, D, z, slot, start, width, y)
                    slot += -1 if reverse else 1
                else:
                    _step_in_place(rates, s, u, step - begin, B, t, h)
        _store_state(h, start, width, final_state)


@vectorised(_SUMS)
def _gate_back(
    C: Any, slot: int, h: Any, place: int, x: Any, t: int, D: Any, z: Any, first: int, width: int,
    ungated: Any, y_grad: Any, z_grad: Any,
) -> None:  # fmt: skip
    """Through y = (C . h + D x) silu(z): sets a row of z' [Q, E], and y' [W] becomes the gradient before the gate."""
    for i in range(h.shape[2]):
        ungated[i] = 0.0
    for n in range(h.shape[1]):
        read = C[slot, n]
        for i in range(h.shape[2]):
            ungated[i] += read * h[place, n, i]
    if D.size:
        for i in range(width):
            ungated[i] += D[first + i] * x[t, first + i]
    for i in range(width):
        gate = z[slot, first + i]
        open_share = sigmoid(gate)
        opened = gate * open_share
        z_grad[slot, first + i] = y_grad[i] * ungated[i] * (open_share + opened - opened * open_share)
        y_grad[i] *= opened


@vectorised(_SUMS)
def _read_back(C: Any, slot: int, h: Any, place: int, y_grad: Any, C_grad: Any, g: Any) -> None:
    """Through y = C . h: g [N, W] += C y', and y' . h is added to a row of C' [Q, N]."""
    for n in range(g.shape[0]):
        read, total = C[slot, n], g.dtype.type(0.0)
        for i in range(g.shape[1]):
            g[n, i] += read * y_grad[i]
            total += y_grad[i] * h[place, n, i]
        C_grad[slot, n] += total


@vectorised(_SUMS)
def _step_back(
    rates: Any, s: Any, u: Any, j: int, B: Any, t: int, h: Any, g: Any,
    s_grad: Any, u_grad: Any, B_grad: Any, A_total: Any,
) -> None:  # fmt: skip
    """Through one step: g, the gradient of the state after it, becomes that of the state h[j] before it.

    Sets u' [W] and s' [W] (by the decay alone, and times log2(e)); adds to a row of B' [L, N] and to the gradient of A
    [N, W].
    """
    for i in range(g.shape[1]):
        s_grad[i] = 0.0
        u_grad[i] = 0.0
    for n in range(g.shape[0]):
        write, total = B[t, n], g.dtype.type(0.0)
        for i in range(g.shape[1]):
            entry = g[n, i]
            total += entry * u[j, i]
            u_grad[i] += write * entry
            faded = exp2(s[j, i] * rates[n, i]) * entry
            through = faded * h[j, n, i]
            s_grad[i] += through * rates[n, i]
            A_total[n, i] += through * s[j, i]
            g[n, i] = faded
        B_grad[t, n] += total


@vectorised(_EXACT)
def _store_step_gradients(
    x: Any, dt: Any, t: int, dt_bias: Any, dt_softplus: bool, first: int, width: int, s: Any, j: int,
    s_grad: Any, u_grad: Any, x_grad: Any, dt_grad: Any, bias_total: Any,
) -> None:  # fmt: skip
    """Gradients of s and u [W] -> those of the row t of x and dt [L, E]; x' is added to."""
    for i in range(width):
        x_grad[t, first + i] += u_grad[i] * s[j, i]
        s_grad[i] = s_grad[i] / LOG2_E + u_grad[i] * x[t, first + i]
    if dt_softplus:
        # The derivative of softplus. From its value it would be 1 - exp(-s), which small steps would cancel.
        if dt_bias.size:
            for i in range(width):
                s_grad[i] *= sigmoid(dt[t, first + i] + dt_bias[first + i])
        else:
            for i in range(width):
                s_grad[i] *= sigmoid(dt[t, first + i])
    for i in range(width):
        dt_grad[t, first + i] = s_grad[i]
        bias_total[i] += s_grad[i]


@vectorised(_EXACT)
def scan_backward(
    x: Any,
    dt: Any,
    A: Any,
    B: Any,
    C: Any,
    D: Any,
    z: Any,
    dt_bias: Any,
    positions: Any,
    dt_softplus: bool,
    reverse: bool,
    first: int,
    last: int,
    saved_states: Any,
    y_grad: Any,
    state_grad: Any,
    x_grad: Any,
    dt_grad: Any,
    A_grad: Any,
    B_grad: Any,
    C_grad: Any,
    D_grad: Any,
    z_grad: Any,
    dt_bias_grad: Any,
    initial_grad: Any,
) -> None:
    """Gradients of the channels first..last of one sequence, from the end of the scan to its start.

    The states of J steps at a time are recomputed from the saved one before them.

    Args:
        x, dt, A, B, C, D, z, dt_bias, positions, dt_softplus, reverse, first, last: as of `scan_forward`.
        saved_states: [S, E, N].
        y_grad: [Q, E].
        state_grad: of the final state [E, N].
        x_grad, dt_grad: results [L, E].
        A_grad: result [E, N].
        B_grad: [L, N], added to.
        C_grad: [Q, N], added to.
        D_grad, dt_bias_grad: results [E].
        z_grad: result [Q, E].
        initial_grad: result [E, N].
    """
    length, state_dim, num_asked = x.shape[0], A.shape[1], positions.shape[0]
    lanes = min(LANES, last - first)
    rates, g = np.empty((state_dim, lanes), x.dtype), np.empty((state_dim, lanes), x.dtype)
    h = np.empty((STEPS_A_STATE + 1, state_dim, lanes), x.dtype)
    s, u = np.zeros((STEPS_A_STATE, lanes), x.dtype), np.zeros((STEPS_A_STATE, lanes), x.dtype)
    s_grad, u_grad, out_grad = np.empty(lanes, x.dtype), np.empty(lanes, x.dtype), np.zeros(lanes, x.dtype)
    A_total, D_total, bias_total = np.empty_like(rates), np.empty(lanes, x.dtype), np.empty(lanes, x.dtype)
    entering, ungated = np.empty_like(rates), np.empty(lanes, x.dtype)
    for start in range(first, last, lanes):
        width = min(lanes, last - start)
        _load_rates(A, start, width, rates)
        _load_state(state_grad, start, width, g)
        A_total[:] = 0.0
        D_total[:] = 0.0
        bias_total[:] = 0.0
        slot = 0 if reverse else num_asked - 1
        for chunk in range((length - 1) // STEPS_A_STATE, -1, -1):
            begin, end = chunk * STEPS_A_STATE, min(length, (chunk + 1) * STEPS_A_STATE)
            _load_state(saved_states[chunk], start, width, entering)
            h[0] = entering
            _load_steps(x, dt, dt_bias, dt_softplus, reverse, begin, end, start, width, s, u)
            for step in range(begin, end):
                t, j = (length - 1 - step if reverse else step), step - begin
                _step(rates, s, u, j, B, t, h, j)
            for step in range(end - 1, begin - 1, -1):
                t, j = (length - 1 - step if reverse else step), step - begin
                for i in range(width):
                    x_grad[t, start + i] = 0.0
                if 0 <= slot < num_asked and positions[slot] == t:
                    for i in range(width):
                        out_grad[i] = y_grad[slot, start + i]
                    if z.size:
                        _gate_back(C, slot, h, j + 1, x, t, D, z, start, width, ungated, out_grad, z_grad)
                    if D.size:
                        for i in range(width):
                            x_grad[t, start + i] = out_grad[i] * D[start + i]
                            D_total[i] += out_grad[i] * x[t, start + i]
                    _read_back(C, slot, h, j + 1, out_grad, C_grad, g)
                    slot += 1 if reverse else -1
                _step_back(rates, s, u, j, B, t, h, g, s_grad, u_grad, B_grad, A_total)
                _store_step_gradients(
                    x, dt, t, dt_bias, dt_softplus, start, width, s, j, s_grad, u_grad, x_grad, dt_grad, bias_total
                )
        _store_state(A_total, start, width, A_grad)
        _store_state(g, start, width, initial_grad)
        for i in range(width):
            if D.size:
                D_grad[start + i] = D_total[i]
            if dt_bias.size:
                dt_bias_grad[start + i] = bias_total[i]
