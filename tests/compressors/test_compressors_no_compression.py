"""No compression behind the face of a compressor."""

import pytest
import torch

from bimba.compressors import NoCompressor, PoolingCompressor


def test_tokens_stay_as_they_are() -> None:
    tokens = torch.randn(2, 3, 5, 4, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    compressor = NoCompressor()
    assert torch.equal(compressor(tokens), tokens)
    assert torch.equal(compressor(tokens), PoolingCompressor(pool=(1, 1, 1))(tokens))
    assert compressor.output_grid(3, 5, 4) == (3, 5, 4)
    assert not compressor.state_dict()
    compressor(tokens).sum().backward()
    assert tokens.grad is not None


def test_pooling_is_refused() -> None:
    with pytest.raises(ValueError, match=r"pool is \(1, 1, 1\), not \(1, 2, 2\)"):
        NoCompressor(pool=(1, 2, 2))


def test_queries_and_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"nothing to fill queries \(1, 3, 8\) with"):
        NoCompressor()(torch.zeros(1, 2, 2, 2, 8), torch.zeros(1, 3, 8))
    with pytest.raises(ValueError, match=r"video tokens are \[B, T, H, W, D\]"):
        NoCompressor()(torch.zeros(1, 2, 2, 8))
