"""Interleaving: golden query positions, and a joint sequence from which tokens and queries can be taken back."""

from pathlib import Path
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from bimba.ops import interleave, query_positions
from bimba.ops.interleave import QueryPosition, gather_order, token_positions

GOLDEN: dict[str, Tensor] = load_file(Path(__file__).parents[1] / "data/golden/compressor/query_positions.safetensors")
PLACEMENTS: tuple[QueryPosition, ...] = get_args(QueryPosition)
counts = st.integers(1, 300)


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_golden_query_positions(name: str) -> None:
    num_tokens, num_queries = map(int, name.split("_"))
    positions = query_positions(num_tokens, num_queries)
    assert positions.dtype == torch.int64
    assert torch.equal(positions, GOLDEN[name])


def test_the_golden_cases_include_the_released_size_and_one_where_a_closed_form_is_wrong() -> None:
    assert len(GOLDEN) == 20
    assert "46656_12544" in GOLDEN
    position = query_positions(9477, 2548)[636].item()
    assert position == 3005
    assert position != 637 * (9477 + 2548 - 1) // 2548


@settings(deadline=None, derandomize=True)
@given(counts, counts, st.sampled_from(PLACEMENTS))
def test_positions_rise_within_the_sequence(num_tokens: int, num_queries: int, placement: QueryPosition) -> None:
    positions = query_positions(num_tokens, num_queries, placement)
    assert positions.shape == (num_queries,)
    assert positions[0] >= 0
    assert positions[-1] < num_tokens + num_queries
    assert bool((positions.diff() > 0).all())


@settings(deadline=None, derandomize=True)
@given(counts, counts)
def test_interleaved_queries_are_evenly_spread_and_end_the_sequence(num_tokens: int, num_queries: int) -> None:
    positions = query_positions(num_tokens, num_queries)
    assert positions[-1] == num_tokens + num_queries - 1
    gaps = torch.cat([torch.zeros(1, dtype=torch.int64), positions]).diff()
    assert gaps.max() - gaps.min() <= 1


def test_queries_at_the_start_or_the_end() -> None:
    assert query_positions(5, 3, "start").tolist() == [0, 1, 2]
    assert query_positions(5, 3, "end").tolist() == [5, 6, 7]


@settings(deadline=None, derandomize=True)
@given(counts, counts, st.sampled_from(PLACEMENTS))
def test_tokens_and_queries_come_back_in_order(num_tokens: int, num_queries: int, placement: QueryPosition) -> None:
    tokens = torch.arange(2 * num_tokens * 2).reshape(2, num_tokens, 2)
    queries = -1 - torch.arange(2 * num_queries * 2).reshape(2, num_queries, 2)
    positions = query_positions(num_tokens, num_queries, placement)
    sequence = interleave(tokens, queries, positions)
    assert sequence.shape == (2, num_tokens + num_queries, 2)
    assert torch.equal(sequence[:, positions], queries)
    assert torch.equal(sequence[:, token_positions(num_tokens, positions)], tokens)


@settings(deadline=None, derandomize=True)
@given(st.data())
def test_any_rising_positions_will_do(data: st.DataObject) -> None:
    length = data.draw(st.integers(1, 30))
    positions = sorted(data.draw(st.sets(st.integers(0, length - 1), max_size=length)))
    tokens = torch.arange(length - len(positions)).reshape(1, -1, 1)
    queries = 100 + torch.arange(len(positions)).reshape(1, -1, 1)
    joint = interleave(tokens, queries, torch.tensor(positions, dtype=torch.int64)).flatten().tolist()
    assert [index for index, value in enumerate(joint) if value >= 100] == positions
    assert [value for value in joint if value >= 100] == queries.flatten().tolist()
    assert [value for value in joint if value < 100] == tokens.flatten().tolist()


def test_the_gathering_order_indexes_tokens_then_queries() -> None:
    assert gather_order(4, torch.tensor([1, 5])).tolist() == [0, 4, 1, 2, 3, 5]
    assert token_positions(4, torch.tensor([1, 5])).tolist() == [0, 2, 3, 4]


def test_gradients_reach_tokens_and_queries() -> None:
    tokens, queries = torch.zeros(1, 4, 1, requires_grad=True), torch.zeros(1, 2, 1, requires_grad=True)
    weights = torch.arange(6.0).reshape(1, 6, 1)
    sequence = interleave(tokens, queries, torch.tensor([1, 5]))
    to_tokens, to_queries = torch.autograd.grad((sequence * weights).sum(), [tokens, queries])
    assert to_tokens.flatten().tolist() == [0, 2, 3, 4]
    assert to_queries.flatten().tolist() == [1, 5]


@pytest.mark.parametrize(("num_tokens", "num_queries"), [(0, 1), (1, 0), (-1, 5)])
def test_counts_below_one_are_refused(num_tokens: int, num_queries: int) -> None:
    with pytest.raises(ValueError, match=f"{num_tokens} tokens and {num_queries} queries: both must be at least 1"):
        query_positions(num_tokens, num_queries)


def test_an_unknown_placement_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'right' is none of interleaved, start, end"):
        query_positions(4, 2, "right")  # type: ignore[arg-type]


@pytest.mark.parametrize("queries_shape", [(2, 2, 8), (1, 2, 7)])
def test_another_batch_or_width_is_refused_with_both_shapes(queries_shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"tokens \(1, 4, 8\) and queries \(\d, 2, \d\) differ in batch or width"):
        interleave(torch.zeros(1, 4, 8), torch.zeros(queries_shape), torch.tensor([1, 5]))


@pytest.mark.parametrize("positions", [[5], [1, 3, 5], [[1, 5]]])
def test_another_number_of_positions_is_refused(positions: list[int]) -> None:
    with pytest.raises(ValueError, match="2 queries need as many positions, not"):
        interleave(torch.zeros(1, 4, 8), torch.zeros(1, 2, 8), torch.tensor(positions))


@pytest.mark.parametrize("positions", [[5, 1], [3, 3], [-1, 5], [1, 6]])
def test_positions_that_do_not_rise_within_the_sequence_are_refused(positions: list[int]) -> None:
    with pytest.raises(ValueError, match=r"positions must rise strictly within 0\.\.5"):
        interleave(torch.zeros(1, 4, 8), torch.zeros(1, 2, 8), torch.tensor(positions))
