"""Splicing videos into prompts: each token where its placeholder stands, nothing else touched."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bimba.models.bimba.splice import splice_videos

PLACEHOLDER, VOCABULARY, WIDTH = 7, 7, 3
TABLE = torch.arange(VOCABULARY * WIDTH, dtype=torch.float32).reshape(VOCABULARY, WIDTH)


def embed(ids: Tensor) -> Tensor:
    """The placeholder has no row: looking it up fails, as it would in a model without spare rows."""
    return TABLE[ids]


segments = st.lists(st.one_of(st.lists(st.integers(0, 6), max_size=4), st.integers(1, 5)), max_size=5)


@given(st.lists(segments, min_size=1, max_size=3))
def test_every_token_stands_where_its_placeholder_stood(rows: list[list[list[int] | int]]) -> None:
    videos: list[Tensor] = []
    ids: list[list[int]] = []
    expected: list[list[Tensor]] = []
    for row in rows:
        ids.append([])
        expected.append([])
        for segment in row:
            if isinstance(segment, int):
                video = torch.full((segment, WIDTH), -1.0 - len(videos)) - torch.arange(segment)[:, None] / 8
                videos.append(video)
                ids[-1] += [PLACEHOLDER] * segment
                expected[-1] += list(video)
            else:
                ids[-1] += segment
                expected[-1] += [TABLE[token] for token in segment]
    longest = max(len(row) for row in ids)
    padded = torch.tensor([row + [0] * (longest - len(row)) for row in ids], dtype=torch.int64)
    embeds = splice_videos(padded, videos, PLACEHOLDER, embed)
    assert embeds.shape == (len(rows), longest, WIDTH)
    for row, wanted in zip(embeds, expected, strict=True):
        assert torch.equal(row[: len(wanted)], torch.stack(wanted)) if wanted else True
        assert torch.equal(row[len(wanted) :], TABLE[:1].expand(longest - len(wanted), WIDTH))


@pytest.mark.parametrize("num_placeholders", [0, 2, 4])
def test_placeholders_and_tokens_must_be_as_many(num_placeholders: int) -> None:
    ids = torch.tensor([[1, *[PLACEHOLDER] * num_placeholders]])
    with pytest.raises(ValueError, match=f"{num_placeholders} video placeholders for 3 video tokens"):
        splice_videos(ids, [torch.zeros(3, WIDTH)], PLACEHOLDER, embed)


def test_gradients_reach_videos_and_text() -> None:
    video = torch.zeros(2, WIDTH, requires_grad=True)
    table = TABLE.clone().requires_grad_()
    ids = torch.tensor([[1, PLACEHOLDER, PLACEHOLDER, 2]])
    splice_videos(ids, [video], PLACEHOLDER, lambda token: table[token]).sum().backward()
    assert video.grad is not None
    assert torch.equal(video.grad, torch.ones_like(video))
    assert table.grad is not None
    assert table.grad[[1, 2]].eq(1).all()
    assert table.grad[0].eq(0).all()
