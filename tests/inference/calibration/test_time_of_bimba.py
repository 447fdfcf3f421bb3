"""The estimate of a BIMBA's time: a thin model of the right shapes, and layers counted as often as the real one has."""

from math import prod
from typing import Any

import numpy as np
import pytest
import torch
from standing_clock import Clock
from torch import nn
from transformers.models.qwen2.modeling_qwen2 import Qwen2DecoderLayer
from transformers.models.siglip.modeling_siglip import SiglipEncoderLayer

from bimba.checkpoints.outline import ModelOutline
from bimba.inference.calibration import TimePlan, calibrate, of_bimba
from bimba.inference.calibration.measuring import LONG_ENOUGH_SECONDS
from bimba.inference.calibration.thin import VOCABULARY, Place
from bimba.inference.calibration.thin_bimba import only_layer, thin_bimba
from bimba.inference.clip import Clip, ClipArray
from bimba.models.bimba.configuration import BimbaConfig
from bimba.models.bimba.tiny import tiny_config

CPU = torch.device("cpu")
HERE = Place(CPU, torch.float32)
CONVNEXT = {
    "model_type": "convnextv2", "num_stages": 2, "hidden_sizes": [8, 16], "depths": [1, 3], "patch_size": 4,
    "image_size": 32,
}  # fmt: skip
LEARNED = {"type": "selective_scan", "queries": "learned", "learned_grid": [2, 3, 3]}
GPT2 = {"model_type": "gpt2", "n_layer": 5, "n_embd": 64, "n_head": 4, "vocab_size": VOCABULARY, "pad_token_id": 50_256}


def config_with(**settings: Any) -> BimbaConfig:
    """The tiny model's, with three layers in the vision tower and five in the language model."""
    values = tiny_config(vocab_size=VOCABULARY).to_dict()
    for part, depth in (("vision_config", 3), ("text_config", 5)):
        values[part] = values[part] | {"num_hidden_layers": depth}
    values["text_config"]["layer_types"] = ["full_attention"] * 5
    return BimbaConfig.from_dict(values | settings)


