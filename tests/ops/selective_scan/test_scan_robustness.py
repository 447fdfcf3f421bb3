"""Selective scan: any memory layout, no unwritten memory, the same bits each time, NaN in its place, nothing at all.

Shapes: B batch, L length, E channels, N state, Q positions asked for.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from scan_cases import (
    ALL_OPTIONS,
    REQUIRED,
    Arguments,
    assert_all_close,
    assert_identical,
    device_of,
    draw_arguments,
    draw_like,
    each_with,
    every_direction,
    every_implementation,
    packed,
    relative_difference,
    results,
    scan,
    some_positions,
)
from torch import Tensor

from bimba.ops.selective_scan import IMPLEMENTATIONS

# Memory layout ----------------------------------------------------------------------------------------------------


def transposed(tensor: Tensor) -> Tensor:
    """The same numbers with the first dimension's neighbours side by side in memory."""
    return tensor.permute(*reversed(range(tensor.ndim))).contiguous().permute(*reversed(range(tensor.ndim)))


def spread(tensor: Tensor) -> Tensor:
    """The same numbers with as many others between them."""
    return torch.stack([tensor, torch.full_like(tensor, float("nan"))], dim=-1)[..., 0]


def part_of_a_wider_one(tensor: Tensor) -> Tensor:
    """The same numbers as the middle of a tensor with more columns, as a split projection gives them."""
    width = tensor.shape[-1]
    return torch.cat([tensor, tensor, tensor], dim=-1)[..., width : 2 * width]


@every_implementation
@every_direction
@pytest.mark.parametrize("layout", [transposed, spread, part_of_a_wider_one])
def test_the_layout_in_memory_does_not_matter(name: str, reverse: bool, layout: Callable[[Tensor], Tensor]) -> None:
    positions = some_positions(9)
    arguments = draw_arguments(9, dtype=torch.float32, positions=positions)
    how: dict[str, Any] = {"dt_softplus": True, "reverse": reverse, "positions": positions, "implementation": name}
    wanted = results(arguments, **how)
    leaves = {key: value.clone().requires_grad_() for key, value in arguments.items()}
    laid_out = {key: layout(value) for key, value in leaves.items()}
    assert not any(value.is_contiguous() for value in laid_out.values() if value.ndim > 1)
    y, state = scan(laid_out, **how)
    weights = (layout(draw_like(y, 1)), layout(draw_like(state, 2)))
    gradients = torch.autograd.grad((y, state), list(leaves.values()), weights)
    named = {f"gradient of {key}": gradient for key, gradient in zip(leaves, gradients, strict=True)}
    assert_equal_but_for_order({"y": y, "state": state, **named}, wanted, name)


def assert_equal_but_for_order(actual: Arguments, wanted: Arguments, name: str) -> None:
    """The same bits; but torch, of which the reference is made, adds up in an order that depends on the layout."""
    if name == "reference":
        assert_all_close(actual, wanted, 1e-6)
    else:
        assert_identical(actual, wanted)


@every_implementation
def test_numbers_expanded_over_time_are_as_good_as_copies(name: str) -> None:
    arguments = draw_arguments(9, dtype=torch.float32)
    for key in ("x", "dt", "B", "C", "z"):
        arguments[key] = arguments[key][:, :1].expand_as(arguments[key])
    copies = {key: value.contiguous() for key, value in arguments.items()}
    how: dict[str, Any] = {"dt_softplus": True, "implementation": name}
    actual, wanted = (dict(zip(("y", "state"), scan(each, **how), strict=True)) for each in (arguments, copies))
    assert_equal_but_for_order(actual, wanted, name)


# Unwritten memory -------------------------------------------------------------------------------------------------


def poison(tensor: Tensor) -> Tensor:
    """Fill with what no result may hold."""
    if tensor.is_floating_point():
        return tensor.fill_(float("nan"))
    return tensor.fill_(-(2**31))


