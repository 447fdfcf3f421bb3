"""The estimate of a Vamba's time: mixers in all layers but the last, and every layer's reading of every video token."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from standing_clock import Clock
from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VLAttention, Qwen2VLVisionBlock

from bimba.checkpoints.outline import ModelOutline
from bimba.errors import InputError
from bimba.inference import VideoQA
from bimba.inference.calibration import TimePlan, calibrate
from bimba.inference.calibration.thin import VOCABULARY, Place
from bimba.inference.calibration.thin_vamba import thin_vamba
from bimba.inference.clip import Clip, ClipArray
from bimba.models.vamba.configuration import VambaConfig
from bimba.models.vamba.cross_attention import CrossAttention
from bimba.models.vamba.mixer import Mamba2Block
from bimba.models.vamba.processing import VambaProcessor
from bimba.models.vamba.tiny import tiny_config, tiny_vamba

CPU = torch.device("cpu")
TOKENS_A_PAIR = 8
"""Of two frames of 56 x 112 pixels."""


@pytest.fixture(scope="module")
def vamba_processor(golden: Path) -> VambaProcessor:
    """Leaves small frames small."""
    released = VambaProcessor.from_pretrained(golden / "vamba" / "config_a_default")
    return VambaProcessor(released.tokenizer, longest_edge=112, shortest_edge=56)


def config_with(*, num_layers: int = 5) -> VambaConfig:
    """The tiny model's, with three layers in the vision tower."""
    config = tiny_config(num_layers=num_layers, vocab_size=VOCABULARY)
    config.vision_config.depth = 3
    return config


def clip_of(num_frames: int) -> Clip:
    return ClipArray(np.zeros((num_frames, 56, 112, 3), dtype=np.uint8)).choose(num_frames, "uniform")


def measured(config: VambaConfig, processor: VambaProcessor, frames: int, tokens: int, **settings: Any) -> TimePlan:
    outline = ModelOutline(config, processor, torch.float32)
    plan = calibrate(outline, clip_of(frames), tokens, device=CPU, **settings)
    assert plan is not None
    return plan


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A layer of the tower takes 30 seconds, a mixer 7, self-attention 2, cross-attention 5; all else takes none."""
    clock = Clock()
    slow: dict[Any, float] = {Qwen2VLVisionBlock: 30.0, Mamba2Block: 7.0, Qwen2VLAttention: 2.0, CrossAttention: 5.0}
    for layer, seconds in slow.items():
        monkeypatch.setattr(layer, "forward", clock.slow_down(layer.forward, seconds))
    return clock


@pytest.mark.parametrize("num_layers", [1, 2, 5])
def test_layers_and_frames_count_as_often_as_there_are(
    clock: Clock, vamba_processor: VambaProcessor, num_layers: int
) -> None:
    plan = measured(config_with(num_layers=num_layers), vamba_processor, 8, 100, clock=clock)
    pairs = 8 / 2  # two frames are looked at here
    assert plan.looking == {"vision": 3 * 30 * pairs, "mix": (num_layers - 1) * 7 * pairs}
    assert plan.first_token == plan.next_token == num_layers * (2 + 5)
    assert (plan.decode, plan.pixels) == (0, 0)
    assert plan.until_answer == plan.encode + plan.first_token


def test_each_token_reads_all_of_a_long_video_in_each_layer(clock: Clock, vamba_processor: VambaProcessor) -> None:
    config = config_with()
    plan = measured(config, vamba_processor, 2048, 100, clock=clock)
    kept, width, numbers = 1024 * TOKENS_A_PAIR, 64, 2 * 2 * 16
    asking = 2 * 64 * 64 + 64
    work = (2 * asking * 100 + 4 * width * 100 * kept) / (2 * asking * 100 + 4 * width * 100 * 1024)
    assert 4 < work < 8
    assert plan.first_token == pytest.approx(5 * (2 + 5 * work))
    assert plan.next_token == pytest.approx(5 * (2 + 5 * (asking + numbers * kept) / (asking + numbers * 1024)))


def test_a_longer_prompt_takes_more_than_its_share(clock: Clock, vamba_processor: VambaProcessor) -> None:
    config = config_with()
    short, long = (measured(config, vamba_processor, 2, length, clock=clock).first_token for length in (128, 1280))
    own = 64 * (64 + 32 + 32 + 64) + (64 + 32 + 32) + 3 * 64 * 128 + 2 * 64
    work = [2 * own * length + 2 * 64 * length**2 for length in (128, 1280)]
    assert short == 5 * (2 + 5)
    assert long == pytest.approx(5 * (2 * work[1] / work[0] + 5 * 10))  # and it reads the video ten times as often


def test_a_large_vocabulary_takes_time_with_each_token(clock: Clock, vamba_processor: VambaProcessor) -> None:
    config = config_with()
    config.text_config.vocab_size = VOCABULARY + 577
    own = 64 * (64 + 32 + 32 + 64) + (64 + 32 + 32) + 3 * 64 * 128 + 2 * 64
    assert measured(config, vamba_processor, 2, 100, clock=clock).next_token == pytest.approx(35 + 2 * 577 * 64 / own)


@pytest.mark.parametrize("special", [False, True], ids=["default", "opposite"])
def test_stages_are_those_that_an_answer_tells(special: bool, vamba_processor: VambaProcessor) -> None:
    config = tiny_config()
    config.cross_attn_use_position_embeddings = config.cross_attn_use_layer_norm = special
    plan = measured(config, vamba_processor, 3, 30)
    assert min(*plan.looking.values(), plan.first_token, plan.next_token, plan.pixels) > 0
    qa = VideoQA(tiny_vamba(config), vamba_processor)
    answer = qa.ask(np.zeros((3, 56, 112, 3), dtype=np.uint8), "?", max_new_tokens=2)
    assert set(plan.to_dict()) >= {"decode", "pixels", *plan.looking, "first_token"}
    assert answer.timings.keys() >= {"decode", "pixels", *plan.looking, "first_token"}


def test_a_thin_model_is_as_wide_and_not_as_deep() -> None:
    config = config_with()
    thin = thin_vamba(config, Place(CPU, torch.bfloat16))
    assert (len(thin.visual.blocks), len(thin.model.layers)) == (1, 2)
    assert [layer.is_last for layer in thin.model.layers] == [False, True]
    whole = {name: tuple(weight.shape) for name, weight in tiny_vamba(config).named_parameters()}
    for name, weight in thin.named_parameters():
        assert tuple(weight.shape) == whole[name], name
        assert weight.dtype == (torch.float32 if "A_log" in name else torch.bfloat16), name
        assert bool(torch.isfinite(weight).all())
    assert (config.vision_config.depth, config.text_config.num_hidden_layers) == (3, 5)  # the model's own stay


def test_unknown_attention_is_refused(vamba_processor: VambaProcessor) -> None:
    with pytest.raises(InputError, match="attn_implementation 'flash_attention_2'"):
        measured(config_with(), vamba_processor, 2, 10, attn_implementation="flash_attention_2")