def clip_of(num_frames: int) -> Clip:
    return ClipArray(np.zeros((num_frames, 8, 8, 3), dtype=np.uint8)).choose(num_frames, "uniform")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Each layer of a language model takes 2 seconds, each of a vision tower 30; everything else takes none."""
    clock = Clock()
    for layer, seconds in ((Qwen2DecoderLayer, 2.0), (SiglipEncoderLayer, 30.0)):
        assert seconds > LONG_ENOUGH_SECONDS  # so that nothing is measured with more
        monkeypatch.setattr(layer, "forward", clock.slow_down(layer.forward, seconds))
    return clock


def measured(config: BimbaConfig, num_frames: int, num_tokens: int, **settings: Any) -> TimePlan:
    outline = ModelOutline(config, None, torch.float32)
    plan = calibrate(outline, clip_of(num_frames), num_tokens, device=CPU, **settings)
    assert plan is not None
    return plan


def test_layers_and_frames_count_as_often_as_there_are(clock: Clock) -> None:
    plan = measured(config_with(), 8, 100, clock=clock)
    assert plan.looking["vision"] == 3 * 30 * 8 / 2  # three layers, which look at two frames at a time here
    assert (plan.first_token, plan.next_token) == (5 * 2, 5 * 2)
    assert (plan.decode, plan.pixels, plan.looking["project"], plan.looking["compress"]) == (0, 0, 0, 0)
    assert plan.until_answer == plan.encode + plan.first_token == 360 + 10


def test_a_longer_prompt_takes_more_than_its_share_since_tokens_look_at_each_other(clock: Clock) -> None:
    config = config_with()
    short, long = (measured(config, 2, length, clock=clock).first_token for length in (128, 1280))
    weights = 64 * (64 + 32 + 32 + 64) + (64 + 32 + 32) + 3 * 64 * 128 + 2 * 64
    flops = [2 * weights * length + 2 * 64 * length**2 for length in (128, 1280)]
    assert short == 10
    assert long == pytest.approx(short * flops[1] / flops[0])
    assert 10 < long / short < 100


def test_a_large_vocabulary_takes_time_with_each_token(clock: Clock) -> None:
    config = config_with()
    config.text_config.vocab_size = VOCABULARY + 577
    weights = sum(weight.numel() for weight in only_parameters(config))
    assert measured(config, 2, 100, clock=clock).next_token == pytest.approx(10 + 2 * 577 * 64 / weights)


def only_parameters(config: BimbaConfig) -> list[nn.Parameter]:
    layer = only_layer(thin_bimba(config, HERE).language_model)
    assert layer is not None
    return list(layer.parameters())


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"temporal_pooling": 4},
        {"vision_config": CONVNEXT},
        {"compressor": {"type": "pooling"}},
        {"compressor": {"type": "self_attention", "num_layers": 2}},
        {"compressor": {"type": "perceiver", "num_layers": 1}},
        {"compressor": LEARNED, "temporal_pooling": 4},
        {"compressor": {"type": "selective_scan", "question_conditioned": True}},
        {"text_config": GPT2},
    ],
    ids=["tiny", "pooled", "convnext", "pooling", "attention", "perceiver", "learned", "question", "gpt2"],
)  # fmt: skip
def test_every_kind_of_model_is_timed(settings: dict[str, Any]) -> None:
    plan = measured(config_with(**settings), 8, 60)
    assert min(*plan.looking.values(), plan.first_token, plan.next_token) > 0
    assert list(plan.to_dict()) == [
        "decode", "pixels", "vision", "project", "compress", "first_token", "next_token", "at_once", "encode",
        "until_answer",
    ]  # fmt: skip


def test_attention_takes_more_than_its_share_of_more_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    config = config_with(compressor={"type": "self_attention"})
    kind = type(thin_bimba(config, HERE).compressor)
    monkeypatch.setattr(kind, "forward", clock.slow_down(kind.forward, 2.0))
    few, many = (measured(config, frames, 60, clock=clock).looking["compress"] for frames in (2, 32))
    assert few == 2
    assert 16 < many / few < 256


def test_a_thin_model_is_as_wide_and_not_as_deep() -> None:
    config = config_with(vision_feature_layer=-2)
    thin = thin_bimba(config, Place(CPU, torch.bfloat16))
    assert (len(thin.vision_tower.encoder.layers), len(thin.language_model.model.layers)) == (1, 1)
    whole = {name: tuple(weight.shape) for name, weight in thin.named_parameters()}
    assert whole["language_model.model.layers.0.mlp.up_proj.weight"] == (128, 64)
    assert whole["vision_tower.encoder.layers.0.mlp.fc1.weight"] == (96, 48)
    assert {weight.dtype for name, weight in thin.named_parameters() if "A_log" not in name} == {torch.bfloat16}
    assert {weight.dtype for name, weight in thin.named_parameters() if "A_log" in name} == {torch.float32}
    assert all(bool(torch.isfinite(weight).all()) for weight in thin.parameters())
    assert config.text_config.num_hidden_layers == 5  # the model's own stays
    tokens = thin.get_video_features(torch.zeros(2, 3, 70, 70))[0]
    assert tokens.shape == (prod((2, 3, 4)), 64)
    assert bool(torch.isfinite(tokens).all())


def test_no_layer_is_found_where_none_is_listed() -> None:
    assert only_layer(nn.Sequential(nn.Linear(2, 2))) is None
    assert only_layer(nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])) is None


def test_a_model_whose_layers_cannot_be_counted_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    def estimate() -> TimePlan | None:
        return calibrate(ModelOutline(config_with(), None, torch.float32), clip_of(2), 60, device=CPU)

    def refuse(*_: object) -> None:
        raise ValueError("there is no such model with one layer")

    assert estimate() is not None
    with monkeypatch.context() as patched:
        patched.setattr(of_bimba, "only_layer", lambda _: None)
        assert estimate() is None
    with monkeypatch.context() as patched:
        patched.setattr(of_bimba, "depth_of", lambda _: None)
        assert estimate() is None
    monkeypatch.setattr(of_bimba, "thin_bimba", refuse)
    assert estimate() is None
