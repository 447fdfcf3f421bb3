"""A video that grows is compressed as the whole so far is, within a budget, for ever.

Shapes: B batch, T frames, H x W patches, D width, (pt, ph, pw) the pooling factors.
"""

from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from bimba.compressors import (
    NoCompressor,
    PerceiverResampler,
    PoolingCompressor,
    SelectiveScanCompressor,
    SelfAttentionCompressor,
)
from bimba.compressors.growing import GrowingScan, GrowingStream, can_grow, group_to_drop
from bimba.ops import pool_video, query_positions

DIM = 16


def alive(compressor: nn.Module) -> nn.Module:
    """With weights that all matter."""
    torch.manual_seed(1)
    for name, parameter in compressor.named_parameters():
        if not name.endswith("A_log"):
            nn.init.normal_(parameter, std=0.3)
    return compressor


def scan(**changes: Any) -> SelectiveScanCompressor:
    compressor = alive(SelectiveScanCompressor(DIM, **{"pool": (1, 2, 2)} | changes))
    assert isinstance(compressor, SelectiveScanCompressor)
    return compressor


def video(frames: int, side: int = 5, batch: int = 1, dim: int = DIM) -> Tensor:
    return torch.randn(batch, frames, side, side, dim, generator=torch.Generator().manual_seed(2))


@torch.no_grad()
def whole(compressor: SelectiveScanCompressor, tokens: Tensor) -> Tensor:
    """The layer over the whole sequence at once, its queries placed group by group [B, T', H', W', D]."""
    batch, _frames, height, width, dim = tokens.shape
    size = compressor.pool[0]
    queries = pool_video(tokens, compressor.pool, compressor.pool_mode)
    num_groups, each = queries.shape[1], queries.shape[2] * queries.shape[3]
    places = query_positions(size * height * width, each)
    length = size * height * width + each
    positions = torch.cat([places + number * length for number in range(num_groups)])
    filled: Tensor = compressor.layers[0](tokens.reshape(batch, -1, dim), queries.flatten(1, 3), positions)
    return filled.reshape(queries.shape)


def grown(compressor: nn.Module, tokens: Tensor, piece: int, most_groups: int = 1000) -> GrowingStream:
    height, width = tokens.shape[2:4]
    stream = GrowingStream(compressor, height, width, most_groups)
    for first in range(0, tokens.shape[1], piece):
        part = tokens[:, first : first + piece]
        stream.push(part, [float(first + number) for number in range(part.shape[1])])
    return stream


def assert_same(actual: Tensor, expected: Tensor) -> None:
    assert actual.shape == expected.shape
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def numbers_kept(value: object, seen: set[int]) -> int:
    """Elements of all tensors that an object of this package reaches and that are not weights, by their storage."""
    if isinstance(value, Tensor):
        storage = value.untyped_storage()
        if storage.data_ptr() in seen:
            return 0
        seen.add(storage.data_ptr())
        return storage.nbytes() // value.element_size()
    if isinstance(value, nn.Module):
        return 0
    if isinstance(value, list | tuple):
        return sum(numbers_kept(each, seen) for each in value)
    return sum(numbers_kept(each, seen) for each in vars(value).values()) if hasattr(value, "__dict__") else 0


@pytest.mark.parametrize("piece", [1, 7, 16, 40], ids="pieces_of_{}".format)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"pool": (4, 2, 2)},
        {"pool": (3, 2, 2), "pool_mode": "average"},
        {"bidirectional": False},
        {"norm": False, "residual": False},
        {"chunk_size": 7, "pool": (4, 2, 2)},
        {"chunk_size": 16, "pool": (2, 2, 2)},
    ],
    ids=str,
)
def test_it_is_exact_in_both_directions_up_to_now(changes: dict[str, Any], piece: int) -> None:
    compressor, tokens = scan(**changes), video(37, batch=2)
    assert_same(grown(compressor, tokens, piece).finish(), whole(compressor, tokens))


