"""The whole model with each type of compressor: it trains, is saved and loaded, starts as it should, and is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bimba
from bimba.checkpoints.convert import reverse
from bimba.compressors import NoCompressor, PerceiverResampler, PoolingCompressor, SelfAttentionCompressor
from bimba.errors import CheckpointError, InputError
from bimba.inference.memory import plan_memory
from bimba.models.bimba.configuration import COMPRESSORS, BimbaConfig, complete_compressor
from bimba.models.bimba.modeling import BimbaForConditionalGeneration, build_compressor
from bimba.models.bimba.processing import BimbaProcessor
from bimba.models.bimba.tiny import tiny_config, tiny_tokenizer

RIVALS = ("pooling", "self_attention", "perceiver", "none")


def config_with(kind: str, **settings: Any) -> BimbaConfig:
    """The tiny model's config with a compressor, and without pooling where nothing may be pooled."""
    values = tiny_config(320).to_dict() | {"compressor": {"type": kind, **settings}}
    return BimbaConfig.from_dict(values | ({"spatial_pooling": 1} if kind == "none" else {}))


def model_with(kind: str, **settings: Any) -> tuple[BimbaForConditionalGeneration, BimbaProcessor]:
    config = config_with(kind, **settings)
    processor = BimbaProcessor.from_config(config, tiny_tokenizer())
    torch.manual_seed(0)
    model = BimbaForConditionalGeneration(config)
    model.eval()  # type: ignore[no-untyped-call] # untyped in transformers
    for name, weight in model.compressor.named_parameters():
        if name.endswith("out_proj.weight"):
            nn.init.normal_(weight, std=0.02)
    return model, processor


def batch_of(processor: BimbaProcessor, *num_frames: int) -> dict[str, Any]:
    random = torch.Generator().manual_seed(0)
    videos = [torch.randn(count, 3, 70, 70, generator=random) for count in num_frames]
    return dict(processor(["<image>what?"] * len(videos), pixel_values_videos=videos, padding=True))


@pytest.mark.parametrize("kind", RIVALS)
def test_a_model_trains_every_weight_of_its_compressor(kind: str) -> None:
    model, processor = model_with(kind, **({"num_layers": 2} if kind in ("self_attention", "perceiver") else {}))
    batch = batch_of(processor, 3, 4)
    model(**batch, labels=batch["input_ids"]).loss.backward()
    for name, weight in model.compressor.named_parameters():
        assert weight.grad is not None, name
        assert bool(weight.grad.any()), name
    assert bool(model.projector.layers[0].weight.grad.any())


@pytest.mark.parametrize("kind", RIVALS)
def test_a_saved_model_is_the_same_when_it_is_loaded(kind: str, tmp_path: Path) -> None:
    model, processor = model_with(kind)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    again: Any = BimbaForConditionalGeneration.from_pretrained(tmp_path)
    assert again.config.compressor == model.config.compressor
    assert model.state_dict().keys() == again.state_dict().keys()
    batch = batch_of(processor, 3)
    with torch.no_grad():
        expected = model(**batch).logits
        assert torch.equal(again(**batch).logits, expected)
        loaded = bimba.load(tmp_path, device="cpu")
        assert torch.equal(loaded.model(**batch).logits, expected)
    frames = torch.randint(0, 255, (4, 30, 40, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    side = 5 if kind == "none" else 3
    assert loaded.ask(frames, "what?", max_new_tokens=2).num_video_tokens == 4 * side * (side + 1)
    in_bfloat16 = bimba.load(tmp_path, device="cpu", dtype="bfloat16")
    assert in_bfloat16.ask(frames, "what?", max_new_tokens=2).token_ids


@pytest.mark.parametrize("kind", ["self_attention", "perceiver"])
def test_transformers_initialises_everything_as_the_constructor_does(kind: str) -> None:
    model, _ = model_with(kind)
    for weight in model.compressor.parameters():
        nn.init.constant_(weight, float("nan"))
        weight._is_hf_initialized = False  # transformers' own mark
    for module in model.compressor.modules():
        model._init_weights(module)
    own = dict(build_compressor(model.config).named_parameters())
    for name, weight in model.compressor.named_parameters():
        assert bool(weight.isfinite().all()), name
        constant = own[name].unique().numel() == 1  # norms, and what starts at zero
        assert torch.equal(weight, own[name]) if constant else 0 < weight.std() < 1.5 * own[name].std() + 0.02, name


@pytest.mark.parametrize("kind", ["self_attention", "perceiver"])
def test_the_constructor_leaves_no_weight_unset(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make = torch.empty

    def full_of_nothing(*size: Any, **how: Any) -> Tensor:
        made = make(*size, **how)
        return made.fill_(float("nan")) if made.is_floating_point() else made

    monkeypatch.setattr(torch, "empty", full_of_nothing)
    for name, weight in build_compressor(config_with(kind)).named_parameters():
        assert bool(weight.isfinite().all()), name


def test_a_fresh_model_with_self_attention_starts_as_one_that_pools() -> None:
    torch.manual_seed(0)
    fresh = BimbaForConditionalGeneration(config_with("self_attention")).compressor
    tokens = torch.randn(1, 4, 5, 5, 64, generator=torch.Generator().manual_seed(1))
    assert torch.equal(fresh(tokens), PoolingCompressor()(tokens))


def test_each_type_is_built_with_its_settings() -> None:
    attention = build_compressor(config_with("self_attention", num_heads=4, num_layers=2))
    assert isinstance(attention, SelfAttentionCompressor)
    assert len(attention.layers) == 2
    assert attention.layers[0].attention.num_heads == 4  # type: ignore[union-attr]
    resampler = build_compressor(config_with("perceiver", num_layers=1))
    assert isinstance(resampler, PerceiverResampler)
    assert resampler.latents.queries.shape == (1, 3, 3, 64)
    assert isinstance(build_compressor(config_with("none")), NoCompressor)


def test_config_writes_the_settings_of_every_type_out() -> None:
    for kind, defaults in COMPRESSORS.items():
        assert complete_compressor({"type": kind}) == defaults
        with pytest.raises(ValueError, match=r"unknown compressor settings \['stat_dim'\]"):
            complete_compressor({"type": kind, "stat_dim": 8})
    assert BimbaConfig(compressor={"type": "perceiver"}).compressor["learned_grid"] == [14, 14]
    assert BimbaConfig(compressor={"type": "perceiver"}, pool_mode="average").compressor["learned_grid"] == [13, 13]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"compressor": {"type": "none"}}, "spatial_pooling is 2 and temporal_pooling is 1; both must be 1"),
        ({"compressor": {"type": "self_attention", "num_heads": 5}}, "num_heads is 5"),
        ({"compressor": {"type": "perceiver", "num_heads": 0}}, "num_heads is 0"),
        ({"compressor": {"type": "perceiver", "learned_grid": [14, 13]}}, r"27 x 27 patches pooled by 2 \(bilinear\)"),
        ({"compressor": {"type": "perceiver", "state_dim": 16}}, "state_dim"),
    ],
)
def test_settings_that_do_not_fit_the_model_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BimbaConfig(**settings)


