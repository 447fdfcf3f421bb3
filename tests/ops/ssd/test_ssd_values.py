"""Mamba-2's scan: values and every gradient against the equation and the definition, in every way to cut it.

Shapes: B batch, L length, H heads, P width of a head, G groups, N state.
"""

from typing import Any

import numpy as np
import pytest
import torch
from ssd_cases import (
    GROUPS,
    HEADS,
    Arguments,
    assert_all_close,
    defined_results,
    draw_arguments,
    draw_sequences,
    results,
    scan,
)
from torch import Tensor

from bimba.ops.ssd import IMPLEMENTATIONS, pieces

LENGTHS = (1, 2, 63, 64, 65)
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
CASES = [
    *((length, dtype, packed) for length in LENGTHS for dtype in DTYPES for packed in (False, True)),
    *((1000, dtype, False) for dtype in DTYPES),
    (1000, torch.float32, True),
]
every_implementation = pytest.mark.parametrize("name", sorted(IMPLEMENTATIONS))
every_fast_one = pytest.mark.parametrize("name", sorted(set(IMPLEMENTATIONS) - {"reference"}))
packed_or_not = pytest.mark.parametrize("packed", [False, True], ids=["one_sequence", "packed"])


@pytest.fixture(params=[1, 3, 1000], ids="pieces_of_{}".format)
def _chunks_a_piece(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of one chunk, of some, and of all."""
    monkeypatch.setitem(pieces.PIECE_VALUES, "cpu", request.param * 64 * 2 * 6 * 5)


def sequences(length: int, *, packed: bool) -> dict[str, Any]:
    return {"seq_idx": draw_sequences(length)} if packed else {}


@every_fast_one
@pytest.mark.parametrize(("length", "dtype", "packed"), CASES)
def test_values_and_every_gradient_are_those_of_the_definition_in_float64(
    name: str, length: int, dtype: torch.dtype, packed: bool
) -> None:
    arguments, how = draw_arguments(length, dtype=dtype), sequences(length, packed=packed)
    actual = results(arguments, implementation=name, **how)
    for what, tensor in actual.items():
        kept = what in {"state", "gradient of A", "gradient of initial_state"}
        assert tensor.dtype == (torch.promote_types(dtype, torch.float32) if kept else dtype), what
    assert_all_close(actual, defined_results(arguments, **how))


@every_fast_one
@pytest.mark.usefixtures("_chunks_a_piece")
@packed_or_not
@pytest.mark.parametrize("length", [0, 1, 64, 65, 193, 330], ids="L{}".format)
def test_how_a_sequence_is_cut_changes_nothing(name: str, length: int, packed: bool) -> None:
    arguments, how = draw_arguments(length, dtype=torch.float64, D_by_channel=True), sequences(length, packed=packed)
    assert_all_close(results(arguments, implementation=name, **how), defined_results(arguments, **how))


@every_fast_one
@pytest.mark.parametrize("left_out", ["nothing", "D", "dt_bias", "initial_state", "everything"])
@pytest.mark.parametrize("D_by_channel", [False, True], ids=["D_by_head", "D_by_channel"])
def test_what_may_be_left_out_may_be_left_out(name: str, left_out: str, D_by_channel: bool) -> None:
    arguments = draw_arguments(70, D_by_channel=D_by_channel)
    for each in ("D", "dt_bias", "initial_state") if left_out == "everything" else (left_out,):
        arguments.pop(each, None)
    assert_all_close(results(arguments, implementation=name), defined_results(arguments))


# The equation -----------------------------------------------------------------------------------------------------


def equation(arguments: Arguments, seq_idx: Tensor | None, limit: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Outputs and final state from the equations of the op's README: one head and step at a time."""
    given = {name: value.double().numpy() for name, value in arguments.items()}
    x, B, C = given["x"], given["B"], given["C"]
    y, h = np.zeros_like(x), given["initial_state"].copy()
    for b in range(x.shape[0]):
        for head in range(HEADS):
            group = head // (HEADS // GROUPS)
            for t in range(x.shape[1]):
                if seq_idx is not None and t and seq_idx[b, t] != seq_idx[b, t - 1]:
                    h[b, head] = 0.0
                s = np.clip(np.log1p(np.exp(given["dt"][b, t, head] + given["dt_bias"][head])), *limit)
                h[b, head] *= np.exp(s * given["A"][head])
                h[b, head] += s * np.outer(x[b, t, head], B[b, t, group])
                y[b, t, head] = h[b, head] @ C[b, t, group] + given["D"][head] * x[b, t, head]
    return torch.from_numpy(y), torch.from_numpy(h)


@every_implementation
@packed_or_not
@pytest.mark.parametrize("limit", [(0.0, float("inf")), (0.4, 0.9)], ids=["no_limit", "limited"])
@pytest.mark.parametrize("length", [1, 2, 65], ids="L{}".format)
def test_matches_the_equation(name: str, packed: bool, limit: tuple[float, float], length: int) -> None:
    arguments, how = draw_arguments(length, dtype=torch.float64), sequences(length, packed=packed)
    y, state = scan(arguments, implementation=name, dt_limit=limit, **how)
    expected_y, expected_state = equation(arguments, how.get("seq_idx"), limit)
    torch.testing.assert_close(y, expected_y, rtol=0.0, atol=1e-12)
    torch.testing.assert_close(state, expected_state, rtol=0.0, atol=1e-12)


@every_fast_one
def test_steps_outside_the_limits_have_no_gradient(name: str) -> None:
    arguments = draw_arguments(80, dtype=torch.float64)
    how: dict[str, Any] = {"dt_limit": (0.4, 0.9)}
    found = results(arguments, implementation=name, **how)
    assert_all_close(found, defined_results(arguments, **how))
    steps = torch.nn.functional.softplus(arguments["dt"] + arguments["dt_bias"])
    outside = (steps < 0.4) | (steps > 0.9)
    gradient = found["gradient of dt"]
    assert outside.any()
    assert not gradient[outside].any()
    assert gradient[~outside].all()


# Pieces and packing -----------------------------------------------------------------------------------------------


@every_implementation
@pytest.mark.parametrize("cut", [0, 1, 63, 64, 100, 149])
def test_two_pieces_with_a_carried_state_are_the_whole(name: str, cut: int) -> None:
    whole = draw_arguments(150, dtype=torch.float64)
    over_time = {"x", "dt", "B", "C"}
    first = {key: value[:, :cut] if key in over_time else value for key, value in whole.items()}
    second = {key: value[:, cut:] if key in over_time else value for key, value in whole.items()}
    y_first, carried = scan(first, implementation=name)
    y_second, state = scan(second | {"initial_state": carried}, implementation=name)
    y, expected = scan(whole, implementation=name)
    torch.testing.assert_close(torch.cat([y_first, y_second], 1), y, rtol=0.0, atol=1e-12)
    torch.testing.assert_close(state, expected, rtol=0.0, atol=1e-12)


@every_implementation
def test_packed_sequences_are_those_scanned_alone(name: str) -> None:
    arguments = draw_arguments(150, dtype=torch.float64)
    first_state = arguments["initial_state"]
    seq_idx = torch.zeros(2, 150, dtype=torch.int64)
    seq_idx[:, 17:80] = 5  # and back to 0: a sequence of its own
    y, state = scan(arguments, seq_idx=seq_idx, implementation=name)
    bounds = [(0, 17, first_state), (17, 80, torch.zeros_like(first_state)), (80, 150, torch.zeros_like(first_state))]
    for begin, end, before in bounds:
        part = {key: value[:, begin:end] if value.shape[:2] == (2, 150) else value for key, value in arguments.items()}
        alone, last = scan(part | {"initial_state": before}, implementation=name)
        torch.testing.assert_close(y[:, begin:end], alone, rtol=0.0, atol=1e-12)
    torch.testing.assert_close(state, last, rtol=0.0, atol=1e-12)


# Steps out of the ordinary ----------------------------------------------------------------------------------------

STEPS = {
    "large": (20.0, 200.0),
    "ordinary": (1e-3, 1e-1),
    "tiny": (1e-8, 1e-6),
    "from_tiny_to_large": (-60.0, 60.0),
}


@every_fast_one
@packed_or_not
@pytest.mark.parametrize("steps", STEPS)
def test_large_and_tiny_steps_are_those_of_the_definition(name: str, steps: str, packed: bool) -> None:
    least, largest = STEPS[steps]
    arguments = draw_arguments(130, seed=3)
    del arguments["dt_bias"]
    shares = torch.rand(arguments["dt"].shape, generator=torch.Generator().manual_seed(4))
    arguments["dt"] = least + (largest - least) * shares
    how: dict[str, Any] = {"dt_softplus": least < 0.0, **sequences(130, packed=packed)}
    assert_all_close(results(arguments, implementation=name, **how), defined_results(arguments, **how))


@every_fast_one
def test_small_steps_keep_their_digits_behind_a_large_one(name: str) -> None:
    # Differences of float32 sums would know the small steps only to 1e-4 after a sum of thousands.
    arguments = draw_arguments(64, seed=5)
    del arguments["dt_bias"]
    arguments["dt"] = torch.rand(arguments["dt"].shape, generator=torch.Generator().manual_seed(6)).mul(0.02)
    arguments["dt"][:, 3] = 5000.0
    arguments["A"] = torch.full((6,), -1.0)
    how: dict[str, Any] = {"dt_softplus": False}
    assert_all_close(results(arguments, implementation=name, **how), defined_results(arguments, **how))
    y, _ = scan(arguments, implementation=name, **how)
    exact, _ = scan({name: value.double() for name, value in arguments.items()}, implementation="reference", **how)
    later = (y - exact)[:, 4:].abs().max().item()
    assert later <= 5e-6 * exact[:, 4:].abs().max().item()


@every_fast_one
def test_a_state_that_grows_grows_as_defined(name: str) -> None:
    arguments = draw_arguments(130, seed=7)
    del arguments["dt_bias"]
    arguments["A"] = torch.full((6,), 0.5)
    arguments["dt"] = torch.rand(arguments["dt"].shape, generator=torch.Generator().manual_seed(8)).mul(0.2)
    how: dict[str, Any] = {"dt_softplus": False}
    assert_all_close(results(arguments, implementation=name, **how), defined_results(arguments, **how))


@every_fast_one
def test_what_grows_beyond_every_number_elsewhere_does_not_spoil_a_sequence(name: str) -> None:
    # Sums over two sequences, or from a later step to an earlier one, must never be exponentiated.
    arguments = draw_arguments(40, seed=9)
    del arguments["dt_bias"], arguments["initial_state"]
    arguments["A"] = torch.full((6,), 1.0)
    arguments["dt"] = torch.full_like(arguments["dt"], 80.0)
    seq_idx = torch.arange(40).expand(2, 40)
    y, state = scan(arguments, dt_softplus=False, seq_idx=seq_idx, implementation=name)
    expected, last = scan(arguments, dt_softplus=False, seq_idx=seq_idx, implementation="reference")
    assert y.isfinite().all()
    torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(state, last, rtol=1e-5, atol=1e-3)


@every_implementation
def test_a_bfloat16_state_forgets_nothing_small(name: str) -> None:
    # Steps of 1/1000 on a state that does not fade: a bfloat16 state would stop growing at 0.25.
    ones = torch.ones(1, 1500, 1, 1, dtype=torch.bfloat16)
    step = torch.full((1, 1500, 1), 1e-3, dtype=torch.bfloat16)
    arguments = {"x": ones, "dt": step, "A": torch.zeros(1), "B": ones, "C": ones}
    _, state = scan(arguments, dt_softplus=False, implementation=name)
    assert state.item() == pytest.approx(1500 * step[0, 0, 0].item(), rel=1e-5)
