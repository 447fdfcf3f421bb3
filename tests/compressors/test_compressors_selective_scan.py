"""BIMBA's compressor: sizes, a start as plain pooling, queries of the caller's, and refusals.

Shapes: B batch, T frames, H x W patches a frame, D width.
"""

import inspect
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from bimba.compressors import PoolingCompressor, SelectiveScanCompressor
from bimba.compressors.mixer import ScanDirection
from bimba.ops import PoolMode, pool_video

NOTES = Path(__file__).parents[1] / "data/golden/keys_7b_notes.json"


def draw_tokens(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def trained_compressor(dim: int, **how: Any) -> SelectiveScanCompressor:
    """A compressor whose last projection is not zero any more."""
    torch.manual_seed(0)
    compressor = SelectiveScanCompressor(dim, **how)
    for name, parameter in compressor.named_parameters():
        if name.endswith("out_proj.weight"):
            nn.init.normal_(parameter, std=0.3)
    return compressor.eval()


# Sizes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pool", "mode", "grid"),
    [
        ((1, 2, 2), "bilinear", (8, 4, 3)),
        ((4, 2, 2), "bilinear", (2, 4, 3)),
        ((3, 3, 2), "bilinear", (2, 3, 3)),
        ((1, 2, 2), "average", (8, 3, 2)),
        ((4, 2, 1), "max", (2, 3, 5)),
        ((1, 1, 1), "bilinear", (8, 7, 5)),
    ],
)
def test_the_result_is_a_grid_of_queries(
    pool: tuple[int, int, int], mode: PoolMode, grid: tuple[int, int, int]
) -> None:
    compressor = trained_compressor(16, pool=pool, pool_mode=mode)
    assert compressor.output_grid(8, 7, 5) == grid
    assert compressor(draw_tokens(2, 8, 7, 5, 16)).shape == (2, *grid, 16)


def test_the_released_size_has_as_many_weights_as_the_public_one() -> None:
    with torch.device("meta"):
        compressor = SelectiveScanCompressor(3584)
    assert sum(parameter.numel() for parameter in compressor.parameters()) == 84_284_928
    assert json.loads(NOTES.read_text())["compressor_parameters"] == 84_284_928


@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize("multi_scale", [False, True])
def test_layers_before_the_last_keep_the_grid_of_queries(num_layers: int, multi_scale: bool) -> None:
    compressor = trained_compressor(16, num_layers=num_layers, multi_scale=multi_scale)
    assert compressor(draw_tokens(1, 5, 4, 4, 16)).shape == (1, 5, 2, 2, 16)


def test_multi_scale_changes_two_layers_and_not_one() -> None:
    tokens = draw_tokens(1, 4, 4, 4, 16)
    for num_layers, equal in [(1, True), (2, False)]:
        one_scale = trained_compressor(16, num_layers=num_layers, multi_scale=False)(tokens)
        two_scales = trained_compressor(16, num_layers=num_layers, multi_scale=True)(tokens)
        assert torch.equal(one_scale, two_scales) is equal


# A fresh compressor -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("pool", [(1, 2, 2), (2, 2, 2)])
def test_a_fresh_compressor_is_plain_pooling(num_layers: int, pool: tuple[int, int, int]) -> None:
    tokens = draw_tokens(2, 4, 5, 5, 16)
    fresh = SelectiveScanCompressor(16, pool=pool, num_layers=num_layers)
    assert torch.equal(fresh(tokens), pool_video(tokens, pool))
    assert torch.equal(fresh(tokens), PoolingCompressor(pool=pool)(tokens))


def test_a_fresh_compressor_returns_given_queries_exactly() -> None:
    queries = draw_tokens(2, 3, 7, 16, seed=1)
    assert torch.equal(SelectiveScanCompressor(16)(draw_tokens(2, 4, 5, 5, 16), queries), queries)


def test_without_residual_a_fresh_compressor_returns_nothing() -> None:
    assert not SelectiveScanCompressor(16, residual=False)(draw_tokens(1, 4, 5, 5, 16)).any()


def scan_directions(compressor: SelectiveScanCompressor) -> list[ScanDirection]:
    return [module for module in compressor.modules() if isinstance(module, ScanDirection)]


def test_both_directions_start_with_mambas_values() -> None:
    torch.manual_seed(0)
    directions = scan_directions(SelectiveScanCompressor(64, state_dim=8))
    assert [direction.reverse for direction in directions] == [False, True]
    for direction in directions:
        steps = functional.softplus(direction.dt_bias)
        assert steps.min() >= 1e-4
        assert steps.max() <= 0.1 * (1 + 1e-5)
        assert steps.max() / steps.min() > 10  # spread over the range, not all alike
        assert torch.equal(direction.A_log, torch.arange(1.0, 9.0).log().expand(128, 8))
        assert torch.equal(direction.D, torch.ones(128))


