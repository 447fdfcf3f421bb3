"""Rows of one sequence in, their causal convolution or its gradients out: the loops of the CPU implementation.

The lanes are channels, neighbours in memory. With `reverse` a position is mixed with those after it instead of before.
Import needs numba.

Shapes: L length, E channels, K taps, W = LANES.
"""

from typing import Any

import numpy as np

from bimba.ops.vector_math import sigmoid, vectorised

LANES = 128
"""Channels done together, so that their taps stay in the cache."""

_EXACT = {"contract"}


@vectorised(_EXACT)
def _mix_row(x: Any, taps: Any, bias: Any, reverse: bool, t: int, first: int, width: int, mixed: Any) -> None:
    """Sum of the taps [K, E] times the rows of x [L, E] around t, before the activation -> mixed [W]."""
    num_taps = taps.shape[0]
    for i in range(width):
        mixed[i] = bias[first + i]
    for tap in range(num_taps):
        source = t + num_taps - 1 - tap if reverse else t - num_taps + 1 + tap
        if 0 <= source < x.shape[0]:
            for i in range(width):
                mixed[i] += taps[tap, first + i] * x[source, first + i]


@vectorised(_EXACT)
def convolve(x: Any, taps: Any, bias: Any, reverse: bool, activation: bool, begin: int, end: int, result: Any) -> None:
    """Convolve the rows begin..end of one sequence.

    Args:
        x: [L, E].
        taps: [K, E].
        bias: [E].
        reverse, activation: as of `causal_conv1d`.
        begin, end: rows to do.
        result: [L, E].
    """
    channels = x.shape[1]
    mixed = np.empty(LANES, x.dtype)
    for first in range(0, channels, LANES):
        width = min(LANES, channels - first)
        for t in range(begin, end):
            _mix_row(x, taps, bias, reverse, t, first, width, mixed)
            if activation:
                for i in range(width):
                    result[t, first + i] = mixed[i] * sigmoid(mixed[i])
            else:
                for i in range(width):
                    result[t, first + i] = mixed[i]


@vectorised(_EXACT)
def convolve_back(
    x: Any,
    taps: Any,
    bias: Any,
    reverse: bool,
    activation: bool,
    first: int,
    last: int,
    result_grad: Any,
    x_grad: Any,
    taps_grad: Any,
    bias_grad: Any,
) -> None:
    """Gradients of the channels first..last of one sequence.

    Args:
        x: [L, E].
        taps: [K, E].
        bias: [E].
        reverse, activation: as of `causal_conv1d`.
        first, last: channels to do, at most `LANES`.
        result_grad: [L, E].
        x_grad: result [L, E].
        taps_grad: result [K, E].
        bias_grad: result [E].
    """
    length, num_taps, width = x.shape[0], taps.shape[0], last - first
    mixed, mixed_grad = np.empty(LANES, x.dtype), np.empty(LANES, x.dtype)
    taps_total, bias_total = np.zeros((num_taps, LANES), x.dtype), np.zeros(LANES, x.dtype)
    for t in range(length):
        for i in range(width):
            x_grad[t, first + i] = 0.0
    for t in range(length):
        for i in range(width):
            mixed_grad[i] = result_grad[t, first + i]
        if activation:
            _mix_row(x, taps, bias, reverse, t, first, width, mixed)
            for i in range(width):
                share = sigmoid(mixed[i])
                mixed_grad[i] *= share + mixed[i] * share - mixed[i] * share * share
        for i in range(width):
            bias_total[i] += mixed_grad[i]
        for tap in range(num_taps):
            source = t + num_taps - 1 - tap if reverse else t - num_taps + 1 + tap
            if 0 <= source < length:
                for i in range(width):
                    taps_total[tap, i] += mixed_grad[i] * x[source, first + i]
                    x_grad[source, first + i] += mixed_grad[i] * taps[tap, first + i]
    for i in range(width):
        bias_grad[first + i] = bias_total[i]
        for tap in range(num_taps):
            taps_grad[tap, first + i] = taps_total[tap, i]