@pytest.fixture
def poisoned_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Every tensor that is made without numbers holds NaN; the list says by what it was made."""
    made: list[str] = []
    for owner, name in (
        (torch, "empty"),
        (torch, "empty_like"),
        (torch, "empty_strided"),
        (Tensor, "new_empty"),
        (Tensor, "new_empty_strided"),
    ):
        original = getattr(owner, name)

        def make(*given: Any, original: Any = original, name: str = name, **how: Any) -> Tensor:
            made.append(name)
            return poison(original(*given, **how))

        monkeypatch.setattr(owner, name, make)
    yield made
    monkeypatch.undo()


OPTIONS = {"all_options": ALL_OPTIONS, "no_option": frozenset[str]()}
WAYS = [f"{asked} with {options}" for asked in ("all", "some", "none") for options in OPTIONS]


@pytest.mark.parametrize(
    ("name", "way"),
    each_with(WAYS, interpreted=["all with all_options", "some with no_option", "none with all_options"]),
)
@every_direction
def test_no_result_holds_unwritten_memory(name: str, way: str, reverse: bool, poisoned_memory: list[str]) -> None:
    asked, options = way.split(" with ")
    positions = {"all": None, "some": some_positions(66)[5:-5], "none": torch.zeros(0, dtype=torch.int64)}[asked]
    arguments = draw_arguments(66, dtype=torch.float32, positions=positions, options=OPTIONS[options], sizes=(1, 5, 3))
    placed = {key: value.to(device_of(name)) for key, value in arguments.items()}
    if positions is not None:
        positions = positions.to(device_of(name))
    given = packed(placed, reverse=reverse, positions=positions)
    module = IMPLEMENTATIONS[name].module
    y, state, saved_states = module.forward(given, save_states=True)
    assert saved_states.shape[1] == 2
    for what, tensor in (("y", y), ("state", state), ("saved states", saved_states)):
        assert not tensor.isnan().any(), what
    grad_y, grad_state = draw_like(y.cpu(), 1).to(y.device), draw_like(state.cpu(), 2).to(y.device)
    gradients = module.backward(given, saved_states, grad_y, grad_state)
    for key, gradient in gradients._asdict().items():
        assert (gradient is None) == (key not in arguments), key
        assert gradient is None or gradient.isfinite().all(), key
    assert made_in_poison(name, poisoned_memory)


def made_in_poison(name: str, made: list[str]) -> bool:
    """Whether the test could have seen anything: the fast ones all begin with tensors without numbers."""
    return name == "reference" or len(made) > 5


# The same each time -----------------------------------------------------------------------------------------------


def long_arguments(name: str) -> Arguments:
    """Enough for every thread and chunk to have a part: for the CPU several blocks of channels."""
    sizes, length = ((1, 37, 8), 66) if name == "triton" else ((3, 300, 8), 66)
    return draw_arguments(length, dtype=torch.float32, sizes=sizes)


@every_implementation
def test_results_do_not_change_from_run_to_run(name: str) -> None:
    arguments = long_arguments(name)
    first = results(arguments, implementation=name, dt_softplus=True)
    for _ in range(1 if name == "triton" else 5):
        _ = [torch.full((1000,), float("nan")) for _ in range(100)]  # leaves other memory behind
        assert_identical(results(arguments, implementation=name, dt_softplus=True), first)


@pytest.fixture
def number_of_threads() -> Iterator[Callable[[int], None]]:
    """Sets torch's number of threads; what it was before comes back."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("channels", [5, 300, 4133])
def test_results_do_not_depend_on_the_number_of_threads(
    channels: int, number_of_threads: Callable[[int], None]
) -> None:
    arguments = draw_arguments(20, dtype=torch.float32, sizes=(3, channels, 4))
    each = []
    for count in (1, 2, 3):
        number_of_threads(count)
        each.append(results(arguments, implementation="cpu", dt_softplus=True))
    assert_identical(each[1], each[0])
    assert_identical(each[2], each[0])


# NaN --------------------------------------------------------------------------------------------------------------

LENGTH, AT = 12, 7
LONG_LENGTH, LONG_AT = 66, 63  # the last step of the first piece


def spoil(arguments: Arguments, key: str, at: int) -> Arguments:
    """The arguments with NaN in one place: sequence 1, step `at`, channel or state entry 2."""
    spoilt = dict(arguments, **{key: arguments[key].clone()})
    spoilt[key][1, at, 2] = float("nan")
    return spoilt


def reached(length: int, at: int, key: str, reverse: bool) -> Tensor:
    """Which outputs [B, L, E] a NaN there is bound to reach."""
    reach = torch.zeros(2, length, 6, dtype=torch.bool)
    later = slice(0, at + 1) if reverse else slice(at, length)
    steps = slice(at, at + 1) if key in {"C", "z"} else later
    channels = slice(None) if key in {"B", "C"} else slice(2, 3)
    reach[1, steps, channels] = True
    return reach


