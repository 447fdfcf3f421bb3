"""Mamba-2's compiled scan on CPUs: what it reads and saves, what a NaN reaches, and where it cannot run.

Shapes: B batch, L length, H heads, P width of a head, G groups, N state.
"""

import logging
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from ssd_cases import Arguments, draw_arguments, draw_sequences, scan
from torch import Tensor

from bimba.errors import InputError
from bimba.ops.ssd import arguments as given
from bimba.ops.ssd import choice, chunked, cpu, pieces


def draw_wide(length: int, width: int, state_dim: int, heads: int, groups: int) -> Arguments:
    """Arguments of other sizes than those of `draw_arguments`, one sequence."""
    generator = torch.Generator().manual_seed(length)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    return {
        "x": normal(1, length, heads, width),
        "dt": normal(1, length, heads) - 2.0,
        "A": -torch.linspace(1.0, 16.0, heads),
        "B": normal(1, length, groups, state_dim),
        "C": normal(1, length, groups, state_dim),
        "D": normal(heads, width),
    }


def assert_as_defined(arguments: Arguments, **how: Any) -> None:
    exact = {name: value.double() for name, value in arguments.items()}
    for found, expected in zip(
        scan(arguments, implementation="cpu", **how), scan(exact, implementation="reference", **how), strict=True
    ):
        assert (found - expected).abs().max() <= 5e-6 * expected.abs().max()


@pytest.mark.parametrize(
    ("width", "state_dim", "heads", "groups"), [(64, 128, 4, 1), (1, 1, 3, 3), (16, 7, 2, 2), (17, 16, 8, 2)]
)
def test_heads_of_every_size_are_as_defined(width: int, state_dim: int, heads: int, groups: int) -> None:
    assert_as_defined(draw_wide(300, width, state_dim, heads, groups))


@pytest.mark.parametrize("length", [*range(3, 20), 255, 256, 257, 519])
def test_tiles_and_stretches_of_every_length_are_as_defined(length: int) -> None:
    assert_as_defined(draw_arguments(length))
    assert_as_defined(draw_arguments(length), seq_idx=draw_sequences(length))


def test_no_heads_no_width_no_state_and_no_batch_are_nothing() -> None:
    for heads, width, state_dim in ((0, 5, 4), (2, 0, 4), (2, 5, 0)):
        arguments = draw_wide(9, width, state_dim, heads, 1)
        y, state = scan(arguments, implementation="cpu")
        assert y.shape == (1, 9, heads, width)
        assert state.shape == (1, heads, width, state_dim)
        torch.testing.assert_close(y, arguments["D"] * arguments["x"])
    arguments = {name: value[:0] if value.ndim > 2 else value for name, value in draw_wide(9, 5, 4, 2, 1).items()}
    assert scan(arguments, implementation="cpu")[0].shape == (0, 9, 2, 5)


def test_what_was_cut_out_of_a_wider_tensor_is_read_where_it_stands() -> None:
    arguments = draw_arguments(70)
    sizes = [30, 8, 8]
    joined = torch.cat([arguments[name].flatten(2) for name in ("x", "B", "C")], dim=-1)
    parts = dict(zip(("x", "B", "C"), joined.split(sizes, dim=-1), strict=True))
    cut = {name: part.unflatten(2, arguments[name].shape[2:]) for name, part in parts.items()}
    assert not cut["x"].is_contiguous()
    for found, expected in zip(scan(arguments | cut), scan(arguments), strict=True):
        assert torch.equal(found, expected)


def test_sizes_of_one_and_expanded_tensors_are_read_right() -> None:
    arguments = draw_wide(40, 5, 4, 2, 1)
    spread = arguments | {
        "x": arguments["x"][:, :, :1, :1].expand(1, 40, 2, 5),
        "B": arguments["B"][:, :1].expand(1, 40, 1, 4),
    }
    assert_as_defined(spread)


@pytest.fixture
def _many_tasks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A task for each head, on three threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    monkeypatch.setattr(cpu, "FEWEST_ENTRIES", 1)
    monkeypatch.setattr(cpu, "TASKS_A_THREAD", 100)
    yield
    torch.set_num_threads(threads)


