"""Selective scan: every implementation against the equation, in values, gradients, pieces and refusals.

Shapes: B batch, L length, E channels, N state, Q positions asked for.
"""

import inspect
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd import gradcheck

from bimba.ops import selective_scan
from bimba.ops.selective_scan import IMPLEMENTATIONS

LENGTHS = [1, 2, 63, 64, 65, 300]
DTYPES = [torch.float32, torch.float64, torch.bfloat16]
VALUE_TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12, torch.bfloat16: 1e-2}
GRADIENT_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-11, torch.bfloat16: 2e-2}
STATE_TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12, torch.bfloat16: 1e-5}
BATCH, CHANNELS, STATE = 2, 6, 4
ALL_OPTIONS = frozenset({"D", "z", "dt_bias", "initial_state"})

every_implementation = pytest.mark.parametrize("name", sorted(IMPLEMENTATIONS))
every_direction = pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))
every_length = pytest.mark.parametrize("length", LENGTHS, ids="L{}".format)


def draw_arguments(
    length: int,
    *,
    dtype: torch.dtype = torch.float64,
    positions: Tensor | None = None,
    options: frozenset[str] = ALL_OPTIONS,
    sizes: tuple[int, int, int] = (BATCH, CHANNELS, STATE),
    seed: int = 0,
) -> dict[str, Tensor]:
    """Random tensors in the model's proportions; what has the state's precision stays above bfloat16."""
    batch, channels, state = sizes
    generator = torch.Generator().manual_seed(seed)
    outputs = length if positions is None else len(positions)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    kept = torch.promote_types(dtype, torch.float32)
    drawn = {
        "x": normal(batch, length, channels),
        "dt": normal(batch, length, channels),
        "A": -torch.rand(channels, state, generator=generator, dtype=torch.float64).add(0.1).to(kept),
        "B": normal(batch, length, state),
        "C": normal(batch, outputs, state),
        "D": normal(channels),
        "z": normal(batch, outputs, channels),
        "dt_bias": normal(channels),
        "initial_state": normal(batch, channels, state).to(kept),
    }
    return {key: value for key, value in drawn.items() if key in options or key in {"x", "dt", "A", "B", "C"}}


def some_positions(length: int) -> Tensor:
    """About every third position, the last among them."""
    return torch.arange(length - 1, -1, -3).flip(0)


def scan(arguments: dict[str, Tensor], **how: Any) -> tuple[Tensor, Tensor]:
    """Outputs and final state."""
    how.update(arguments, return_final_state=True)
    result = selective_scan(**how)
    assert isinstance(result, tuple)
    return result


def output(arguments: dict[str, Tensor], **how: Any) -> Tensor:
    """Outputs alone."""
    how.update(arguments)
    result = selective_scan(**how)
    assert isinstance(result, Tensor)
    return result