@every_implementation
@every_direction
@pytest.mark.parametrize(
    ("key", "length", "at"),
    [*((key, LENGTH, AT) for key in ("x", "dt", "B", "z", "C")), ("x", LONG_LENGTH, LONG_AT), ("x", LONG_LENGTH, 64)],
)
def test_nan_stays_where_causality_puts_it(name: str, key: str, length: int, at: int, reverse: bool) -> None:
    arguments = draw_arguments(length, dtype=torch.float32)
    how: dict[str, Any] = {"dt_softplus": True, "reverse": reverse, "implementation": name}
    clean_y, clean_state = scan(arguments, **how)
    y, state = scan(spoil(arguments, key, at), **how)
    reach = reached(length, at, key, reverse)
    assert torch.equal(y.isnan(), reach)
    assert torch.equal(y[~reach], clean_y[~reach])
    state_reach = torch.zeros_like(state, dtype=torch.bool)
    if key in {"x", "dt"}:
        state_reach[1, 2] = True
    if key == "B":
        state_reach[1, :, 2] = True
    assert torch.equal(state.isnan(), state_reach)
    assert torch.equal(state[~state_reach], clean_state[~state_reach])


@every_implementation
@every_direction
def test_nan_reaches_no_gradient_of_another_sequence_or_channel(name: str, reverse: bool) -> None:
    arguments = draw_arguments(LENGTH, dtype=torch.float32)
    how: dict[str, Any] = {"dt_softplus": True, "reverse": reverse, "implementation": name}
    clean, spoilt = results(arguments, **how), results(spoil(arguments, "x", AT), **how)
    others = torch.tensor([0, 1, 3, 4, 5])
    for key in ("x", "dt", "z"):
        what = f"gradient of {key}"
        assert torch.equal(spoilt[what][0], clean[what][0]), key
        assert torch.equal(spoilt[what][..., others], clean[what][..., others]), key
    for key in ("B", "C"):
        what = f"gradient of {key}"
        assert torch.equal(spoilt[what][0], clean[what][0]), key
    for key in ("A", "D", "dt_bias"):
        what = f"gradient of {key}"
        assert torch.equal(spoilt[what][others], clean[what][others]), key
    assert spoilt["gradient of A"][2].isnan().all()


# Nothing ----------------------------------------------------------------------------------------------------------


@every_implementation
@every_direction
@pytest.mark.parametrize("positions", [None, torch.zeros(0, dtype=torch.int64)], ids=["all", "none"])
@pytest.mark.parametrize("options", [ALL_OPTIONS, frozenset()], ids=["all_options", "no_option"])
def test_an_empty_sequence_carries_the_state_through(
    name: str, reverse: bool, positions: Tensor | None, options: frozenset[str]
) -> None:
    arguments = draw_arguments(0, dtype=torch.float32, options=options)
    actual = results(arguments, implementation=name, dt_softplus=True, reverse=reverse, positions=positions)
    assert actual["y"].shape == (2, 0, 6)
    expected = arguments.get("initial_state", torch.zeros(2, 6, 4))
    assert torch.equal(actual["state"], expected)
    for key, tensor in arguments.items():
        wanted = draw_like(expected, 2) if key == "initial_state" else torch.zeros_like(tensor)
        assert torch.equal(actual[f"gradient of {key}"], wanted), key


@every_implementation
@pytest.mark.parametrize(
    "sizes", [(0, 6, 4), (2, 0, 4), (0, 0, 4), (2, 6, 0)], ids=["no_sequence", "no_channel", "neither", "no_state"]
)
def test_nothing_gives_nothing_in_the_right_shape(name: str, sizes: tuple[int, int, int]) -> None:
    arguments = draw_arguments(5, dtype=torch.float32, sizes=sizes)
    actual = results(arguments, implementation=name, dt_softplus=True)
    assert actual["y"].shape == (sizes[0], 5, sizes[1])
    assert actual["state"].shape == sizes
    for key, tensor in arguments.items():
        assert actual[f"gradient of {key}"].shape == tensor.shape, key
    if sizes[2] == 0:  # D and the gate are left
        wanted = arguments["D"] * arguments["x"] * torch.nn.functional.silu(arguments["z"])
        assert relative_difference(actual["y"], wanted) < 1e-6
    else:
        assert not any(actual[f"gradient of {key}"].any() for key in REQUIRED)


@every_implementation
def test_a_channel_alone_is_the_same_as_among_others(name: str) -> None:
    arguments = draw_arguments(9, dtype=torch.float32)
    how: dict[str, Any] = {"dt_softplus": True, "implementation": name}
    y, state = scan(arguments, **how)
    alone = {
        key: value[..., 3:4] if key in {"x", "dt", "D", "z", "dt_bias"} else value for key, value in arguments.items()
    }
    alone.update(A=arguments["A"][3:4], initial_state=arguments["initial_state"][:, 3:4])
    alone_y, alone_state = scan(alone, **how)
    assert_all_close({"y": alone_y, "state": alone_state}, {"y": y[..., 3:4], "state": state[:, 3:4]}, 1e-6)
