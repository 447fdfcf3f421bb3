"""Queries are filled from pieces that come one after the other, as from the whole; nothing long is kept.

Shapes: B batch, S tokens, Q queries, D width.
"""

from collections.abc import Iterator
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mixers import build_mixer, draw, plain
from torch import Tensor

from bimba.compressors.mixer import BidirectionalMixer
from bimba.compressors.one_pass import fill_queries
from bimba.compressors.query_filler import QueryFiller
from bimba.ops import query_positions
from bimba.ops.interleave import QueryPosition


def cuts(total: int, size: int) -> Iterator[slice]:
    for start in range(0, total, size):
        yield slice(start, start + size)


def filled(
    mixer: BidirectionalMixer, tokens: Tensor, queries: Tensor, positions: Tensor, *, piece: int, chunk_size: int | None
) -> Tensor:
    """Tokens and queries pushed in equal numbers of pieces, whatever they have to wait for."""
    filler = QueryFiller(mixer, positions, tokens.shape[1], prepare=torch.tanh, chunk_size=chunk_size)
    pieces = list(cuts(tokens.shape[1], piece))
    share = -(-queries.shape[1] // len(pieces))
    for number, part in enumerate(pieces):
        filler.push(tokens[:, part], queries[:, number * share : (number + 1) * share])
    return filler.finish()


@pytest.mark.parametrize("chunk_size", [1, 2, 7, 64, None], ids="chunks_of_{}".format)
@pytest.mark.parametrize("piece", [1, 7, 16, 90], ids="pieces_of_{}".format)
@pytest.mark.parametrize("bidirectional", [True, False], ids=["both_ways", "one_way"])
def test_pieces_give_what_the_whole_gives(chunk_size: int | None, piece: int, bidirectional: bool) -> None:
    mixer = build_mixer(bidirectional=bidirectional)
    tokens, queries = draw(90, 21)
    positions = query_positions(90, 21)
    with torch.no_grad():
        expected = plain(mixer, tokens, queries, positions)
    actual = filled(mixer, tokens, queries, positions, piece=piece, chunk_size=chunk_size)
    torch.testing.assert_close(actual, expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("conv_width", [1, 2, 4, 6], ids="K{}".format)
@pytest.mark.parametrize("placement", ["interleaved", "start", "end"])
def test_wherever_queries_stand_and_however_far_the_convolution_sees(conv_width: int, placement: QueryPosition) -> None:
    mixer = build_mixer(conv_width=conv_width)
    tokens, queries = draw(40, 9)
    positions = query_positions(40, 9, placement)
    with torch.no_grad():
        expected = plain(mixer, tokens, queries, positions)
    actual = filled(mixer, tokens, queries, positions, piece=3, chunk_size=5)
    torch.testing.assert_close(actual, expected, rtol=1e-11, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_cuts_give_the_same(data: st.DataObject) -> None:
    num_tokens, num_queries = data.draw(st.integers(1, 30)), data.draw(st.integers(1, 12))
    mixer = build_mixer()
    tokens, queries = draw(num_tokens, num_queries)
    positions = query_positions(num_tokens, num_queries)
    filler = QueryFiller(
        mixer, positions, num_tokens, prepare=torch.tanh, chunk_size=data.draw(st.sampled_from([1, 3, 8, None]))
    )
    points = [sorted(data.draw(st.lists(st.integers(0, most), max_size=4))) for most in (num_tokens, num_queries)]
    longest = max(map(len, points))
    edges = [
        [0, *each, *[most] * (longest - len(each) + 1)]
        for each, most in zip(points, (num_tokens, num_queries), strict=True)
    ]
    for (a, b), (c, d) in zip(pairwise(edges[0]), pairwise(edges[1]), strict=True):
        filler.push(tokens[:, a:b], queries[:, c:d])
    with torch.no_grad():
        expected = fill_queries(mixer, tokens, queries, positions, prepare=torch.tanh, chunk_size=None)
    torch.testing.assert_close(filler.finish(), expected, rtol=1e-10, atol=1e-11)


def test_a_sequence_may_end_at_any_time_and_go_on() -> None:
    """After each piece the queries so far are those of the tokens so far, and nothing is spoilt."""
    mixer = build_mixer()
    tokens, queries = draw(60, 12)
    positions = torch.arange(12) * 6 + 5  # one behind five tokens
    filler = QueryFiller(mixer, positions, 60, prepare=torch.tanh, chunk_size=4)
    for number in range(12):
        filler.push(tokens[:, number * 5 : number * 5 + 5], queries[:, number : number + 1])
        so_far = tokens[:, : number * 5 + 5], queries[:, : number + 1], positions[: number + 1]
        with torch.no_grad():
            expected = plain(mixer, *so_far)
        for _ in range(2):
            torch.testing.assert_close(filler.finish(), expected, rtol=1e-11, atol=1e-12)
    assert (filler.num_tokens, filler.num_queries) == (60, 12)


def test_a_sequence_may_grow_without_an_end_in_sight() -> None:
    """What comes is read only as far as the convolution can see what follows it."""
    mixer = build_mixer()
    tokens, queries = draw(60, 12)
    filler = QueryFiller(mixer, torch.tensor([5]), 5, prepare=torch.tanh, chunk_size=4, is_growing=True)
    for number in range(12):
        if number:
            filler.extend(torch.tensor([5]), 5)
        for place in range(number * 5, number * 5 + 5):
            filler.push(tokens[:, place : place + 1], queries[:, :0])
        filler.push(tokens[:, :0], queries[:, number : number + 1])
        positions = torch.arange(number + 1) * 6 + 5
        with torch.no_grad():
            expected = plain(mixer, tokens[:, : number * 5 + 5], queries[:, : number + 1], positions)
        torch.testing.assert_close(filler.finish(), expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("bidirectional", [True, False], ids=["both_ways", "one_way"])
def test_queries_may_be_forgotten_and_the_others_stay_what_they_are(bidirectional: bool) -> None:
    mixer = build_mixer(bidirectional=bidirectional)
    tokens, queries = draw(120, 48)
    places = torch.tensor([2, 6])  # two queries among five tokens
    filler = QueryFiller(mixer, places, 5, prepare=torch.tanh, chunk_size=4, is_growing=True)
    positions = torch.cat([places + 7 * number for number in range(24)])
    kept = list(range(48))
    cuts_at = {3: (0, 1), 4: (2, 3), 8: (1, 7), 12: (3, 1), 13: (0, 10), 20: (5, 4)}
    for number in range(24):
        if number:
            filler.extend(places, 5)
        filler.push(tokens[:, number * 5 : number * 5 + 5], queries[:, number * 2 : number * 2 + 2])
        if number in cuts_at:
            first, count = cuts_at[number]
            filler.forget(first, count)
            del kept[first : first + count]
        there = number * 2 + 2
        with torch.no_grad():
            expected = plain(mixer, tokens[:, : number * 5 + 5], queries[:, :there], positions[:there])
        so_far = [each for each in kept if each < there]
        torch.testing.assert_close(filler.finish(), expected[:, so_far], rtol=1e-11, atol=1e-12)
        assert torch.equal(filler.queries, queries[:, so_far])
        assert all(group.y.shape[1] >= 5 for group in filler._groups[:-1]), "a state has queries that pay for it"
    assert filler.num_queries == 48
    for first, count in ((0, len(kept)), (len(kept) - 1, 1), (-1, 1), (3, -1)):
        with pytest.raises(ValueError, match="cannot be forgotten"):
            filler.forget(first, count)
    with pytest.raises(ValueError, match="more than the sequence"):
        filler.push(tokens[:, :0], queries[:, :1])


def test_what_is_kept_depends_on_the_queries_alone() -> None:
    mixer = build_mixer()
    kept = []
    for num_tokens in (200, 2000):
        tokens, queries = draw(num_tokens, 23)
        positions = query_positions(num_tokens, 23)
        filler = QueryFiller(mixer, positions, num_tokens, prepare=torch.tanh, chunk_size=10)
        for part in cuts(num_tokens, 50):
            share = slice(part.start * 23 // num_tokens, part.stop * 23 // num_tokens)
            filler.push(tokens[:, part], queries[:, share])
        states = [group.coming for group in filler._groups]
        numbers = [tensor for state in states if state is not None for tensor in state if tensor is not None]
        kept.append(sum({tensor.data_ptr(): tensor.numel() for tensor in numbers}.values()))
        assert len(states) <= 23 // 5 + 1  # N = 5 queries pay for a state
        assert sum(piece.shape[1] for piece in filler._tokens) <= 50
    assert kept[1] <= 1.1 * kept[0]


def test_no_gradients_are_kept() -> None:
    mixer = build_mixer()
    tokens, queries = draw(20, 5)
    assert not filled(
        mixer, tokens.requires_grad_(), queries, query_positions(20, 5), piece=4, chunk_size=3
    ).requires_grad


def test_mistakes_are_named() -> None:
    mixer = build_mixer()
    tokens, queries = draw(20, 5)
    positions = query_positions(20, 5)
    with pytest.raises(ValueError, match="at least 1 row"):
        QueryFiller(mixer, positions, 20, prepare=torch.tanh, chunk_size=0)
    filler = QueryFiller(mixer, positions, 20, prepare=torch.tanh)
    with pytest.raises(ValueError, match="no query has come"):
        filler.finish()
    with pytest.raises(ValueError, match="do not fit"):
        filler.push(tokens, queries[..., :3])
    filler = QueryFiller(mixer, positions, 20, prepare=torch.tanh)
    filler.push(tokens, queries)
    with pytest.raises(ValueError, match="more than the sequence"):
        filler.push(tokens[:, :1], queries[:, :0])
    with pytest.raises(ValueError, match="has an end"):
        filler.extend(torch.tensor([0]), 2)
    early = QueryFiller(mixer, positions, 20, prepare=torch.tanh)
    early.push(tokens[:, :2], queries)
    with pytest.raises(ValueError, match="rise"):
        early.finish()
