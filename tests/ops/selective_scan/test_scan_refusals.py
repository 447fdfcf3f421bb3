"""Selective scan: its signature, and bad shapes, dtypes, devices and positions, refused with both sides named.

Shapes: B batch, L length, E channels, N state, Q positions asked for.
"""

import inspect

import pytest
import torch
from scan_cases import (
    ALL_OPTIONS,
    BATCH,
    CHANNELS,
    REQUIRED,
    STATE,
    assert_close,
    draw_arguments,
    every_implementation,
    name_of,
    on_the_cpu,
    output,
    results,
    scan,
)
from torch import Tensor

from bimba.ops import selective_scan

every_tensor_but_x = pytest.mark.parametrize("name", [*REQUIRED[1:], *sorted(ALL_OPTIONS)])


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


# Shapes -----------------------------------------------------------------------------------------------------------


@every_tensor_but_x
def test_a_wrong_shape_is_refused_with_both_shapes(name: str) -> None:
    arguments = draw_arguments(5)
    arguments[name] = arguments[name][:1]  # would be broadcast
    with pytest.raises(ValueError, match=rf"{name} has the shape \(1,.*where x \(2, 5, 6\) needs \("):
        output(arguments)


@pytest.mark.parametrize("name", ["dt", "B", "C", "z"])
@pytest.mark.parametrize("wrong_length", [1, 4, 6])
def test_a_wrong_length_is_refused_with_both_lengths(name: str, wrong_length: int) -> None:
    arguments = dict(draw_arguments(5), **{name: draw_arguments(wrong_length)[name]})
    with pytest.raises(ValueError, match=rf"{name} has the shape \(2, {wrong_length}, \d\).*needs \(2, 5, \d\)"):
        output(arguments)


@pytest.mark.parametrize("name", ["B", "C", "initial_state"])
def test_a_state_of_another_size_is_refused_with_both_sizes(name: str) -> None:
    arguments = draw_arguments(5)
    arguments[name] = arguments[name][..., :3]
    with pytest.raises(ValueError, match=rf"{name} has the shape \(2, \d, 3\).*needs \(2, \d, 4\)"):
        output(arguments)


@pytest.mark.parametrize(("name", "wrong"), [("x", torch.zeros(5, 6)), ("A", torch.zeros(6))])
def test_a_wrong_number_of_dimensions_is_refused(name: str, wrong: Tensor) -> None:
    with pytest.raises(ValueError, match=r"x is \[B, L, E\] and A \[E, N\]; got \(\d"):
        output(dict(draw_arguments(5), **{name: wrong}))


@pytest.mark.parametrize("name", ["C", "z"])
def test_with_positions_read_outs_and_gates_have_their_length(name: str) -> None:
    positions = torch.tensor([1, 3])
    arguments = dict(draw_arguments(5, positions=positions), **{name: draw_arguments(5)[name]})
    with pytest.raises(ValueError, match=rf"{name} has the shape \(2, 5, \d\) .* needs \(2, 2, \d\)"):
        output(arguments, positions=positions)


# Dtypes and devices -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64, torch.float8_e4m3fn], ids=name_of)
@pytest.mark.parametrize("name", [*REQUIRED, *sorted(ALL_OPTIONS)])
def test_a_dtype_that_is_no_scan_is_refused_by_name(name: str, dtype: torch.dtype) -> None:
    arguments = draw_arguments(5)
    arguments[name] = torch.zeros(arguments[name].shape, dtype=dtype)
    with pytest.raises(ValueError, match=rf"{name} is {dtype}; a scan takes float16, bfloat16, float32 or float64"):
        output(arguments)


