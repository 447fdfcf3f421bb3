"""Pooling: equal to the public pooling in every golden case, and never an empty grid."""

import re
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor
from torch.autograd import gradcheck

from bimba.ops import PoolMode, pool_video, pooled_shape

GOLDEN: dict[str, Tensor] = load_file(Path(__file__).parents[1] / "data/golden/pooling/pooling.safetensors")
NAME = re.compile(r"pool\.s(\d+)_f(\d+)_tp(\d+)_(average|max|bilinear)(_stride4)?")
CASES = sorted(name for name in GOLDEN if name.startswith("pool."))
MODES: tuple[PoolMode, ...] = ("bilinear", "average", "max")


def test_every_kind_of_golden_case_is_there() -> None:
    assert len(CASES) == 20
    assert {match[4] for match in map(NAME.fullmatch, CASES) if match} == set(MODES)


@pytest.mark.parametrize("name", CASES)
def test_golden_pooling(name: str) -> None:
    match = NAME.fullmatch(name)
    assert match is not None
    side, frames, groups = int(match[1]), int(match[2]), int(match[3])
    factor = 4 if match[5] else 2
    mode: PoolMode = next(mode for mode in MODES if mode == match[4])
    tokens = GOLDEN[f"input.s{side}_f{frames}"].reshape(1, frames, side, side, -1)
    pooled = pool_video(tokens, (groups, factor, factor), mode)
    assert pooled.shape[1:4] == pooled_shape(frames, side, side, (groups, factor, factor), mode)
    torch.testing.assert_close(pooled.flatten(2, 3)[0], GOLDEN[name], rtol=0.0, atol=1e-5)


@pytest.mark.parametrize(
    ("mode", "grid"), [("bilinear", (16, 14, 14)), ("average", (16, 13, 13)), ("max", (16, 13, 13))]
)
def test_bilinear_sizes_round_up_and_the_others_down(mode: PoolMode, grid: tuple[int, int, int]) -> None:
    assert pooled_shape(64, 27, 27, (4, 2, 2), mode) == grid


sides = st.integers(1, 6)


@settings(deadline=None, derandomize=True)
@given(sides, sides, sides, st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3)), st.sampled_from(MODES))
def test_the_announced_grid_is_the_one_that_comes(
    frames: int, height: int, width: int, pool: tuple[int, int, int], mode: PoolMode
) -> None:
    tokens = torch.zeros(2, frames, height, width, 3)
    try:
        grid = pooled_shape(frames, height, width, pool, mode)
    except ValueError:
        with pytest.raises(ValueError, match="leave nothing"):
            pool_video(tokens, pool, mode)
    else:
        assert pool_video(tokens, pool, mode).shape == (2, *grid, 3)


def test_average_and_max_of_blocks() -> None:
    tokens = torch.arange(16.0).reshape(1, 1, 4, 4, 1)
    assert pool_video(tokens, (1, 2, 2), "average").flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    assert pool_video(tokens, (1, 2, 2), "max").flatten().tolist() == [5, 7, 13, 15]


@pytest.mark.parametrize("mode", MODES)
def test_time_is_averaged_whatever_the_mode_and_spare_frames_are_left_out(mode: PoolMode) -> None:
    tokens = torch.tensor([1.0, 3.0, 10.0, 20.0, 999.0]).reshape(1, 5, 1, 1, 1)
    assert pool_video(tokens, (2, 1, 1), mode).flatten().tolist() == [2, 15]


@pytest.mark.parametrize("mode", MODES)
def test_factors_of_one_change_nothing(mode: PoolMode) -> None:
    tokens = torch.randn(1, 3, 5, 5, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(pool_video(tokens, (1, 1, 1), mode), tokens)


def test_height_and_width_have_factors_of_their_own() -> None:
    tokens = torch.arange(8.0).reshape(1, 1, 2, 4, 1)
    assert pool_video(tokens, (1, 1, 2), "average").flatten().tolist() == [0.5, 2.5, 4.5, 6.5]
    assert pool_video(tokens, (1, 2, 1), "average").flatten().tolist() == [2, 3, 4, 5]


@pytest.mark.parametrize("mode", MODES)
def test_samples_and_channels_stay_apart(mode: PoolMode) -> None:
    tokens = torch.randn(2, 4, 5, 5, 3, generator=torch.Generator().manual_seed(0))
    together = pool_video(tokens, (2, 2, 2), mode)
    for sample in range(2):
        for channel in range(3):
            alone = pool_video(tokens[sample : sample + 1, ..., channel : channel + 1], (2, 2, 2), mode)
            torch.testing.assert_close(together[sample, ..., channel], alone[0, ..., 0])


@pytest.mark.parametrize("mode", MODES)
def test_the_gradient_is_the_slope(mode: PoolMode) -> None:
    tokens = torch.randn(1, 2, 3, 3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert gradcheck(lambda x: pool_video(x, (2, 2, 2), mode), [tokens.requires_grad_()])


@pytest.mark.parametrize("mode", MODES)
def test_bfloat16_stays_bfloat16(mode: PoolMode) -> None:
    assert pool_video(torch.ones(1, 2, 5, 5, 2, dtype=torch.bfloat16), (2, 2, 2), mode).dtype == torch.bfloat16


@pytest.mark.parametrize("pool", [(0, 2, 2), (1, 0, 2), (1, 2, -1)])
def test_factors_below_one_are_refused(pool: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=re.escape(f"pool {pool} needs factors of at least 1")):
        pooled_shape(8, 27, 27, pool, "bilinear")


def test_an_unknown_mode_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'median' is none of bilinear, average, max"):
        pooled_shape(8, 27, 27, (1, 2, 2), "median")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("grid", "mode"),
    [((3, 27, 27), "bilinear"), ((8, 1, 27), "average"), ((8, 27, 1), "max"), ((8, 0, 27), "bilinear")],
)
def test_pooling_that_leaves_nothing_is_refused(grid: tuple[int, int, int], mode: PoolMode) -> None:
    sizes = " x ".join(map(str, grid))
    with pytest.raises(ValueError, match=rf"{sizes} video tokens pooled by \(4, 2, 2\) \({mode}\) leave nothing"):
        pooled_shape(*grid, (4, 2, 2), mode)


def test_tokens_without_a_grid_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\[B, T, H, W, D\]; these have the shape \(1, 8, 729, 16\)"):
        pool_video(torch.zeros(1, 8, 729, 16), (1, 2, 2))