def test_the_result_does_not_depend_on_who_does_what(request: pytest.FixtureRequest) -> None:
    arguments, how = draw_arguments(300), {"seq_idx": draw_sequences(300)}
    expected = scan(arguments, **how)
    request.getfixturevalue("_many_tasks")
    assert all(torch.equal(*pair) for pair in zip(scan(arguments, **how), expected, strict=True))


def test_states_that_are_saved_are_those_of_the_chunked_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(pieces.PIECE_VALUES, "cpu", 1)
    drawn = draw_arguments(330, dtype=torch.float64)
    del drawn["dt_bias"]
    drawn["steps"] = drawn.pop("dt").abs()
    call = given.SSDArguments(**drawn, seq_idx=draw_sequences(330))
    found, expected = (module.forward(call, save_states=True) for module in (cpu, chunked))
    assert expected.saved_states.shape[0] == 6
    torch.testing.assert_close(found.saved_states, expected.saved_states, rtol=0.0, atol=1e-12)


# Numbers out of the ordinary ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["x", "dt", "B", "C"])
@pytest.mark.parametrize("step", [0, 12, 21])
def test_what_is_no_number_spoils_what_the_definition_says_and_no_more(name: str, value: float, step: int) -> None:
    arguments = draw_arguments(40)
    arguments[name][0, step, 1, ...] = value
    seq_idx = (torch.arange(40) >= 30).to(torch.int32).expand(2, 40)
    found, expected = (
        scan(arguments, seq_idx=seq_idx, implementation=implementation)[0] for implementation in ("cpu", "reference")
    )
    assert not expected.isfinite().all()
    assert expected[:, :step].isfinite().all()
    assert torch.equal(found.isfinite(), expected.isfinite())


def test_a_state_that_is_nothing_stays_nothing_however_much_it_would_grow() -> None:
    arguments = draw_arguments(16)
    del arguments["dt_bias"], arguments["initial_state"], arguments["D"]
    arguments["A"] = torch.full((6,), 1.0)
    arguments["dt"] = torch.full_like(arguments["dt"], 80.0)
    arguments["x"][:, :15] = 0.0
    y, _ = scan(arguments, dt_softplus=False, implementation="cpu")
    expected, _ = scan(arguments, dt_softplus=False, implementation="reference")
    assert not y[:, :15].any()
    torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-3)


def test_shares_too_small_for_all_their_digits_are_nothing() -> None:
    # exp(-11.5) at each of eight steps: 1e-40, a number that a core takes a hundred times as long for.
    arguments = draw_arguments(24)
    del arguments["dt_bias"]
    arguments["A"] = torch.full((6,), -1.0)
    arguments["dt"] = torch.full_like(arguments["dt"], 11.5)
    assert_as_defined(arguments, dt_softplus=False)


# Where it cannot run ------------------------------------------------------------------------------------------------


def test_without_numba_auto_is_chunked_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(choice, "why_unusable", lambda package: f"{package}, which is not installed")
    choice._compiles.cache_clear()
    try:
        with caplog.at_level(logging.WARNING, logger="bimba.ops.ssd.choice"):
            chosen = [choice.choose("auto", torch.device("cpu")) for _ in range(2)]
        with pytest.raises(InputError, match="ssd needs numba, which is not installed"):
            choice.choose("cpu", torch.device("cpu"))
    finally:
        choice._compiles.cache_clear()
    assert chosen == [chunked.forward] * 2
    (said,) = (record.message for record in caplog.records)
    assert said.startswith("ssd on cpu: matrix products within chunks")
    assert said.endswith("which is slower; 'cpu' needs numba, which is not installed")


def test_on_other_devices_auto_is_chunked_and_cpu_is_refused() -> None:
    assert choice.choose("auto", torch.device("meta")) is chunked.forward
    assert choice.choose("auto", torch.device("cpu")) is cpu.forward
    with pytest.raises(InputError, match="works on CPU tensors, and these are on cuda:0"):
        choice.choose("cpu", torch.device("cuda:0"))