def test_another_pooling_does_not_fit_trained_latents(tmp_path: Path) -> None:
    model, processor = model_with("perceiver", num_layers=1)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    assert bimba.load(tmp_path, device="cpu", config_overrides={"temporal_pooling": 2}).model.config.pool == (2, 2, 2)
    with pytest.raises(InputError, match=r"learned_grid is \[3, 3\], but 5 x 5 patches pooled by 3"):
        bimba.load(tmp_path, device="cpu", config_overrides={"spatial_pooling": 3})


@pytest.mark.parametrize("kind", ["self_attention", "perceiver", "none"])
def test_the_released_layout_has_no_place_for_them(kind: str, tmp_path: Path) -> None:
    model, processor = model_with(kind)
    model.save_pretrained(tmp_path / "ours")
    processor.save_pretrained(tmp_path / "ours")
    with pytest.raises(CheckpointError, match=f"no compressor of the type {kind}"):
        reverse(tmp_path / "ours", tmp_path / "released")
    assert not (tmp_path / "released").exists()


def test_memory_is_planned_for_each() -> None:
    """More where all rows ask than where only the queries do; least where groups of frames are averaged one by one."""

    def compress(kind: str, **settings: Any) -> int:
        config = config_with(kind, **settings)
        return plan_memory(config, num_parameters=1, num_frames=8, num_tokens=100, itemsize=4).compress

    tokens, queries, joint = 8 * 25 * 64 * 4, 8 * 9 * 64 * 4, 8 * (25 + 9) * 64
    assert compress("none") == 2 * tokens
    assert compress("pooling") == tokens + queries  # all eight frames are one step
    assert compress("self_attention") == tokens + joint * (4 * 4 + 9)
    assert compress("self_attention", num_layers=2) == tokens + joint * (6 * 4 + 9)
    assert compress("perceiver") == tokens + joint * (3 * 4 + 9)


@pytest.mark.parametrize("kind", ["self_attention", "perceiver"])
def test_weights_kept_in_float32_run_on_bfloat16_tokens_as_in_training(kind: str) -> None:
    model, _ = model_with(kind, num_layers=2)
    exact = torch.randn(1, 4, 5, 5, 64, generator=torch.Generator().manual_seed(1))
    tokens = exact.bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        result = model.compressor(tokens)
    assert result.dtype == torch.bfloat16
    torch.testing.assert_close(result.float(), model.compressor(exact), atol=0.1, rtol=0.1)
    result.float().square().sum().backward()
    for tensor in (tokens, *model.compressor.parameters()):
        assert tensor.grad is not None
        assert tensor.grad.dtype == tensor.dtype
