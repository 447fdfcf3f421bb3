"""A video that comes frame by frame is compressed as the whole is.

Shapes: B batch, T frames, H x W patches, D width.
"""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bimba.compressors import (
    NoCompressor,
    PerceiverResampler,
    PoolingCompressor,
    SelectiveScanCompressor,
    SelfAttentionCompressor,
)
from bimba.compressors.streams import HeldStream, ScanStream, is_streamed, open_stream

DIM = 16


def alive(compressor: nn.Module) -> nn.Module:
    """With weights that all matter."""
    torch.manual_seed(1)
    for name, parameter in compressor.named_parameters():
        if not name.endswith("A_log"):
            nn.init.normal_(parameter, std=0.3)
    return compressor


def video(frames: int, side: int = 5, batch: int = 1) -> Tensor:
    return torch.randn(batch, frames, side, side, DIM, generator=torch.Generator().manual_seed(2))


def streamed(compressor: nn.Module, tokens: Tensor, piece: int, question: Tensor | None = None) -> Tensor:
    frames, height, width = tokens.shape[1:4]
    stream = open_stream(compressor, frames, height, width, question)
    for part in tokens.split(piece, dim=1):
        stream.push(part)
    return stream.finish()


def scan(**changes: Any) -> nn.Module:
    return alive(SelectiveScanCompressor(DIM, **{"pool": (1, 2, 2)} | changes))


@pytest.mark.parametrize("piece", [1, 7, 16, 40], ids="pieces_of_{}".format)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"pool": (4, 2, 2)},
        {"pool": (3, 2, 2), "pool_mode": "average"},
        {"pool": (8, 1, 1), "pool_mode": "max"},
        {"query_position": "end"},
        {"query_position": "start"},
        {"bidirectional": False},
        {"norm": False, "residual": False},
        {"num_layers": 2},
        {"queries": "learned", "learned_grid": (40, 3, 3)},
        {"chunk_size": 7, "pool": (4, 2, 2)},
    ],
    ids=str,
)
def test_pieces_of_a_video_give_what_the_whole_gives(settings: dict[str, Any], piece: int) -> None:
    compressor, tokens = scan(**settings), video(37)
    with torch.no_grad():
        expected = compressor(tokens)
    actual = streamed(compressor, tokens, piece)
    assert actual.shape == expected.shape
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize(
    "compressor",
    [
        PoolingCompressor(pool=(4, 2, 2)),
        NoCompressor(),
        alive(PerceiverResampler(DIM, pool=(1, 2, 2), learned_grid=(3, 3))),
        alive(SelfAttentionCompressor(DIM, pool=(2, 2, 2))),
    ],
    ids=lambda each: type(each).__name__,
)
def test_the_rivals_can_be_asked_alike(compressor: nn.Module) -> None:
    tokens = video(9, batch=2)
    with torch.no_grad():
        torch.testing.assert_close(streamed(compressor, tokens, 2), compressor(tokens), rtol=1e-5, atol=1e-5)


def test_a_question_stands_in_front() -> None:
    compressor, tokens = scan(question_conditioned=True), video(6)
    question = torch.randn(1, 3, DIM, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        expected = compressor(tokens, question=question)
    torch.testing.assert_close(streamed(compressor, tokens, 2, question), expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(expected, streamed(compressor, tokens, 2))


def test_which_compressors_hold_nothing_of_a_video() -> None:
    assert is_streamed(scan())
    assert is_streamed(PoolingCompressor())
    for held in (scan(num_layers=2), scan(query_position="start"), NoCompressor()):
        assert not is_streamed(held)
        assert isinstance(open_stream(held, 4, 5, 5), HeldStream)


def test_frames_that_are_missing_or_too_many_are_refused() -> None:
    compressor = scan(pool=(2, 2, 2))
    stream = open_stream(compressor, 4, 5, 5)
    assert isinstance(stream, ScanStream)
    stream.push(video(3))
    with pytest.raises(ValueError, match="3 of 4 frames"):
        stream.finish()
    with pytest.raises(ValueError, match="more than the sequence"):
        stream.push(video(2))
    with pytest.raises(ValueError, match="fewer frames"):
        open_stream(PoolingCompressor(pool=(4, 1, 1)), 3, 5, 5).finish()
