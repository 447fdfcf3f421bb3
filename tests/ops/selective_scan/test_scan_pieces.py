"""Selective scan: direction, the positions asked for, and sequences that go through in pieces.

Shapes: B batch, L length, E channels, N state, Q positions asked for.
"""

from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scan_cases import (
    ALL_OPTIONS,
    OVER_TIME,
    Arguments,
    assert_all_close,
    assert_close,
    assert_identical,
    defined_results,
    device_of,
    draw_arguments,
    draw_like,
    each_with,
    every_direction,
    every_implementation,
    flipped,
    on_the_cpu,
    output,
    packed,
    results,
    scan,
    select,
)

from bimba.ops import selective_scan
from bimba.ops.selective_scan import IMPLEMENTATIONS

SOME_LENGTH = 70

# Direction --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "length"), each_with([1, 2, 63, 64, 65, 130], interpreted=[1, 2, 65]))
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


# Positions --------------------------------------------------------------------------------------------------------

POSITIONS: dict[str, tuple[int, list[int]]] = {
    "none": (9, []),
    "first": (9, [0]),
    "last": (9, [8]),
    "both_ends": (9, [0, 8]),
    "none_of_two_pieces": (SOME_LENGTH, []),
    "about_a_saved_state": (SOME_LENGTH, [5, 6, 62, 63, 64, 65, 66]),
    "within_one_piece": (SOME_LENGTH, [65, 68]),
    "every_third": (SOME_LENGTH, list(range(1, SOME_LENGTH, 3))),
}
"""Length and positions."""


@pytest.mark.parametrize(
    ("name", "asked"),
    each_with(
        list(POSITIONS), interpreted=["none", "first", "last", "both_ends", "about_a_saved_state", "within_one_piece"]
    ),
)
@every_direction
def test_values_and_gradients_at_positions_are_those_of_the_definition(name: str, asked: str, reverse: bool) -> None:
    length, positions = POSITIONS[asked][0], torch.tensor(POSITIONS[asked][1], dtype=torch.int64)
    arguments = draw_arguments(length, dtype=torch.float32, positions=positions, sizes=(1, 5, 4))
    how: dict[str, Any] = {"dt_softplus": True, "reverse": reverse, "positions": positions}
    actual = results(arguments, implementation=name, **how)
    assert actual["y"].shape == (1, len(positions), 5)
    assert_all_close(actual, defined_results(arguments, **how))


@every_implementation
@every_direction
def test_all_positions_spelt_out_equal_none_given(name: str, reverse: bool) -> None:
    arguments = draw_arguments(12, dtype=torch.float32)
    how = {"dt_softplus": True, "reverse": reverse, "implementation": name}
    assert_identical(results(arguments, **how, positions=torch.arange(12)), results(arguments, **how))  # type: ignore[arg-type]


@every_implementation
def test_positions_may_be_on_any_device_and_in_any_memory(name: str) -> None:
    device = device_of(name)
    positions = torch.arange(24).reshape(12, 2)[::3, 0]  # every sixth of 0..23, strided
    arguments = {key: value.to(device) for key, value in draw_arguments(24, positions=positions).items()}
    outputs = [selective_scan(**arguments, positions=each, implementation=name)  # type: ignore[arg-type]
               for each in (positions, positions.contiguous(), positions.to(device))]  # fmt: skip
    assert all(torch.equal(outputs[0], y) for y in outputs)  # type: ignore[arg-type]


@on_the_cpu
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


# Pieces -----------------------------------------------------------------------------------------------------------


def scan_in_pieces(arguments: Arguments, edges: list[int], *, reverse: bool, name: str) -> Arguments:
    """Outputs and final state of a sequence that goes through piece by piece, in the order of the scan."""
    pieces = list(pairwise(edges))
    outputs = []
    carried = {key: value for key, value in arguments.items() if key == "initial_state"}
    for start, stop in reversed(pieces) if reverse else pieces:
        part = {key: value[:, start:stop] if key in OVER_TIME else value for key, value in arguments.items()}
        y, state = scan({**part, **carried}, dt_softplus=True, reverse=reverse, implementation=name)
        outputs.append(y)
        carried = {"initial_state": state}
    return {"y": torch.cat(outputs[::-1] if reverse else outputs, dim=1), **carried}


@pytest.mark.parametrize(
    ("name", "cuts"),
    each_with([[1], [69], [64], [63, 65], [6, 6, 64]], interpreted=[[64], [6, 6, 69]]),
)
@every_direction
def test_pieces_equal_the_whole_in_values_and_gradients(name: str, cuts: list[int], reverse: bool) -> None:
    arguments = draw_arguments(SOME_LENGTH, dtype=torch.float32, sizes=(1, 5, 4))
    leaves = {key: value.clone().requires_grad_() for key, value in arguments.items()}
    pieces = scan_in_pieces(leaves, [0, *cuts, SOME_LENGTH], reverse=reverse, name=name)
    given_back = tuple(pieces.values())
    gradients = torch.autograd.grad(
        given_back, list(leaves.values()), (draw_like(given_back[0], 1), draw_like(given_back[1], 2))
    )
    actual = {
        "y": given_back[0],
        "state": given_back[1],
        **{f"gradient of {key}": gradient for key, gradient in zip(leaves, gradients, strict=True)},
    }
    assert_all_close(actual, defined_results(arguments, dt_softplus=True, reverse=reverse))


@on_the_cpu
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
    pieces = scan_in_pieces(arguments, [0, *sorted(cuts), length], reverse=reverse, name=name)
    assert_close(pieces["y"], y, 1e-13)
    assert_close(pieces["initial_state"], state, 1e-13)


@every_implementation
@every_direction
def test_a_state_is_saved_before_every_64th_step(name: str, reverse: bool) -> None:
    arguments = draw_arguments(SOME_LENGTH, dtype=torch.float32, sizes=(1, 5, 4))
    placed = {key: value.to(device_of(name)) for key, value in arguments.items()}
    module = IMPLEMENTATIONS[name].module
    _, final_state, saved_states = module.forward(packed(placed, reverse=reverse), save_states=True)
    assert (saved_states.shape, saved_states.dtype) == ((1, 2, 5, 4), torch.float32)
    assert torch.equal(saved_states[:, 0].cpu(), arguments["initial_state"])
    first, last = (6, SOME_LENGTH) if reverse else (0, 64)
    piece = {key: value[:, first:last] if key in OVER_TIME else value for key, value in arguments.items()}
    _, state_between = scan(piece, dt_softplus=True, reverse=reverse, implementation="reference")
    assert_close(saved_states[:, 1].cpu(), state_between, 1e-6)
    _, same_final_state, none_saved = module.forward(packed(placed, reverse=reverse), save_states=False)
    assert none_saved.shape == (1, 0, 5, 4)
    assert torch.equal(same_final_state, final_state)