def test_the_same_seed_starts_the_same_compressor() -> None:
    torch.manual_seed(5)
    first = SelectiveScanCompressor(16).state_dict()
    torch.manual_seed(5)
    second = SelectiveScanCompressor(16).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_reset_after_training_is_plain_pooling_again() -> None:
    compressor = trained_compressor(16)
    tokens = draw_tokens(1, 4, 4, 4, 16)
    assert not torch.equal(compressor(tokens), pool_video(tokens, (1, 2, 2)))
    for module in compressor.modules():
        if isinstance(module, nn.Linear | nn.RMSNorm | ScanDirection):
            module.reset_parameters()
    assert torch.equal(compressor(tokens), pool_video(tokens, (1, 2, 2)))


# Queries of the caller's ------------------------------------------------------------------------------------------


def test_queries_pooled_elsewhere_keep_their_shape() -> None:
    tokens = draw_tokens(2, 8, 6, 6, 16)
    every_fourth = tokens[:, ::4].permute(0, 4, 1, 2, 3)
    queries = nn.AdaptiveAvgPool3d((2, 3, 3))(every_fourth).permute(0, 2, 3, 4, 1)
    assert trained_compressor(16)(tokens, queries).shape == (2, 2, 3, 3, 16)


@pytest.mark.parametrize("shape", [(1, 9, 16), (1, 3, 3, 16), (1, 1, 1, 9, 16)])
def test_the_shape_of_the_queries_does_not_matter_to_their_values(shape: tuple[int, ...]) -> None:
    compressor, tokens = trained_compressor(16), draw_tokens(1, 4, 4, 4, 16)
    flat = draw_tokens(1, 9, 16, seed=1)
    result = compressor(tokens, flat.reshape(shape))
    assert result.shape == shape
    assert torch.equal(result.reshape(1, 9, 16), compressor(tokens, flat))


# What the scan sees -----------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=15, derandomize=True)
@given(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3))
def test_every_token_reaches_every_query(frame: int, row: int, column: int) -> None:
    compressor, tokens = trained_compressor(16), draw_tokens(1, 4, 4, 4, 16)
    queries = draw_tokens(1, 4, 2, 2, 16, seed=1)
    changed = tokens.clone()
    changed[0, frame, row, column] += 5.0
    difference = (compressor(changed, queries) - compressor(tokens, queries)).abs().amax(-1)
    assert bool((difference > 0).all())


def test_one_direction_cannot_see_what_comes_later() -> None:
    compressor, tokens = trained_compressor(16, bidirectional=False), draw_tokens(1, 4, 4, 4, 16)
    queries = draw_tokens(1, 4, 2, 2, 16, seed=1)
    changed = tokens.clone()
    changed[0, 2:] += 5.0
    difference = (compressor(changed, queries) - compressor(tokens, queries)).abs().amax(-1)
    assert not difference[0, :2].any()
    assert bool((difference[0, 2:].flatten()[1:] > 0).all())


@pytest.mark.parametrize("placement", ["start", "end"])
def test_the_placement_of_queries_changes_the_result(placement: str) -> None:
    tokens = draw_tokens(1, 4, 4, 4, 16)
    elsewhere = trained_compressor(16, query_position=placement)(tokens)
    assert (elsewhere - trained_compressor(16)(tokens)).abs().max().item() > 1e-2


def test_videos_of_a_batch_stay_apart() -> None:
    compressor, tokens = trained_compressor(16, num_layers=2), draw_tokens(3, 4, 4, 4, 16)
    together = compressor(tokens)
    for index in range(3):
        torch.testing.assert_close(together[index : index + 1], compressor(tokens[index : index + 1]))


@pytest.mark.parametrize("num_layers", [1, 2])
def test_bfloat16_runs_forward_and_backward(num_layers: int) -> None:
    compressor = trained_compressor(16, num_layers=num_layers).bfloat16()
    tokens = draw_tokens(1, 4, 5, 5, 16).bfloat16().requires_grad_()
    result = compressor(tokens)
    result.float().square().sum().backward()
    assert result.dtype == torch.bfloat16
    assert tokens.grad is not None
    for parameter in compressor.parameters():
        assert parameter.grad is not None
        assert bool(parameter.grad.isfinite().all())


def test_decay_kept_in_float32_runs_in_a_bfloat16_compressor() -> None:
    compressor = trained_compressor(16).bfloat16()
    for direction in scan_directions(compressor):
        direction.A_log.data = direction.A_log.data.float()
    assert compressor(draw_tokens(1, 4, 4, 4, 16).bfloat16()).dtype == torch.bfloat16


# Public names -----------------------------------------------------------------------------------------------------


def test_weights_go_from_one_compressor_to_another_by_their_public_names() -> None:
    source, target = trained_compressor(16, num_layers=2), SelectiveScanCompressor(16, num_layers=2)
    target.load_public_state_dict(source.public_state_dict())
    for key, tensor in source.state_dict().items():
        assert torch.equal(target.state_dict()[key], tensor), key


