"""Full self-attention in BIMBA's frame: sizes, a start as plain pooling, the last layer's short cut, and refusals."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bimba.compressors import PoolingCompressor, SelectiveScanCompressor, SelfAttentionCompressor
from bimba.compressors.attention import Attention, checked_heads, rotated
from bimba.ops import PoolMode, interleave, pool_video, query_positions


def draw_tokens(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def trained_compressor(dim: int = 16, **how: Any) -> SelfAttentionCompressor:
    """A compressor that looks somewhere, and whose last projection is not zero any more."""
    torch.manual_seed(0)
    compressor = SelfAttentionCompressor(dim, **how)
    for name, weight in compressor.named_parameters():
        if name.endswith("proj.weight"):
            nn.init.normal_(weight, std=0.3)
    return compressor.eval()


@pytest.mark.parametrize("mode", ["bilinear", "average", "max"])
@pytest.mark.parametrize("pool", [(1, 2, 2), (4, 2, 2), (3, 3, 2), (1, 1, 1)])
@pytest.mark.parametrize("num_layers", [1, 2])
def test_the_result_has_the_shape_that_the_scan_gives(
    pool: tuple[int, int, int], mode: PoolMode, num_layers: int
) -> None:
    tokens = draw_tokens(2, 8, 7, 5, 16)
    scan = SelectiveScanCompressor(16, pool=pool, pool_mode=mode)
    attention = trained_compressor(pool=pool, pool_mode=mode, num_layers=num_layers)
    assert attention(tokens).shape == scan(tokens).shape
    assert attention.output_grid(8, 7, 5) == scan.output_grid(8, 7, 5) == attention(tokens).shape[1:4]


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("pool", [(1, 2, 2), (2, 2, 2)])
def test_a_fresh_compressor_is_plain_pooling(num_layers: int, pool: tuple[int, int, int]) -> None:
    tokens, queries = draw_tokens(2, 4, 5, 5, 16), draw_tokens(2, 3, 7, 16, seed=1)
    fresh = SelfAttentionCompressor(16, pool=pool, num_layers=num_layers)
    assert torch.equal(fresh(tokens), PoolingCompressor(pool=pool)(tokens))
    assert torch.equal(fresh(tokens, queries), queries)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("num_heads", [1, 4])
@pytest.mark.parametrize("num_frames", [1, 4, 7])
def test_queries_that_ask_alone_get_what_the_whole_sequence_would_give_them(
    dtype: torch.dtype, num_heads: int, num_frames: int
) -> None:
    """In values and in every gradient."""
    compressor = trained_compressor(num_heads=num_heads).to(dtype)
    [layer] = compressor.layers
    results, gradients = [], []
    for plain in (False, True):
        tokens = draw_tokens(2, num_frames, 5, 5, 16).to(dtype).requires_grad_()
        compressor.zero_grad()
        if plain:
            queries = pool_video(tokens, (1, 2, 2)).flatten(1, 3)
            positions = query_positions(num_frames * 25, num_frames * 9)
            result = layer(interleave(tokens.flatten(1, 3), queries, positions))[:, positions]
        else:
            result = compressor(tokens).flatten(1, 3)
        result.square().sum().backward()
        results.append(result.detach())
        gradients.append([tokens.grad, *(weight.grad for weight in compressor.parameters())])
    bar = 1e-3 if dtype == torch.float32 else 1e-10
    torch.testing.assert_close(results[0], results[1], rtol=bar, atol=bar * 0.1)
    for short, whole in zip(*gradients, strict=True):
        torch.testing.assert_close(short, whole, rtol=bar, atol=bar * 0.1)


def test_a_layer_is_softmax_over_turned_keys() -> None:
    """By hand, for one head: scores of pairs depend on how far they stand apart."""
    compressor = trained_compressor(8, num_heads=1)
    [layer] = compressor.layers
    sequence = draw_tokens(1, 6, 8)
    rows = sequence * (sequence.square().mean(-1, keepdim=True) + 1e-6).rsqrt()
    attention: Any = layer.attention
    q, k, v = (projection(rows)[0] for projection in (attention.q_proj, attention.k_proj, attention.v_proj))
    scores = torch.zeros(6, 6)
    for asking in range(6):
        for read in range(6):
            for pair in range(4):
                angle = torch.tensor((asking - read) * 10_000.0 ** (-2 * pair / 8))
                turn = torch.stack([torch.stack([angle.cos(), angle.sin()]), torch.stack([-angle.sin(), angle.cos()])])
                scores[asking, read] += q[asking, 2 * pair : 2 * pair + 2] @ turn @ k[read, 2 * pair : 2 * pair + 2]
    expected = sequence[0] + attention.out_proj((scores / 8**0.5).softmax(-1) @ v)
    torch.testing.assert_close(layer(sequence)[0], expected, rtol=1e-4, atol=1e-4)


def test_positions_are_told_apart_in_bfloat16() -> None:
    rows = torch.ones(1, 1, 2, 8, dtype=torch.bfloat16)
    near = rotated(rows, torch.tensor([50_000, 50_001]))
    assert near.dtype == torch.bfloat16
    assert (near[0, 0, 0] - near[0, 0, 1]).abs().max() > 0.1


def test_every_token_reaches_every_query() -> None:
    compressor, tokens = trained_compressor(), draw_tokens(1, 4, 4, 4, 16)
    queries = draw_tokens(1, 4, 2, 2, 16, seed=1)
    changed = tokens.clone()
    changed[0, 2, 1, 3] += 5.0
    assert bool(((compressor(changed, queries) - compressor(tokens, queries)).abs().amax(-1) > 0).all())


@pytest.mark.parametrize("num_layers", [1, 2])
def test_the_order_of_frames_matters(num_layers: int) -> None:
    """Also to queries that stay as they are, through the positions alone."""
    compressor, tokens = trained_compressor(num_layers=num_layers), draw_tokens(1, 4, 4, 4, 16)
    queries = draw_tokens(1, 4, 2, 2, 16, seed=1)
    difference = compressor(tokens, queries) - compressor(tokens.flip(1), queries)
    assert difference.abs().max() > 1e-2


def test_videos_of_a_batch_stay_apart() -> None:
    compressor, tokens = trained_compressor(num_layers=2), draw_tokens(3, 4, 4, 4, 16)
    together = compressor(tokens)
    for index in range(3):
        torch.testing.assert_close(together[index : index + 1], compressor(tokens[index : index + 1]))


def test_multi_scale_changes_two_layers_and_not_one() -> None:
    tokens = draw_tokens(1, 4, 4, 4, 16)
    for num_layers, equal in [(1, True), (2, False)]:
        one, two = (trained_compressor(num_layers=num_layers, multi_scale=scale)(tokens) for scale in (False, True))
        assert torch.equal(one, two) is equal


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_reach_the_tokens_and_every_weight(num_layers: int, dtype: torch.dtype) -> None:
    compressor = trained_compressor(num_layers=num_layers).to(dtype)
    tokens = draw_tokens(1, 4, 5, 5, 16).to(dtype).requires_grad_()
    result = compressor(tokens)
    assert result.dtype == dtype
    result.float().square().sum().backward()
    for tensor in (tokens, *compressor.parameters()):
        assert tensor.grad is not None
        assert bool(tensor.grad.isfinite().all())
        assert bool(tensor.grad.any())


def test_in_the_first_step_only_the_projection_out_learns() -> None:
    compressor = SelfAttentionCompressor(16)
    compressor(draw_tokens(1, 4, 4, 4, 16)).square().sum().backward()
    learning = [name for name, weight in compressor.named_parameters() if weight.grad is not None and weight.grad.any()]
    assert learning == ["layers.0.attention.out_proj.weight"]


def test_a_question_stands_in_front_of_the_sequence() -> None:
    compressor, tokens = trained_compressor(num_layers=2), draw_tokens(1, 4, 4, 4, 16)
    words = draw_tokens(1, 3, 16, seed=2)
    assert (compressor(tokens, question=words) - compressor(tokens)).abs().max() > 1e-3
    assert torch.equal(compressor(tokens, question=words[:, :0]), compressor(tokens))


def test_it_is_built_without_memory_and_has_four_square_projections() -> None:
    with torch.device("meta"):
        compressor = SelfAttentionCompressor(3584)
    assert sum(weight.numel() for weight in compressor.parameters()) == 4 * 3584**2 + 3584
    assert compressor.layers[0].attention.num_heads == 56  # type: ignore[union-attr]


def test_the_same_seed_starts_the_same_compressor() -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(5)
        states.append(SelfAttentionCompressor(16).state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.parametrize(
    ("dim", "num_heads", "expected"), [(128, None, 2), (64, None, 1), (48, None, 1), (3584, None, 56), (96, 3, 3)]
)
def test_heads_are_64_wide_unless_told_otherwise(dim: int, num_heads: int | None, expected: int) -> None:
    assert checked_heads(dim, num_heads) == expected


@pytest.mark.parametrize(("dim", "num_heads"), [(96, None), (16, 3), (16, 0), (16, 32)])
def test_heads_that_do_not_share_the_width_are_refused(dim: int, num_heads: int | None) -> None:
    with pytest.raises(ValueError, match=f"dim {dim}"):
        SelfAttentionCompressor(dim, num_heads=num_heads)


def test_odd_heads_cannot_be_turned() -> None:
    with pytest.raises(ValueError, match="heads of width 3 cannot be turned"):
        Attention(9, 3, rotary=True)
    assert Attention(9, 3)(torch.zeros(1, 2, 9), torch.zeros(1, 5, 9)).shape == (1, 2, 9)


@pytest.mark.parametrize("how", [{"dim": 0}, {"num_layers": 0}, {"pool": (1, 0, 2)}], ids=lambda how: next(iter(how)))
def test_settings_below_one_are_refused(how: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        SelfAttentionCompressor(**{"dim": 16, **how})


def test_shapes_that_do_not_fit_are_refused() -> None:
    compressor = SelfAttentionCompressor(16)
    with pytest.raises(ValueError, match=r"video tokens are \[B, T, H, W, 16\]; these are \(1, 4, 25, 16\)"):
        compressor(torch.zeros(1, 4, 25, 16))
    with pytest.raises(ValueError, match=r"queries \(2, 9, 16\) do not fit tokens \(1, 4, 5, 5, 16\)"):
        compressor(torch.zeros(1, 4, 5, 5, 16), torch.zeros(2, 9, 16))


def test_the_module_prints_its_settings() -> None:
    text = repr(SelfAttentionCompressor(128))
    assert "dim=128, pool=(1, 2, 2), pool_mode='bilinear'" in text
    assert "num_heads=2" in text
