"""Numbers in, their exponential, softplus and sigmoid out, in a form that a compiler turns into vector instructions.

The C library's functions take one number at a time, and a scan spends nearly all its time in exponentials. Here float32
is a polynomial, good to the last bit or two, and float64 stays with the C library. Import needs numba.

Kernels are kept compiled by the file that they stand in: after a change here, touch them.
"""

import logging
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import intrinsic, overload

logger = logging.getLogger(__name__)

LOG2_E = math.log2(math.e)

# Products and sums may be contracted to one instruction (fma); nothing else may change. Reordered sums are allowed
# only where a function says so, never here: rounding below is written with care.
_EXACT = {"contract"}


def vectorised(fastmath: set[str]) -> Callable[[Callable[..., Any]], Any]:
    """Compile for loops over lanes: no interpreter lock, NaN and infinity as in IEEE 754, kept on disk."""

    def compile_on_use(function: Callable[..., Any]) -> Any:
        options: dict[str, Any] = {"nogil": True, "fastmath": fastmath, "error_model": "numpy", "boundscheck": False}
        try:
            return njit(cache=True, **options)(function)
        except RuntimeError as problem:
            # No folder can be written to: each process compiles for itself.
            logger.info("compiled kernels are not kept: %s", problem)
            return njit(**options)(function)

    return compile_on_use


@intrinsic
def _float_of_bits(typing_context: Any, bits: Any) -> Any:  # noqa: ARG001 # numba's signature
    """The float32 that an int32's bits are."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        return builder.bitcast(arguments[0], context.get_value_type(types.float32))

    return types.float32(types.int32), generate


@intrinsic
def _bits_of_float(typing_context: Any, number: Any) -> Any:  # noqa: ARG001
    """The int32 that a float32's bits are."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        return builder.bitcast(arguments[0], context.get_value_type(types.int32))

    return types.int32(types.float32), generate


def exp2(exponent: float) -> float:
    """2 ** exponent; 0 below the range, infinity above it, NaN for NaN."""
    return math.exp2(exponent)


@overload(exp2, jit_options={"fastmath": _EXACT, "error_model": "numpy"})
def _exp2(exponent: Any) -> Any:
    if exponent == types.float32:
        return _exp2_float32
    return _exp2_float64


def _exp2_float32(exponent: Any) -> Any:
    """2 ** k * 2 ** r with k whole and r in [-0.5, 0.5]; 2 ** r = 1 + r (ln 2 + ...).

    The polynomial is exact at r = 0, with its slope: a decay close to 1 is taken thousands of times, and an error there
    would add up. The other coefficients minimise the largest relative error (3e-9).
    """
    # Written so that NaN stays NaN. 2 ** -127 becomes 0, 2 ** 128 infinity.
    exponent = np.float32(-127.0) if exponent < np.float32(-127.0) else exponent
    exponent = np.float32(128.0) if exponent > np.float32(128.0) else exponent
    # Adding 1.5 * 2 ** 23 rounds to a whole number, which then stands in the lowest bits; 127 more, and they are the
    # exponent's bits of 2 ** whole.
    shifted = exponent + np.float32(12582912.0 + 127.0)
    r = exponent - (shifted - np.float32(12582912.0 + 127.0))
    power = np.float32(1.5321154639974017e-4)
    power = power * r + np.float32(1.3390161625142097e-3)
    power = power * r + np.float32(9.618526306054146e-3)
    power = power * r + np.float32(5.550362252356295e-2)
    power = power * r + np.float32(2.4022647549739234e-1)
    power = power * r + np.float32(6.931471805599453e-1)
    power = power * r + np.float32(1.0)
    return power * _float_of_bits(_bits_of_float(shifted) << np.int32(23))  # type: ignore[call-arg] # numba adds the first


def _exp2_float64(exponent: Any) -> Any:
    return math.exp(exponent / LOG2_E)


def softplus(value: float) -> float:
    """log(1 + e ** value), exact for large values of either sign."""
    return max(value, 0.0) + math.log1p(math.exp(-abs(value)))


@overload(softplus, jit_options={"fastmath": _EXACT, "error_model": "numpy"})
def _softplus(value: Any) -> Any:
    if value == types.float32:
        return _softplus_float32
    return _softplus_float64


def _softplus_float32(value: Any) -> Any:
    """max(value, 0) + log(1 + u), u = e ** -|value| <= 1; log(1 + u) = 2 atanh(q), q = u / (2 + u) <= 1/3."""
    positive = value if value > np.float32(0.0) else np.float32(0.0)
    u = exp2(-abs(value) * np.float32(LOG2_E))
    q = u / (np.float32(2.0) + u)
    square = q * q
    series = np.float32(1.0 / 15.0)
    series = series * square + np.float32(1.0 / 13.0)
    series = series * square + np.float32(1.0 / 11.0)
    series = series * square + np.float32(1.0 / 9.0)
    series = series * square + np.float32(1.0 / 7.0)
    series = series * square + np.float32(1.0 / 5.0)
    series = series * square + np.float32(1.0 / 3.0)
    series = series * square + np.float32(1.0)
    return positive + np.float32(2.0) * q * series


def _softplus_float64(value: Any) -> Any:
    return (value if value > 0.0 else 0.0) + math.log1p(math.exp(-abs(value)))


def sigmoid(value: float) -> float:
    """1 / (1 + e ** -value)."""
    return 1.0 / (1.0 + math.exp(-value))


@overload(sigmoid, jit_options={"fastmath": _EXACT, "error_model": "numpy"})
def _sigmoid(value: Any) -> Any:
    return _sigmoid_float32 if value == types.float32 else _sigmoid_float64


def _sigmoid_float32(value: Any) -> Any:
    return np.float32(1.0) / (np.float32(1.0) + exp2(value * np.float32(-LOG2_E)))


def _sigmoid_float64(value: Any) -> Any:
    return 1.0 / (1.0 + math.exp(-value))
