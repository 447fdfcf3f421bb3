"""Rows of keys and values: each holds what joined it and what was read since, and nothing of who was there before."""

import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bimba.serving.engine.rows import Rows


@given(
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=6),
    leaving=st.lists(st.integers(0, 5), max_size=4),
    counts=st.lists(st.integers(1, 7), min_size=6, max_size=6),
)
@example(lengths=[0, 1, 0], leaving=[0], counts=[1] * 6)  # one without room moves before one that has tokens
@settings(max_examples=200, deadline=None)
def test_rows_hold_what_joined(lengths: list[int], leaving: list[int], counts: list[int]) -> None:
    rows, held = Rows(2), []
    for length in lengths:
        layers = [(torch.randn(1, 2, length, 16), torch.randn(1, 2, length, 16)) for _ in range(2)]
        rows.join(layers if length else ())
        held.append(layers)
    for row in leaving:
        if row < len(held) and len(held) > 1:
            rows.leave(row)
            held[row] = held[-1]
            held.pop()
    counts = counts[: len(held)]
    longest = max(counts)
    new = torch.randn(2, 2, len(held), 2, longest, 16)
    shared, mask, places = rows.step(torch.device("cpu"), counts)
    for layer in range(2):
        keys, values = shared.update(new[layer, 0], new[layer, 1], layer)
        for row, (its, count) in enumerate(zip(held, counts, strict=True)):
            length = its[layer][0].shape[2]
            assert places[row, longest - count :].tolist() == list(range(length, length + count))
            own = new[layer, :, row, :, longest - count :]
            for read, old, added in ((keys, its[layer][0], own[0]), (values, its[layer][1], own[1])):
                assert torch.equal(read[row, :, : length + count], torch.cat([old[0], added], dim=1))
            if mask.ndim == 2:
                assert mask[row].tolist() == [1] * (length + count) + [0] * (mask.shape[1] - length - count)
            else:
                seen = mask[row, 0, longest - count :].sum(-1).tolist()
                assert seen == list(range(length + 1, length + count + 1))
            assert shared.get_mask_sizes(longest, layer)[0] == keys.shape[2]
    rows.stepped(counts)
    for row, (its, count) in enumerate(zip(held, counts, strict=True)):
        assert rows.row(row)[0][0].shape[2] == its[0][0].shape[2] + count


def test_an_empty_row_takes_the_place_of_one_that_leaves() -> None:
    rows = Rows(1)
    rows.join([(torch.full((1, 2, 3, 16), torch.nan), torch.full((1, 2, 3, 16), torch.nan))])
    rows.join()
    rows.leave(0)
    assert rows.lengths == [0]
    shared, _, _ = rows.step(torch.device("cpu"), [2])
    keys, values = shared.update(torch.ones(1, 2, 2, 16), torch.ones(1, 2, 2, 16), 0)
    assert torch.equal(keys, torch.ones(1, 2, 2, 16))
    assert bool(values.isfinite().all())


def test_nothing_is_left_of_a_row_that_was_no_number() -> None:
    rows = Rows(1)
    for _ in range(2):
        rows.join([(torch.full((1, 2, 30, 16), torch.nan), torch.full((1, 2, 30, 16), torch.nan))])
    rows.leave(1)
    for layers in ([(torch.ones(1, 2, 4, 16), torch.ones(1, 2, 4, 16))], ()):
        rows.join(layers)
        shared, _, _ = rows.step(torch.device("cpu"))
        new = torch.ones(2, 2, 1, 16)
        keys, values = shared.update(new, new, 0)
        assert bool(keys[1].isfinite().all() and values[1].isfinite().all())
        rows.leave(1)
