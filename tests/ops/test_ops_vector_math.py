"""The arithmetic of compiled loops: exp2, softplus and sigmoid against float64 over their whole range.

Numbers come in arrays of any length [N].
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numba import njit
from numpy.typing import NDArray

from bimba.ops import vector_math

Numbers = NDArray[Any]
SMALLEST = float(np.finfo(np.float32).tiny)
"""Below it float32 loses digits."""


def over_an_array(function: Callable[[float], float]) -> Callable[[Numbers], Numbers]:
    """The function in a compiled loop, as the kernels have it."""

    def loop(numbers: Any) -> Any:
        results = np.empty_like(numbers)
        for i in range(numbers.shape[0]):
            results[i] = function(numbers[i])
        return results

    compiled: Callable[[Numbers], Numbers] = njit(error_model="numpy")(loop)
    return compiled


exp2 = over_an_array(vector_math.exp2)
softplus = over_an_array(vector_math.softplus)
sigmoid = over_an_array(vector_math.sigmoid)
FUNCTIONS = {"exp2": exp2, "softplus": softplus, "sigmoid": sigmoid}

every_function = pytest.mark.parametrize("name", FUNCTIONS)
both_types = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])


def exact(name: str, numbers: Numbers) -> Numbers:
    """The values in long double."""
    wide = numbers.astype(np.longdouble)
    with np.errstate(over="ignore", under="ignore"):
        if name == "exp2":
            return np.exp2(wide)
        if name == "softplus":
            return np.maximum(wide, 0) + np.log1p(np.exp(-np.abs(wide)))
        return 1 / (1 + np.exp(-wide))


def relative_errors(name: str, numbers: Numbers) -> Numbers:
    """Difference over value, of the values that are neither too small nor too large for float32."""
    values = exact(name, numbers)
    ordinary = (values >= SMALLEST) & (values <= 2.0**127)
    assert ordinary.any()
    actual = FUNCTIONS[name](numbers)
    assert actual.dtype == numbers.dtype
    errors: Numbers = np.abs(actual[ordinary] - values[ordinary]) / values[ordinary]
    return errors


@every_function
@pytest.mark.parametrize("width", [1e-30, 1e-6, 1e-3, 1.0, 20.0, 87.0])
@both_types
def test_values_are_right_over_the_range(name: str, width: float, dtype: type) -> None:
    numbers: Numbers = np.linspace(-width, width, 20_001).astype(dtype)
    # An exponent of 87 log2(e) is itself rounded; what that costs grows with it.
    allowed = np.finfo(dtype).eps * (2.0 + width)
    assert relative_errors(name, numbers).max() <= allowed


@both_types
def test_powers_of_two_are_good_to_the_last_bits_at_any_exponent(dtype: type) -> None:
    generator = np.random.default_rng(0)
    numbers: Numbers = generator.uniform(-126.0, 127.0, 100_000).astype(dtype)
    if dtype is np.float32:
        assert relative_errors("exp2", numbers).max() <= 1.5 * np.finfo(dtype).eps
    else:
        assert relative_errors("exp2", numbers).max() <= 100 * np.finfo(dtype).eps


@both_types
def test_whole_powers_of_two_are_exact_in_float32(dtype: type) -> None:
    exponents: Numbers = np.arange(-126, 128, dtype=dtype)
    expected = np.ldexp(np.ones_like(exponents), exponents.astype(int))
    if dtype is np.float32:
        assert np.array_equal(exp2(exponents), expected)
    else:
        assert np.allclose(exp2(exponents), expected, rtol=1e-13)


def test_a_decay_near_one_has_no_error_that_adds_up() -> None:
    # 100,000 steps of a decay of 1 - 1e-6: what rounding the decay to float32 leaves, and no more.
    exponents = -np.geomspace(1e-9, 1e-2, 1000).astype(np.float32)
    errors = (exp2(exponents).astype(np.float64) - np.exp2(exponents.astype(np.float64))) / np.finfo(np.float32).eps
    assert np.abs(errors).max() <= 0.51
    assert abs(errors.mean()) <= 0.1
    assert exp2(np.zeros(1, np.float32))[0] == 1.0
    assert exp2(-np.zeros(1, np.float32))[0] == 1.0


@both_types
def test_powers_of_two_beyond_the_range_are_zero_and_infinity(dtype: type) -> None:
    small: Numbers = np.array([-2000.0, -1e30, -math.inf], dtype)
    large: Numbers = np.array([2000.0, 1e30, math.inf], dtype)
    assert np.array_equal(exp2(small), np.zeros(3, dtype))
    assert np.array_equal(exp2(large), np.full(3, math.inf, dtype))


def test_powers_of_two_fade_out_in_float32_as_they_should() -> None:
    exponents = np.linspace(-160.0, -120.0, 4001).astype(np.float32)
    actual = exp2(exponents).astype(np.float64)
    assert (np.diff(actual) >= 0.0).all()
    assert np.abs(actual - np.exp2(exponents.astype(np.float64))).max() <= SMALLEST
    assert (actual[exponents <= -127.5] == 0.0).all()


def test_powers_of_two_reach_infinity_from_below_only_in_the_last_half_of_the_range() -> None:
    exponents = np.linspace(120.0, 127.49, 1001).astype(np.float32)
    assert np.isfinite(exp2(exponents)).all()
    assert not np.isfinite(exp2(np.array([128.0, 129.0, 200.0], np.float32))).any()
    assert (np.diff(exp2(np.linspace(120.0, 130.0, 1001).astype(np.float32)).clip(max=3e38)) >= 0.0).all()


@every_function
@both_types
def test_nan_comes_out_where_nan_goes_in(name: str, dtype: type) -> None:
    numbers: Numbers = np.array([0.5, math.nan, -0.5, -math.nan, 0.5], dtype)
    results = FUNCTIONS[name](numbers)
    assert np.isnan(results).tolist() == [False, True, False, True, False]


@every_function
def test_nan_of_any_bits_stays_nan(name: str) -> None:
    bits = np.array([0x7F800001, 0x7FC00000, 0x7FFFFFFF, 0xFF800001, 0xFFC00000, 0xFFFFFFFF], np.uint32)
    assert np.isnan(FUNCTIONS[name](bits.view(np.float32))).all()


@both_types
def test_softplus_and_sigmoid_have_their_limits(dtype: type) -> None:
    ends: Numbers = np.array([-math.inf, math.inf], dtype)
    assert softplus(ends).tolist() == [0.0, math.inf]
    assert sigmoid(ends).tolist() == [0.0, 1.0]
    far: Numbers = np.array([-1e30, -2000.0, 2000.0, 1e30], dtype)
    assert np.array_equal(softplus(far), np.maximum(far, 0))
    assert sigmoid(far).tolist() == [0.0, 0.0, 1.0, 1.0]


@both_types
def test_softplus_of_a_large_value_is_that_value(dtype: type) -> None:
    numbers: Numbers = np.linspace(40.0, 1e6, 1000).astype(dtype)
    assert np.array_equal(softplus(numbers), numbers)


@both_types
def test_softplus_and_sigmoid_rise_and_stay_in_their_range(dtype: type) -> None:
    numbers: Numbers = np.linspace(-100.0, 100.0, 20_001).astype(dtype)
    slack = 4 * np.finfo(dtype).eps
    for function in (softplus, sigmoid):
        values = function(numbers)
        assert (values >= 0.0).all()
        assert (np.diff(values) >= -slack * values[1:]).all()
    assert (sigmoid(numbers) <= 1.0).all()


@every_function
def test_the_plain_function_says_what_the_compiled_one_computes(name: str) -> None:
    numbers = np.linspace(-30.0, 30.0, 61)
    plain = [getattr(vector_math, name)(float(number)) for number in numbers]
    assert np.allclose(FUNCTIONS[name](numbers), plain, rtol=1e-13, atol=0.0)


@every_function
def test_a_loop_over_float32_computes_in_vectors_of_float32(name: str) -> None:
    function: Any = FUNCTIONS[name]
    numbers = np.zeros(8, np.float32)
    function(numbers)
    (code,) = (text for signature, text in function.inspect_llvm().items() if "float32" in str(signature))
    assert "x float>" in code
    assert "@expf" not in code