@pytest.mark.parametrize("chunk_size", [1, 2, 16, None], ids="chunks_of_{}".format)
def test_chunks_change_nothing(chunk_size: int | None) -> None:
    compressor, tokens = scan(pool=(2, 2, 2), chunk_size=chunk_size), video(7, side=3)
    assert_same(grown(compressor, tokens, 3).finish(), whole(scan(pool=(2, 2, 2)), tokens))


@pytest.mark.parametrize("pool", [(1, 2, 2), (4, 2, 2)], ids=str)
def test_it_may_be_asked_after_every_frame_and_twice(pool: tuple[int, int, int]) -> None:
    compressor, tokens = scan(pool=pool), video(18)
    stream = GrowingStream(compressor, 5, 5, 1000)
    for number in range(18):
        stream.push(tokens[:, number : number + 1], [number / 2])
        assert stream.seconds == [each / 2 for each in range(number + 1)]
        if number + 1 < pool[0]:
            with pytest.raises(ValueError, match="fewer than the 4"):
                stream.finish()
            continue
        first = stream.finish()
        assert_same(first, whole(compressor, tokens[:, : number + 1]))
        assert torch.equal(first, stream.finish())


def test_places_are_those_of_the_released_rule_for_one_group() -> None:
    compressor, tokens = scan(pool=(4, 2, 2)), video(4)
    with torch.no_grad():
        expected = compressor(tokens)
    assert_same(grown(compressor, tokens, 3).finish(), expected)
    longer = video(8)
    with torch.no_grad():
        released = compressor(longer)
    assert not torch.allclose(grown(compressor, longer, 3).finish(), released, rtol=1e-3)


@pytest.mark.parametrize("frames", [2, 13, 64, 65, 200])
@pytest.mark.parametrize(
    "compressor", [PoolingCompressor(pool=(2, 2, 2)), NoCompressor()], ids=lambda c: type(c).__name__
)
def test_plain_pooling_grows_too(compressor: nn.Module, frames: int) -> None:
    tokens = video(frames)
    with torch.no_grad():
        expected = compressor(tokens)
    assert torch.equal(grown(compressor, tokens, 5).finish(), expected)


@pytest.mark.parametrize("pool", [(1, 2, 2), (3, 2, 2)], ids=str)
@pytest.mark.parametrize("budget", [4, 5, 9, 16])
def test_what_is_given_stays_exact_when_old_groups_are_thinned_out(pool: tuple[int, int, int], budget: int) -> None:
    compressor, tokens = scan(pool=pool), video(100)
    stream = grown(compressor, tokens, 1, budget)
    num_groups, newest = 100 // pool[0], budget // 2
    assert stream.is_thinned
    assert stream.num_groups == len(stream.numbers) == budget
    assert stream.numbers[0] == 0
    assert stream.numbers[-newest:] == list(range(num_groups - newest, num_groups))
    assert_same(stream.finish(), whole(compressor, tokens)[:, stream.numbers])
    of_groups = [float(number * pool[0] + each) for number in stream.numbers for each in range(pool[0])]
    assert stream.seconds == of_groups + [float(number) for number in range(num_groups * pool[0], 100)]


def test_it_stays_exact_after_every_frame_of_a_long_video() -> None:
    compressor, tokens = scan(pool=(2, 2, 2)), video(60, side=3)
    stream = GrowingStream(compressor, 3, 3, 6)
    for number in range(60):
        stream.push(tokens[:, number : number + 1], [float(number)])
        if number:
            expected = whole(compressor, tokens[:, : number + 1])[:, stream.numbers]
            assert_same(stream.finish(), expected)


@pytest.mark.parametrize("budget", [4, 7, 12])
def test_pieces_change_nothing_of_what_is_thinned_out(budget: int) -> None:
    compressor, tokens = scan(pool=(2, 2, 2)), video(81)
    frame_by_frame = grown(compressor, tokens, 1, budget)
    for piece in (2, 7, 81):
        other = grown(compressor, tokens, piece, budget)
        assert other.numbers == frame_by_frame.numbers
        assert other.seconds == frame_by_frame.seconds
        assert_same(other.finish(), frame_by_frame.finish())