@every_implementation
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=name_of)
def test_tensors_of_another_dtype_than_x_are_used_as_they_are(name: str, dtype: torch.dtype) -> None:
    exact = draw_arguments(7, dtype=dtype)
    mixed = dict(exact, x=exact["x"].float())
    actual = results(mixed, implementation=name, dt_softplus=True)
    wanted = results({key: value.float() for key, value in mixed.items()}, implementation=name, dt_softplus=True)
    assert actual["y"].dtype == torch.float32
    for key, tensor in mixed.items():
        gradient = actual[f"gradient of {key}"]
        assert gradient.dtype == tensor.dtype, key
        assert_close(gradient, wanted[f"gradient of {key}"], 1e-5 if dtype == torch.float64 else 1e-2, key)
    assert_close(actual["y"], wanted["y"], 1e-6)
    assert_close(actual["state"], wanted["state"], 1e-6)


@every_tensor_but_x
def test_a_tensor_on_another_device_is_refused_with_both_devices(name: str) -> None:
    arguments = draw_arguments(5)
    arguments[name] = arguments[name].to("meta")
    with pytest.raises(ValueError, match=rf"{name} is on meta and x on cpu; a scan needs them together"):
        selective_scan(**arguments)  # type: ignore[arg-type]


def test_x_alone_on_another_device_is_refused() -> None:
    arguments = dict(draw_arguments(5), x=draw_arguments(5)["x"].to("meta"))
    with pytest.raises(ValueError, match="is on cpu and x on meta"):
        selective_scan(**arguments)  # type: ignore[arg-type]


def test_tensors_without_numbers_give_shapes_without_numbers() -> None:
    arguments = {key: value.to("meta") for key, value in draw_arguments(5, dtype=torch.bfloat16).items()}
    y, state = selective_scan(**arguments, return_final_state=True)  # type: ignore[arg-type]
    assert (y.device.type, y.shape, y.dtype) == ("meta", (BATCH, 5, CHANNELS), torch.bfloat16)
    assert (state.device.type, state.shape, state.dtype) == ("meta", (BATCH, CHANNELS, STATE), torch.float32)


def test_an_unknown_implementation_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'magic' is none of auto, reference, cpu, triton, mamba_ssm\."):
        selective_scan(**draw_arguments(3), implementation="magic")  # type: ignore[arg-type]
    # Where nothing is computed, too.
    of_meta = {key: value.to("meta") for key, value in draw_arguments(3).items()}
    with pytest.raises(ValueError, match="'magic' is none of auto"):
        selective_scan(**of_meta, implementation="magic")  # type: ignore[arg-type]


# Positions --------------------------------------------------------------------------------------------------------


@on_the_cpu
@pytest.mark.parametrize("positions", [[3, 1], [1, 1], [-1, 2], [2, 5], [5, 6], [4, 3, 2, 1, 0], [5], [-1]], ids=str)
def test_positions_that_do_not_rise_within_the_sequence_are_refused(name: str, positions: list[int]) -> None:
    asked = torch.tensor(positions)
    with pytest.raises(ValueError, match=r"positions must rise strictly within 0\.\.4"):
        output(draw_arguments(5, positions=asked), positions=asked, reverse=True, implementation=name)


@on_the_cpu
def test_a_position_in_an_empty_sequence_is_refused(name: str) -> None:
    asked = torch.tensor([0])
    with pytest.raises(ValueError, match="positions"):
        output(draw_arguments(0, positions=asked), positions=asked, implementation=name)


@pytest.mark.parametrize(
    "positions",
    [
        torch.tensor(3),
        torch.tensor([[0, 1]]),
        torch.tensor([0.0, 1.0]),
        torch.tensor([False, True, False, True, True]),
        torch.tensor([3, 1], dtype=torch.uint8),  # differences of uint8 never fall below 0
        torch.tensor([1, 3], dtype=torch.int32),
    ],
    ids=["scalar", "matrix", "float", "mask", "uint8", "int32"],
)
def test_positions_of_another_kind_are_refused(positions: Tensor) -> None:
    with pytest.raises(ValueError, match=r"positions are int64 \[Q\]; got torch\."):
        output(draw_arguments(5), positions=positions)
