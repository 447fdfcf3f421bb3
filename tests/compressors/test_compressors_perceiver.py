"""Flamingo's resampler: as many latents as there would be queries, positions that it knows, and refusals."""

from typing import Any

import pytest
import torch
from torch import Tensor

from bimba.compressors import PerceiverResampler, SelectiveScanCompressor
from bimba.compressors.grid_positions import place_encoding, time_encoding
from bimba.ops import PoolMode, pooled_shape


def draw_tokens(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def resampler(grid: tuple[int, int] = (2, 2), dim: int = 16, **how: Any) -> PerceiverResampler:
    torch.manual_seed(0)
    return PerceiverResampler(dim, learned_grid=grid, **{"num_layers": 2, **how})


@pytest.mark.parametrize("mode", ["bilinear", "average", "max"])
@pytest.mark.parametrize("pool", [(1, 2, 2), (4, 2, 2), (3, 3, 2), (1, 1, 1)])
def test_the_result_has_the_shape_that_the_scan_gives(pool: tuple[int, int, int], mode: PoolMode) -> None:
    tokens = draw_tokens(2, 8, 7, 5, 16)
    grid = pooled_shape(8, 7, 5, pool, mode)
    compressor = resampler((grid[1], grid[2]), pool=pool, pool_mode=mode)
    assert compressor(tokens).shape == SelectiveScanCompressor(16, pool=pool, pool_mode=mode)(tokens).shape
    assert compressor.output_grid(8, 7, 5) == grid


def test_latents_follow_the_length_of_the_video() -> None:
    compressor = resampler(pool=(2, 2, 2))
    for num_frames in (2, 3, 8, 30):
        assert compressor(draw_tokens(1, num_frames, 4, 4, 16)).shape == (1, num_frames // 2, 2, 2, 16)


@pytest.mark.parametrize("shape", [(1, 9, 16), (1, 3, 3, 16), (1, 1, 1, 9, 16)])
def test_given_queries_take_the_place_of_the_latents(shape: tuple[int, ...]) -> None:
    compressor, tokens = resampler(), draw_tokens(1, 4, 4, 4, 16)
    flat = draw_tokens(1, 9, 16, seed=1)
    result = compressor(tokens, flat.reshape(shape))
    assert result.shape == shape
    assert torch.equal(result.reshape(1, 9, 16), compressor(tokens, flat))
    assert not torch.allclose(compressor(tokens, 2 * flat), compressor(tokens, flat), atol=1e-3)


# Positions --------------------------------------------------------------------------------------------------------


def test_two_orders_of_frames_are_told_apart() -> None:
    compressor, tokens = resampler(), draw_tokens(1, 4, 4, 4, 16)
    difference = (compressor(tokens) - compressor(tokens.flip(1))).abs().amax(-1)
    assert bool((difference > 1e-3).all())


@pytest.mark.parametrize("side", [2, 3])
def test_two_orders_of_rows_or_columns_are_told_apart(side: int) -> None:
    compressor, tokens = resampler(), draw_tokens(1, 4, 4, 4, 16)
    assert (compressor(tokens) - compressor(tokens.flip(side))).abs().max() > 1e-3


def test_rows_are_not_columns_and_times_are_neither() -> None:
    compressor, tokens = resampler((4, 4), pool=(1, 1, 1)), draw_tokens(1, 4, 4, 4, 16)
    queries = draw_tokens(1, 5, 16, seed=1)
    for axes in ((0, 1, 3, 2, 4), (0, 2, 1, 3, 4), (0, 3, 2, 1, 4)):
        assert (compressor(tokens, queries) - compressor(tokens.permute(axes), queries)).abs().max() > 1e-3


def test_without_positions_the_order_of_frames_would_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    compressor, tokens = resampler(), draw_tokens(1, 4, 4, 4, 16)
    monkeypatch.setattr(compressor, "_placed", lambda tokens: compressor.norm_tokens(tokens))
    torch.testing.assert_close(compressor(tokens), compressor(tokens.flip(1)))


def test_the_same_latents_stand_for_each_group_at_its_own_time() -> None:
    compressor = resampler(pool=(2, 2, 2))
    latents = compressor._own_latents(draw_tokens(3, 6, 4, 4, 16))
    learned = compressor.latents.queries
    for group, middle in enumerate((0.5, 2.5, 4.5)):
        expected = learned[0] + time_encoding(torch.tensor([middle]), 16)[0]
        assert torch.equal(latents[:, group], expected.expand(3, 2, 2, 16))
    still = draw_tokens(1, 1, 4, 4, 16).expand(1, 6, 4, 4, 16)
    groups = compressor(still)[0]
    assert (groups[0] - groups[2]).abs().max() > 1e-2


@pytest.mark.parametrize("dim", [6, 7, 16, 64, 96])
def test_every_place_has_an_encoding_of_its_own(dim: int) -> None:
    times = time_encoding(torch.arange(5), dim)
    encoding = (times[:, None, None] + place_encoding(4, 3, dim, torch.device("cpu"))).flatten(0, 2)
    assert encoding.shape == (60, dim)
    distances = torch.cdist(encoding, encoding) + torch.eye(60)
    assert distances.min() > 1e-2
    assert encoding.abs().max() <= 1
    assert not (times[:1] * place_encoding(4, 3, dim, torch.device("cpu"))).any(), "each in channels of its own"


def test_times_are_sines_and_cosines() -> None:
    encoding = time_encoding(torch.tensor([0.0, 1.5]), 6)
    assert encoding[0].tolist() == [0, 1, 0, 0, 0, 0]
    torch.testing.assert_close(encoding[1, :2], torch.tensor([1.5, 1.5 + torch.pi / 2]).sin())


@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_contents_and_positions_both_count_whatever_the_scale_of_the_tokens(scale: float) -> None:
    compressor, tokens = resampler(), scale * draw_tokens(1, 4, 4, 4, 16)
    other = scale * draw_tokens(1, 4, 4, 4, 16, seed=3)
    result = compressor(tokens)
    assert (result - compressor(other)).abs().max() > 1e-2
    assert (result - compressor(tokens.flip(1))).abs().max() > 1e-2


# Layers -----------------------------------------------------------------------------------------------------------


def test_a_layer_is_what_the_paper_says() -> None:
    """By hand, for one head: keys and values are tokens and latents, then a feed-forward layer with squared ReLU."""
    layer = resampler(num_layers=1).layers[0]
    latents, tokens = draw_tokens(1, 3, 16), draw_tokens(1, 7, 16, seed=1)

    def normed(rows: Tensor) -> Tensor:
        centred = rows - rows.mean(-1, keepdim=True)
        return centred * (centred.square().mean(-1, keepdim=True) + 1e-5).rsqrt()

    read = torch.cat([normed(tokens), normed(latents)], dim=1)[0]
    attention: Any = layer.attention
    scores = attention.q_proj(normed(latents))[0] @ attention.k_proj(read).T / 4
    looked = latents[0] + attention.out_proj(scores.softmax(-1) @ attention.v_proj(read))
    up: Any = layer.up_proj
    down: Any = layer.down_proj
    expected = looked + down(up(normed(looked)).clamp(min=0) ** 2)
    torch.testing.assert_close(layer(latents, tokens)[0], expected, rtol=1e-4, atol=1e-5)


def test_a_fresh_result_is_normalised() -> None:
    result = resampler()(draw_tokens(1, 4, 4, 4, 16))
    torch.testing.assert_close(result.mean(-1), torch.zeros(1, 4, 2, 2), atol=1e-5, rtol=0)
    torch.testing.assert_close(result.std(-1, correction=0), torch.ones(1, 4, 2, 2), atol=1e-3, rtol=0)


def test_videos_of_a_batch_stay_apart() -> None:
    compressor, tokens = resampler(), draw_tokens(3, 4, 4, 4, 16)
    together = compressor(tokens)
    for index in range(3):
        torch.testing.assert_close(together[index : index + 1], compressor(tokens[index : index + 1]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_reach_the_tokens_and_every_weight(dtype: torch.dtype) -> None:
    compressor = resampler(pool=(2, 2, 2)).to(dtype)
    tokens = draw_tokens(1, 4, 4, 4, 16).to(dtype).requires_grad_()
    result = compressor(tokens)
    assert result.dtype == dtype
    (result.float() * draw_tokens(*result.shape, seed=1)).sum().backward()
    for tensor in (tokens, *compressor.parameters()):
        assert tensor.grad is not None
        assert bool(tensor.grad.isfinite().all())
        assert bool(tensor.grad.any())


def test_it_is_built_without_memory() -> None:
    with torch.device("meta"):
        compressor = PerceiverResampler(3584, learned_grid=(14, 14))
    # Four square projections and eight for the feed-forward layer, in each of six layers.
    matrices = 6 * 12 * 3584**2
    assert sum(weight.numel() for weight in compressor.parameters()) == matrices + 196 * 3584 + (6 * 3 + 2) * 2 * 3584


def test_the_same_seed_starts_the_same_compressor() -> None:
    first, second = resampler().state_dict(), resampler().state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


# Refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [{"num_layers": 0}, {"grid": (0, 2)}, {"dim": 5}], ids=lambda how: next(iter(how)))
def test_settings_that_are_too_small_are_refused(how: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be at least 1, and dim at least 6"):
        resampler(**how)


def test_wrong_pooling_and_heads_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match="needs factors of at least 1"):
        resampler(pool=(1, 0, 2))
    with pytest.raises(ValueError, match="'median' is none of"):
        resampler(pool_mode="median")
    with pytest.raises(ValueError, match="num_heads is 3"):
        resampler(num_heads=3)


def test_shapes_that_do_not_fit_are_refused() -> None:
    compressor = resampler()
    with pytest.raises(ValueError, match=r"video tokens are \[B, T, H, W, 16\]; these are \(1, 4, 16, 16\)"):
        compressor(torch.zeros(1, 4, 16, 16))
    with pytest.raises(ValueError, match=r"queries \(2, 9, 16\) do not fit tokens \(1, 4, 4, 4, 16\)"):
        compressor(torch.zeros(1, 4, 4, 4, 16), torch.zeros(2, 9, 16))
    with pytest.raises(ValueError, match=r"asks for queries \(1, 3, 3\), but those learned are \(1, 2, 2\)"):
        compressor(torch.zeros(1, 4, 5, 5, 16))
    with pytest.raises(ValueError, match="leave nothing"):
        resampler(pool=(4, 2, 2))(torch.zeros(1, 3, 4, 4, 16))


def test_the_module_prints_its_settings() -> None:
    assert "dim=16, pool=(1, 2, 2), pool_mode='bilinear'" in repr(resampler())
