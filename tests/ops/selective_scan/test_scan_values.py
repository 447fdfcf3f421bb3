"""Selective scan: values and every gradient of each implementation against the equation and the definition.

Shapes: B batch, L length, E channels, N state, Q positions asked for.
"""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scan_cases import (
    ALL_OPTIONS,
    INTERPRETED,
    Arguments,
    Case,
    assert_all_close,
    assert_close,
    defined_results,
    draw_arguments,
    each_with,
    every_direction,
    every_implementation,
    name_of,
    on_the_cpu,
    results,
    scan,
    some_positions,
)
from torch import Tensor

LENGTHS = (1, 2, 63, 64, 65, 1000)
SIZES = ((1, 7, 4), (3, 5, 8), (1, 37, 16), (3, 3, 64))
"""B, E and N: channels are a multiple of nothing."""
DTYPES = (torch.float32, torch.bfloat16)
CASES = [
    Case(length, sizes, dtype, reverse)
    for length in LENGTHS
    for sizes in SIZES
    for dtype in DTYPES
    for reverse in (False, True)
]
"""Every combination."""


SOME_CASES = [
    *(case for case in CASES if case.length <= 2 and case.sizes == SIZES[case.length]),
    Case(63, SIZES[1], torch.float32, reverse=False),
    Case(63, SIZES[2], torch.bfloat16, reverse=True),
    Case(64, SIZES[3], torch.float32, reverse=True),
    Case(64, SIZES[0], torch.bfloat16, reverse=False),
    Case(65, SIZES[2], torch.float32, reverse=False),
    Case(65, SIZES[0], torch.float32, reverse=True),
    Case(65, SIZES[1], torch.bfloat16, reverse=True),
    Case(1000, SIZES[0], torch.float32, reverse=False),
    Case(1000, SIZES[0], torch.bfloat16, reverse=True),
]
"""Each length in each dtype and direction, each size in float32."""


@pytest.mark.parametrize(("name", "case"), each_with(CASES, interpreted=SOME_CASES))
def test_values_and_every_gradient_are_those_of_the_definition_in_float64(name: str, case: Case) -> None:
    actual = results(case.arguments, implementation=name, **case.how)
    for what, tensor in actual.items():
        wanted = torch.float32 if what in {"state", "gradient of A", "gradient of initial_state"} else case.dtype
        assert tensor.dtype == wanted, what
    assert_all_close(actual, case.expected())


@on_the_cpu
@every_direction
@pytest.mark.parametrize("sizes", [(2, 131, 16), (1, 300, 5), (2, 4133, 2)], ids=["E131", "E300", "E4133"])
def test_many_channels_are_those_of_the_definition(name: str, reverse: bool, sizes: tuple[int, int, int]) -> None:
    case = Case(70 if sizes[1] < 1000 else 3, sizes, torch.float32, reverse)
    assert_all_close(results(case.arguments, implementation=name, **case.how), case.expected())


@every_implementation
@every_direction
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16], ids=name_of)
def test_the_other_dtypes_are_taken_too(name: str, dtype: torch.dtype, reverse: bool) -> None:
    case = Case(17, (2, 5, 3), dtype, reverse)
    assert_all_close(results(case.arguments, implementation=name, **case.how), case.expected())


# The equation -----------------------------------------------------------------------------------------------------


