"""Plain pooling behind the face of a compressor."""

import pytest
import torch

from bimba.compressors import PoolingCompressor, SelectiveScanCompressor
from bimba.ops import PoolMode, pool_video


@pytest.mark.parametrize("mode", ["bilinear", "average", "max"])
def test_it_pools_and_nothing_else(mode: PoolMode) -> None:
    tokens = torch.randn(2, 5, 5, 5, 8, generator=torch.Generator().manual_seed(0))
    compressor = PoolingCompressor(pool=(2, 2, 2), pool_mode=mode)
    assert torch.equal(compressor(tokens), pool_video(tokens, (2, 2, 2), mode))
    assert compressor(tokens).shape[1:4] == compressor.output_grid(5, 5, 5)
    assert not compressor.state_dict()


def test_its_settings_start_as_those_of_the_scan() -> None:
    pooling, scan = PoolingCompressor(), SelectiveScanCompressor(16)
    assert (pooling.pool, pooling.pool_mode) == (scan.pool, scan.pool_mode)
    assert pooling.output_grid(64, 27, 27) == scan.output_grid(64, 27, 27) == (64, 14, 14)


def test_the_module_prints_its_settings() -> None:
    assert repr(PoolingCompressor(pool=(4, 2, 2))) == "PoolingCompressor(pool=(4, 2, 2), pool_mode='bilinear')"


def test_wrong_settings_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match=r"pool \(1, 0, 2\) needs factors of at least 1"):
        PoolingCompressor(pool=(1, 0, 2))
    with pytest.raises(ValueError, match="'median' is none of bilinear, average, max"):
        PoolingCompressor(pool_mode="median")  # type: ignore[arg-type]