def test_plain_pooling_is_thinned_out_too() -> None:
    compressor, tokens = PoolingCompressor(pool=(2, 2, 2)), video(120)
    stream = grown(compressor, tokens, 3, 10)
    with torch.no_grad():
        assert torch.equal(stream.finish(), compressor(tokens)[:, stream.numbers])


def test_two_thousand_frames_keep_the_budget_and_the_memory() -> None:
    compressor, budget = scan(pool=(2, 2, 2)), 12
    stream = GrowingStream(compressor, 3, 3, budget)
    generator = torch.Generator().manual_seed(3)
    kept = []
    for number in range(2000):
        stream.push(torch.randn(1, 1, 3, 3, DIM, generator=generator), [float(number)])
        assert stream.num_groups <= budget
        assert len(stream.seconds) <= 2 * budget + 1
        if number % 100 == 99:
            kept.append(numbers_kept(stream, set()))
    assert stream.finish().shape == (1, budget, 2, 2, DIM)
    assert stream.numbers[-6:] == list(range(994, 1000))
    assert isinstance(stream._groups, GrowingScan)
    assert len(stream._groups._filler._queries) <= 4 * budget
    # The same at frame 200 and at frame 2,000, but for how the queries are divided among states.
    assert max(kept[1:]) <= 1.2 * min(kept[1:])


@given(st.integers(4, 40), st.integers(1, 400))
@settings(max_examples=60, deadline=None)
def test_what_is_left_of_the_past_is_spread_evenly(room: int, groups: int) -> None:
    numbers: list[int] = []
    for number in range(groups):
        numbers.append(number)
        if len(numbers) > room:
            del numbers[group_to_drop(numbers, room // 2)]
    assert len(numbers) == min(room, groups)
    assert numbers[0] == 0
    gaps = [later - earlier for earlier, later in pairwise(numbers)]
    assert max(gaps, default=1) <= max(1, 4 * groups / (room - room // 2))


@pytest.mark.parametrize(("frames", "tokens", "queries"), [(64, 729, 196), (3, 25, 9), (50, 16, 4), (7, 16, 1)])
def test_fixed_places_are_one_place_from_the_released_ones_at_most(frames: int, tokens: int, queries: int) -> None:
    one = query_positions(tokens, queries)
    fixed = torch.cat([one + number * (tokens + queries) for number in range(frames)])
    released = query_positions(frames * tokens, frames * queries)
    assert int((fixed - released).abs().max()) <= 1


def test_which_compressors_can_grow() -> None:
    assert can_grow(scan())
    assert can_grow(PoolingCompressor())
    assert can_grow(NoCompressor())
    rivals: list[nn.Module] = [
        scan(num_layers=2),
        scan(query_position="start"),
        scan(query_position="end"),
        scan(queries="learned", learned_grid=(8, 3, 3)),
        SelfAttentionCompressor(DIM, pool=(2, 2, 2)),
        PerceiverResampler(DIM, pool=(1, 2, 2), learned_grid=(3, 3)),
    ]
    for rival in rivals:
        assert not can_grow(rival)
        with pytest.raises(ValueError, match="all frames at once"):
            GrowingStream(rival, 5, 5, 8)


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="at least 4 groups"):
        GrowingStream(scan(), 5, 5, 3)
    with pytest.raises(ValueError, match="leave nothing"):
        GrowingStream(PoolingCompressor(pool=(1, 9, 9), pool_mode="average"), 5, 5, 8)
    with pytest.raises(ValueError, match="3 frames came with 2 times"):
        GrowingStream(scan(), 5, 5, 8).push(video(3), [0.0, 1.0])
    with pytest.raises(ValueError, match="none can go"):
        group_to_drop([0, 1, 2], 2)