def test_weights_that_do_not_fit_are_all_listed() -> None:
    compressor = SelectiveScanCompressor(16)
    state = compressor.public_state_dict()
    state["layers.1.norm.weight"] = torch.zeros(16)
    state["layers.0.mixer.x_proj_c.weight"] = torch.zeros(1)
    state["layers.0.mixer.in_proj.weight"] = torch.zeros(60, 16)
    state["layers.0.mixer.conv1d_b.weight"] = torch.zeros(32, 4)
    del state["layers.0.mixer.D_b"], state["layers.0.norm.weight"]
    before = {key: tensor.clone() for key, tensor in compressor.state_dict().items()}
    with pytest.raises(ValueError, match="do not fit this compressor") as caught:
        compressor.load_public_state_dict(state)
    message = str(caught.value)
    for problem in [
        "missing layers.0.mixer.D_b",
        "missing layers.0.norm.weight",
        "unknown layers.1.norm.weight",
        "unknown layers.0.mixer.x_proj_c.weight",
        "layers.0.mixer.in_proj.weight has the shape (60, 16), not (64, 16)",
        "layers.0.mixer.conv1d_b.weight has the shape (32, 4), not (32, 1, 4)",
    ]:
        assert problem in message
    assert message.count(";") == 5
    assert all(torch.equal(compressor.state_dict()[key], before[key]) for key in before)


def test_weights_of_one_direction_do_not_fit_two() -> None:
    state = SelectiveScanCompressor(16, bidirectional=False).public_state_dict()
    with pytest.raises(ValueError, match=r"missing layers\.0\.mixer\.A_b_log"):
        SelectiveScanCompressor(16).load_public_state_dict(state)


# Refusals and contract --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "how",
    [{"dim": 0}, {"num_layers": 0}, {"state_dim": 0}, {"conv_width": 0}, {"expand": 0}, {"pool": (1, 0, 2)}],
    ids=lambda how: next(iter(how)),
)
def test_settings_below_one_are_refused(how: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        SelectiveScanCompressor(**{"dim": 16, **how})


def test_unknown_names_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match="'right' is none of interleaved, start, end"):
        SelectiveScanCompressor(16, query_position="right")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'median' is none of bilinear, average, max"):
        SelectiveScanCompressor(16, pool_mode="median")  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(1, 4, 25, 16), (1, 4, 5, 5, 17)])
def test_tokens_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"video tokens are \[B, T, H, W, 16\]; these are \(1, 4, "):
        SelectiveScanCompressor(16)(torch.zeros(shape))


@pytest.mark.parametrize("shape", [(2, 9, 16), (1, 9, 17), (1, 16)])
def test_queries_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"queries \(.*\) do not fit tokens \(1, 4, 5, 5, 16\)"):
        SelectiveScanCompressor(16)(torch.zeros(1, 4, 5, 5, 16), torch.zeros(shape))


def test_a_video_shorter_than_a_group_of_frames_is_refused() -> None:
    with pytest.raises(ValueError, match=r"3 x 5 x 5 video tokens pooled by \(4, 2, 2\) \(bilinear\) leave nothing"):
        SelectiveScanCompressor(16, pool=(4, 2, 2))(torch.zeros(1, 3, 5, 5, 16))


def test_the_signature_is_frozen() -> None:
    parameters = inspect.signature(SelectiveScanCompressor).parameters
    frozen = {
        "pool": (1, 2, 2),
        "pool_mode": "bilinear",
        "num_layers": 1,
        "state_dim": 16,
        "conv_width": 4,
        "expand": 2,
        "bidirectional": True,
        "query_position": "interleaved",
        "norm": True,
    }
    assert list(parameters)[: 1 + len(frozen)] == ["dim", *frozen]
    assert {name: parameters[name].default for name in frozen} == frozen
    assert all(parameters[name].kind is inspect.Parameter.KEYWORD_ONLY for name in list(parameters)[1:])
    assert all(parameter.default is not parameter.empty for parameter in list(parameters.values())[1:])
    called = inspect.signature(SelectiveScanCompressor.forward).parameters
    assert list(called) == ["self", "tokens", "queries", "question"]
    assert called["queries"].default is None
    assert called["question"].default is None
    assert called["question"].kind is inspect.Parameter.KEYWORD_ONLY


def test_the_module_prints_its_settings() -> None:
    shown = repr(SelectiveScanCompressor(16, pool=(4, 2, 2)))
    assert "dim=16, pool=(4, 2, 2), pool_mode='bilinear', query_position='interleaved'" in shown


def test_the_rank_of_the_step_sizes_is_a_sixteenth_rounded_up() -> None:
    for dim in (16, 17, 40):
        rank = SelectiveScanCompressor(dim).public_state_dict()["layers.0.mixer.dt_proj.weight"].shape[1]
        assert rank == math.ceil(dim / 16)