def equation(
    arguments: Arguments, *, dt_softplus: bool, reverse: bool, positions: Tensor | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Outputs and final state, written down from the equations of the op's README: scalars, one at a time."""
    tensors = {key: value.double().numpy() for key, value in arguments.items()}
    x, dt, A, B, C = (tensors[key] for key in ("x", "dt", "A", "B", "C"))
    batch, length, channels = x.shape
    state_dim = A.shape[1]
    asked = list(range(length)) if positions is None else positions.tolist()
    y = np.zeros((batch, len(asked), channels))
    h = tensors.get("initial_state", np.zeros((batch, channels, state_dim))).copy()
    for b in range(batch):
        for e in range(channels):
            for t in range(length - 1, -1, -1) if reverse else range(length):
                s = dt[b, t, e] + (tensors["dt_bias"][e] if "dt_bias" in tensors else 0.0)
                if dt_softplus:
                    s = np.log1p(np.exp(s))
                h[b, e] = np.exp(s * A[e]) * h[b, e] + s * B[b, t] * x[b, t, e]
                if t not in asked:
                    continue
                q = asked.index(t)
                y[b, q, e] = C[b, q] @ h[b, e]
                if "D" in tensors:
                    y[b, q, e] += tensors["D"][e] * x[b, t, e]
                if "z" in tensors:
                    gate = tensors["z"][b, q, e]
                    y[b, q, e] *= gate / (1.0 + np.exp(-gate))
    return y, h


@every_implementation
@every_direction
@pytest.mark.parametrize("dt_softplus", [False, True], ids=["plain", "softplus"])
@pytest.mark.parametrize("left_out", ["nothing", *sorted(ALL_OPTIONS), "everything"])
def test_matches_the_equation_with_and_without_each_option(
    name: str, reverse: bool, dt_softplus: bool, left_out: str
) -> None:
    options = frozenset() if left_out == "everything" else ALL_OPTIONS - {left_out}
    positions = some_positions(12)
    arguments = draw_arguments(12, positions=positions, options=options)
    if not dt_softplus:
        arguments["dt"] = arguments["dt"].abs() * 0.1
    how: dict[str, Any] = {"dt_softplus": dt_softplus, "reverse": reverse, "positions": positions}
    y, state = scan(arguments, **how, implementation=name)
    expected_y, expected_state = equation(arguments, **how)
    assert_close(y, torch.from_numpy(expected_y), 1e-12)
    assert_close(state, torch.from_numpy(expected_state), 1e-12)


@pytest.mark.parametrize("length", [1, 2, 63, 64, 65, 130], ids="L{}".format)
@on_the_cpu
@every_direction
def test_matches_the_equation_at_every_length(name: str, length: int, reverse: bool) -> None:
    arguments = draw_arguments(length, seed=length)
    y, state = scan(arguments, dt_softplus=True, reverse=reverse, implementation=name)
    expected_y, expected_state = equation(arguments, dt_softplus=True, reverse=reverse, positions=None)
    assert_close(y, torch.from_numpy(expected_y), 1e-12)
    assert_close(state, torch.from_numpy(expected_state), 1e-12)


# Steps out of the ordinary ----------------------------------------------------------------------------------------

STEPS = {
    "large": (20.0, 200.0, False),
    "large_by_softplus": (20.0, 200.0, True),
    "ordinary": (1e-3, 1e-1, False),
    "tiny": (1e-8, 1e-6, False),
    "tiny_by_softplus": (-80.0, -60.0, True),
    "from_tiny_to_large": (-60.0, 60.0, True),
    "negative": (-0.5, -0.1, False),
}
"""The least and the largest step, and whether they go through softplus."""


@every_implementation
@every_direction
@pytest.mark.parametrize("steps", STEPS)
def test_large_and_tiny_steps_are_those_of_the_definition(name: str, steps: str, reverse: bool) -> None:
    least, largest, dt_softplus = STEPS[steps]
    arguments = draw_arguments(9, dtype=torch.float32, options=frozenset({"z", "initial_state"}), seed=3)
    shares = torch.rand(arguments["dt"].shape, generator=torch.Generator().manual_seed(4))
    arguments["dt"] = least + (largest - least) * shares
    how = {"dt_softplus": dt_softplus, "reverse": reverse}
    assert_all_close(results(arguments, implementation=name, **how), defined_results(arguments, **how))


@every_implementation
def test_steps_of_zero_leave_the_state_as_it_is(name: str) -> None:
    arguments = draw_arguments(5, dtype=torch.float32, options=frozenset({"initial_state"}))
    arguments["dt"] = torch.zeros_like(arguments["dt"])
    _, state = scan(arguments, implementation=name)
    assert torch.equal(state, arguments["initial_state"])


@every_implementation
@pytest.mark.parametrize("dt_softplus", [False, True], ids=["plain", "softplus"])
def test_steps_that_forget_everything_leave_the_last_input_alone(name: str, dt_softplus: bool) -> None:
    ones = torch.ones(1, 5, 3)
    arguments = {"x": ones, "dt": 1000.0 * ones, "A": -ones[0, :3], "B": torch.ones(1, 5, 3), "C": torch.ones(1, 5, 3)}
    y, state = scan(arguments, dt_softplus=dt_softplus, implementation=name)
    assert torch.equal(state, torch.full((1, 3, 3), 1000.0))
    assert torch.equal(y, torch.full((1, 5, 3), 3000.0))


@every_implementation
def test_a_bfloat16_state_forgets_nothing_small(name: str) -> None:
    # Steps of 1/1000 on a state that does not fade: a bfloat16 state would stop growing at 0.25.
    length = 300 if name == "triton" and INTERPRETED else 4000
    ones = torch.ones(1, length, 1, dtype=torch.bfloat16)
    step = torch.full_like(ones, 1e-3)
    _, state = scan({"x": ones, "dt": step, "A": torch.zeros(1, 1), "B": ones, "C": ones}, implementation=name)
    assert state.item() == pytest.approx(length * step[0, 0, 0].item(), rel=1e-5)


@every_implementation
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=name_of)
def test_output_keeps_the_dtype_and_the_state_is_at_least_float32(name: str, dtype: torch.dtype) -> None:
    y, state = scan(draw_arguments(5, dtype=dtype), dt_softplus=True, implementation=name)
    assert y.dtype == dtype
    assert state.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