def equation(
    arguments: dict[str, Tensor], *, dt_softplus: bool, reverse: bool, positions: Tensor | None
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


def assert_close(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    """Equal within a fraction of the largest expected value."""
    assert actual.shape == expected.shape
    scale = max(expected.abs().max().item(), 1e-3) if expected.numel() else 1.0
    torch.testing.assert_close(actual.double(), expected.double(), rtol=0.0, atol=tolerance * scale)


# Values -----------------------------------------------------------------------------------------------------------


@every_implementation
@every_length
@every_dtype
@every_direction
def test_matches_the_equation(name: str, length: int, dtype: torch.dtype, reverse: bool) -> None:
    arguments = draw_arguments(length, dtype=dtype, seed=length)
    y, state = scan(arguments, dt_softplus=True, reverse=reverse, implementation=name)
    expected_y, expected_state = equation(arguments, dt_softplus=True, reverse=reverse, positions=None)
    assert_close(y, torch.from_numpy(expected_y), VALUE_TOLERANCE[dtype])
    assert_close(state, torch.from_numpy(expected_state), STATE_TOLERANCE[dtype])


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


@every_implementation
@every_dtype
def test_output_keeps_the_dtype_and_the_state_is_at_least_float32(name: str, dtype: torch.dtype) -> None:
    y, state = scan(draw_arguments(5, dtype=dtype), dt_softplus=True, implementation=name)
    assert y.dtype == dtype
    assert state.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


@every_implementation
def test_a_bfloat16_state_forgets_nothing_small(name: str) -> None:
    # 4,000 steps of 1/1000 on a state that does not fade: a bfloat16 state would stop growing at 0.25.
    length = 4000
    ones = torch.ones(1, length, 1, dtype=torch.bfloat16)
    step = torch.full_like(ones, 1e-3)
    _, state = scan({"x": ones, "dt": step, "A": torch.zeros(1, 1), "B": ones, "C": ones}, implementation=name)
    assert state.item() == pytest.approx(length * step[0, 0, 0].item(), rel=1e-4)


def test_auto_is_one_of_the_implementations() -> None:
    arguments = draw_arguments(9)
    outputs = [output(arguments, implementation=name) for name in IMPLEMENTATIONS]
    assert any(torch.equal(output(arguments), y) for y in outputs)


# Direction, positions, pieces -------------------------------------------------------------------------------------


def flipped(arguments: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same arguments with time running the other way."""
    over_time = {"x", "dt", "B", "C", "z"}
    return {key: value.flip(1) if key in over_time else value for key, value in arguments.items()}


@every_implementation
@every_length
def test_reverse_equals_the_flip_of_the_flipped_sequence(name: str, length: int) -> None:
    arguments = draw_arguments(length, seed=length)
    y, state = scan(arguments, dt_softplus=True, reverse=True, implementation=name)
    flipped_y, flipped_state = scan(flipped(arguments), dt_softplus=True, implementation=name)
    assert_close(y, flipped_y.flip(1), 1e-13)
    assert_close(state, flipped_state, 1e-13)


@every_implementation
@every_direction
def test_positions_before_a_change_do_not_see_it(name: str, reverse: bool) -> None:
    arguments = draw_arguments(20)
    changed = dict(arguments, x=arguments["x"].clone())
    changed["x"][:, 11] += 1.0
    before = output(arguments, dt_softplus=True, reverse=reverse, implementation=name)
    after = output(changed, dt_softplus=True, reverse=reverse, implementation=name)
    differs = (before != after).any(dim=-1).any(dim=0)
    assert differs.nonzero().flatten().tolist() == (list(range(12)) if reverse else list(range(11, 20)))


def select(arguments: dict[str, Tensor], positions: Tensor) -> dict[str, Tensor]:
    """Read-outs and gates at the positions only."""
    return {key: value[:, positions] if key in {"C", "z"} else value for key, value in arguments.items()}


@every_implementation
@every_direction
@settings(deadline=None, max_examples=40, derandomize=True)
@given(st.integers(1, 24), st.data())
def test_positions_equal_selecting_from_all_outputs(name: str, reverse: bool, length: int, data: st.DataObject) -> None:
    positions = torch.tensor(sorted(data.draw(st.sets(st.integers(0, length - 1)))), dtype=torch.int64)
    arguments = draw_arguments(length, sizes=(1, 3, 2))
    how: dict[str, Any] = {"dt_softplus": True, "reverse": reverse, "implementation": name}
    y, state = scan(arguments, **how)
    selected_y, selected_state = scan(select(arguments, positions), **how, positions=positions)
    assert_close(selected_y, y[:, positions], 1e-13)
    assert_close(selected_state, state, 1e-13)


def scan_in_pieces(
    arguments: dict[str, Tensor], edges: list[int], *, reverse: bool, name: str
) -> tuple[Tensor, Tensor | None]:
    """Outputs and final state of a sequence that goes through piece by piece, in the order of the scan."""
    pieces = list(pairwise(edges))
    outputs: list[Tensor] = []
    state = arguments.get("initial_state")
    for start, stop in reversed(pieces) if reverse else pieces:
        part = {
            key: value[:, start:stop] if key in {"x", "dt", "B", "C", "z"} else value
            for key, value in arguments.items()
        }
        part.pop("initial_state", None)
        if state is not None:
            part["initial_state"] = state
        y, state = scan(part, dt_softplus=True, reverse=reverse, implementation=name)
        outputs.append(y)
    return torch.cat(outputs[::-1] if reverse else outputs, dim=1), state


@every_implementation
@every_direction
@settings(deadline=None, max_examples=40, derandomize=True)
@given(st.integers(1, 24), st.booleans(), st.data())
def test_pieces_equal_the_whole_wherever_they_are_cut(
    name: str, reverse: bool, length: int, with_initial_state: bool, data: st.DataObject
) -> None:
    cuts = data.draw(st.sets(st.integers(1, length - 1)) if length > 1 else st.just(set()))
    options = ALL_OPTIONS if with_initial_state else ALL_OPTIONS - {"initial_state"}
    arguments = draw_arguments(length, sizes=(1, 3, 2), options=options)
    y, state = scan(arguments, dt_softplus=True, reverse=reverse, implementation=name)
    pieces_y, pieces_state = scan_in_pieces(arguments, [0, *sorted(cuts), length], reverse=reverse, name=name)
    assert pieces_state is not None
    assert_close(pieces_y, y, 1e-13)
    assert_close(pieces_state, state, 1e-13)


# Gradients --------------------------------------------------------------------------------------------------------


def checked_function(keys: list[str], *, with_state: bool, **how: Any) -> Callable[..., Tensor | tuple[Tensor, Tensor]]:
    """The op as a function of tensors in the order of `keys`."""

    def function(*tensors: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        arguments: dict[str, Any] = dict(zip(keys, tensors, strict=True))
        return selective_scan(**arguments, return_final_state=with_state, **how)

    return function


@every_implementation
@every_direction
@pytest.mark.parametrize("selected", [False, True], ids=["everywhere", "positions"])
@pytest.mark.parametrize("dt_softplus", [False, True], ids=["plain", "softplus"])
@pytest.mark.parametrize("left_out", ["nothing", *sorted(ALL_OPTIONS), "everything"])
def test_every_gradient_is_the_slope(
    name: str, reverse: bool, selected: bool, dt_softplus: bool, left_out: str
) -> None:
    options = frozenset() if left_out == "everything" else ALL_OPTIONS - {left_out}
    positions = some_positions(4) if selected else None
    arguments = draw_arguments(4, positions=positions, options=options, sizes=(1, 2, 2))
    how: dict[str, Any] = {"positions": positions, "implementation": name, "reverse": reverse}
    function = checked_function(list(arguments), with_state=True, dt_softplus=dt_softplus, **how)
    assert gradcheck(function, [tensor.requires_grad_() for tensor in arguments.values()])


def gradients(arguments: dict[str, Tensor], weights: Tensor, state_weights: Tensor, **how: Any) -> dict[str, Tensor]:
    """Gradients of a weighted sum of outputs and final state."""
    leaves = {key: value.clone().requires_grad_() for key, value in arguments.items()}
    y, state = scan(leaves, **how)
    loss = (y.double() * weights).sum() + (state.double() * state_weights).sum()
    return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))


@every_implementation
@every_length
@every_dtype
@every_direction
def test_every_gradient_agrees_with_the_definition_in_float64(
    name: str, length: int, dtype: torch.dtype, reverse: bool
) -> None:
    positions = some_positions(length) if length > 2 else None
    arguments = draw_arguments(length, dtype=dtype, positions=positions, seed=length)
    exact = {key: value.double() for key, value in arguments.items()}
    generator = torch.Generator().manual_seed(1)
    weights = torch.randn(arguments["z"].shape, generator=generator, dtype=torch.float64)
    state_weights = torch.randn(BATCH, CHANNELS, STATE, generator=generator, dtype=torch.float64)
    how: dict[str, Any] = {"dt_softplus": True, "reverse": reverse, "positions": positions}
    expected = gradients(exact, weights, state_weights, **how, implementation="reference")
    actual = gradients(arguments, weights, state_weights, **how, implementation=name)
    for key, gradient in actual.items():
        assert gradient.dtype == arguments[key].dtype, key
        assert_close(gradient, expected[key], GRADIENT_TOLERANCE[dtype])


# Refusals ---------------------------------------------------------------------------------------------------------


def test_an_unknown_implementation_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'magic' is none of auto, .*reference"):
        selective_scan(**draw_arguments(3), implementation="magic")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["dt", "A", "B", "C", "D", "z", "dt_bias", "initial_state"])
def test_a_wrong_shape_is_refused_with_both_shapes(name: str) -> None:
    arguments = draw_arguments(5)
    arguments[name] = arguments[name][:1]  # would be broadcast
    with pytest.raises(ValueError, match=rf"{name} has the shape \(1,.*where x \(2, 5, 6\) needs \("):
        output(arguments)


@pytest.mark.parametrize(("name", "wrong"), [("x", torch.zeros(5, 6)), ("A", torch.zeros(6))])
def test_a_wrong_number_of_dimensions_is_refused(name: str, wrong: Tensor) -> None:
    with pytest.raises(ValueError, match=r"x is \[B, L, E\] and A \[E, N\]; got"):
        output(dict(draw_arguments(5), **{name: wrong}))


@pytest.mark.parametrize("name", ["C", "z"])
def test_with_positions_read_outs_and_gates_have_their_length(name: str) -> None:
    positions = torch.tensor([1, 3])
    arguments = dict(draw_arguments(5, positions=positions), **{name: draw_arguments(5)[name]})
    with pytest.raises(ValueError, match=rf"{name} has the shape \(2, 5, \d\) .* needs \(2, 2, \d\)"):
        output(arguments, positions=positions)


@pytest.mark.parametrize("positions", [[3, 1], [1, 1], [-1, 2], [2, 5], [5, 6]])
def test_positions_that_do_not_rise_within_the_sequence_are_refused(positions: list[int]) -> None:
    asked = torch.tensor(positions)
    with pytest.raises(ValueError, match=r"positions must rise strictly within 0\.\.4"):
        output(draw_arguments(5, positions=asked), positions=asked)


@pytest.mark.parametrize(
    "positions",
    [
        torch.tensor(3),
        torch.tensor([[0, 1]]),
        torch.tensor([0.0, 1.0]),
        torch.tensor([False, True, False, True, True]),
        torch.tensor([3, 1], dtype=torch.uint8),  # differences of uint8 never fall below 0
    ],
    ids=["scalar", "matrix", "float", "mask", "uint8"],
)
def test_positions_of_another_kind_are_refused(positions: Tensor) -> None:
    with pytest.raises(ValueError, match=r"positions are int64 \[Q\]; got torch\."):
        output(draw_arguments(5), positions=positions)


# Contract ---------------------------------------------------------------------------------------------------------


def test_the_signature_is_frozen() -> None:
    parameters = inspect.signature(selective_scan).parameters.values()
    positional = [parameter.name for parameter in parameters if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]
    keyword_only = {
        parameter.name: parameter.default for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY
    }
    defaults = {parameter.name: parameter.default for parameter in parameters if parameter.name in positional[5:]}
    assert positional == ["x", "dt", "A", "B", "C", "D", "z", "dt_bias", "dt_softplus"]
    assert all(parameter.default is parameter.empty for parameter in list(parameters)[:5])
    assert defaults == {"D": None, "z": None, "dt_bias": None, "dt_softplus": False}
    assert keyword_only == {
        "reverse": False,
        "initial_state": None,
        "return_final_state": False,
        "positions": None,
        "implementation": "auto",
    }
    assert len(parameters) == len(positional) + len(keyword_only)


def test_one_tensor_comes_back_unless_the_state_is_asked_for() -> None:
    assert isinstance(selective_scan(**draw_arguments(3)), Tensor)  # type: ignore[arg-type]
    y, state = scan(draw_arguments(3))
    assert y.shape == (BATCH, 3, CHANNELS)
    assert state.shape == (BATCH, CHANNELS, STATE)


def test_the_arguments_are_left_as_they_were() -> None:
    arguments = draw_arguments(7)
    copies = {key: value.clone() for key, value in arguments.items()}
    scan(arguments, dt_softplus=True, reverse=True)
    assert all(torch.equal(arguments[key], copies[key]) for key in copies)
