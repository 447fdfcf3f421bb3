"""Batches of videos of different lengths, images, and every family of language models."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import BatchFeature

from bimba.errors import InputError
from bimba.inference import VideoQA
from bimba.models.bimba.configuration import BimbaConfig
from bimba.models.bimba.modeling import BimbaForConditionalGeneration
from bimba.models.bimba.processing import BimbaProcessor
from bimba.models.bimba.tiny import tiny_tokenizer

BAR = 1e-4
VISION = {
    "model_type": "siglip_vision_model",
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 70,
    "patch_size": 14,
    "vision_use_head": False,
}
CLIP = {name: value for name, value in VISION.items() if name != "vision_use_head"} | {
    "model_type": "clip_vision_model"
}
SIZES = {
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "pad_token_id": 0,
}
GPT2 = {"vocab_size": 320, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 2048}
OPT = {"vocab_size": 320, "hidden_size": 64, "ffn_dim": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
BLOOM = {"vocab_size": 320, "hidden_size": 64, "n_layer": 2, "n_head": 4}
MAMBA = {"vocab_size": 320, "hidden_size": 64, "num_hidden_layers": 2, "state_size": 8}
LANGUAGE_MODELS: dict[str, dict[str, Any]] = {
    "qwen2": SIZES,
    "qwen3": SIZES | {"head_dim": 16},
    "llama": SIZES,
    "mistral": SIZES,
    "mixtral": SIZES | {"num_local_experts": 2},
    "gemma2": SIZES | {"head_dim": 16},
    "gemma3_text": SIZES | {"head_dim": 16},
    "phi3": SIZES,
    "olmo2": SIZES,
    "gpt_neox": SIZES,
    "gpt2": GPT2,
    "opt": OPT | {"word_embed_proj_dim": 64, "max_position_embeddings": 2048},
    "bloom": BLOOM,
    "mamba": MAMBA,
}


def model_of(vision: dict[str, Any], text: dict[str, Any], **settings: Any) -> VideoQA:
    """A tiny model whose weights are wide enough for its answers to differ."""
    config = BimbaConfig(vision_config=vision, text_config=text, **settings)
    processor = BimbaProcessor.from_config(config, tiny_tokenizer())
    torch.manual_seed(0)
    model = BimbaForConditionalGeneration(config)
    model.eval()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(1.5)
    model.generation_config.pad_token_id = 256
    model.generation_config.eos_token_id = None
    return VideoQA(model, processor)


def two_videos() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(frames, 3, 70, 70, generator=generator) for frames in (3, 5)]


PROMPTS = ["<image>hi there", "what is <image> here, and a much longer question?"]


def assert_batch_equals_alone(qa: VideoQA) -> None:
    """Logits within the bar and the same greedy tokens, whether two videos are asked together or alone."""
    both = qa.processor(PROMPTS, pixel_values_videos=two_videos())
    together = answers(qa, both)
    with torch.no_grad():
        logits = qa.model(**both).logits
    assert logits.std() > 0.01, "a constant would pass any comparison"
    for index, (prompt, pixels) in enumerate(zip(PROMPTS, two_videos(), strict=True)):
        alone = qa.processor([prompt], pixel_values_videos=[pixels])
        length = alone["input_ids"].shape[1]
        with torch.no_grad():
            expected = qa.model(**alone).logits[0]
        assert (logits[index, -length:] - expected).abs().max() < BAR
        assert together[index] == answers(qa, alone)[0]


def answers(qa: VideoQA, batch: BatchFeature) -> list[list[int]]:
    output = qa.model.generate(**batch, do_sample=False, max_new_tokens=8, eos_token_id=-1)
    new: list[list[int]] = output[:, batch["input_ids"].shape[1] :].tolist()
    return new


@pytest.mark.parametrize("model_type", LANGUAGE_MODELS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_any_causal_language_model_answers_a_batch_as_it_answers_alone(model_type: str) -> None:
    assert_batch_equals_alone(model_of(VISION, LANGUAGE_MODELS[model_type] | {"model_type": model_type}))


@pytest.mark.parametrize("newline_position", ["grid", "frame", "one_token", "no_token"])
@pytest.mark.parametrize("pool_mode", ["bilinear", "average", "max"])
def test_separators_and_pooling_modes_work_in_batches(newline_position: str, pool_mode: str) -> None:
    text = SIZES | {"model_type": "qwen2"}
    assert_batch_equals_alone(model_of(VISION, text, newline_position=newline_position, pool_mode=pool_mode))


@pytest.mark.parametrize("compressor", [{"type": "pooling"}, {"num_layers": 2, "query_position": "end"}])
def test_other_compressors_work_in_batches(compressor: dict[str, Any]) -> None:
    assert_batch_equals_alone(model_of(VISION, SIZES | {"model_type": "qwen2"}, compressor=compressor))


def test_temporal_pooling_leaves_out_frames_that_fill_no_group() -> None:
    qa = model_of(VISION, SIZES | {"model_type": "qwen2"}, temporal_pooling=2)
    assert [qa.processor.num_video_tokens(frames) for frames in (2, 3, 4)] == [12, 12, 24]
    assert_batch_equals_alone(qa)


def test_clip_leaves_its_class_token_out() -> None:
    qa = model_of(CLIP, SIZES | {"model_type": "llama"})
    with torch.no_grad():
        features = qa.model.get_vision_features(two_videos()[0])
    assert features.shape == (3, 25, 48)
    assert_batch_equals_alone(qa)


def test_frames_do_not_depend_on_how_many_go_through_the_tower_at_once(
    tiny: VideoQA, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = torch.randn(7, 3, 70, 70, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole = tiny.model.get_vision_features(pixels)
        monkeypatch.setattr("bimba.models.bimba.encoding.FRAMES_PER_STEP", 2)
        seen: list[int] = []
        pieces = tiny.model.get_vision_features(pixels, on_step=seen.append)
    assert (whole - pieces).abs().max() < 1e-5
    assert seen == [2, 2, 2, 1]


def test_images_are_videos_of_one_frame(tiny: VideoQA) -> None:
    image = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    as_image = tiny.processor(["<image>what?"], images=[image])
    as_video = tiny.processor(["<image>what?"], videos=[image[None]])
    assert as_image["num_video_frames"].tolist() == [1]
    assert torch.equal(as_image["pixel_values_videos"], as_video["pixel_values_videos"])
    with torch.no_grad():
        assert torch.equal(tiny.model(**as_image).logits, tiny.model(**as_video).logits)


def test_several_videos_in_one_prompt_keep_their_order(tiny: VideoQA) -> None:
    videos = two_videos()
    batch = tiny.processor(["first <image> second <image> differ how?"], pixel_values_videos=videos)
    with torch.no_grad():
        embeds = tiny.model.embed(
            batch["input_ids"], batch["pixel_values_videos"], num_video_frames=batch["num_video_frames"]
        )
        alone = [tiny.model.get_video_features(video)[0] for video in videos]
    is_video = batch["input_ids"][0] == tiny.processor.video_token_id
    assert (embeds[0, is_video] - torch.cat(alone)).abs().max() < 1e-5


def test_beams_and_several_answers_share_one_encoding(tiny: VideoQA, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = tiny.processor(PROMPTS, pixel_values_videos=two_videos())
    calls: list[int] = []
    original = tiny.model.get_vision_features

    def counted(pixels: Tensor) -> Tensor:
        calls.append(len(pixels))
        return original(pixels)

    monkeypatch.setattr(tiny.model, "get_vision_features", counted)
    output = tiny.model.generate(**batch, num_beams=3, num_return_sequences=2, max_new_tokens=4, do_sample=False)
    assert output.shape[0] == 4
    assert calls == [8]


def test_videos_without_a_cache_are_refused(tiny: VideoQA) -> None:
    batch = tiny.processor(PROMPTS, pixel_values_videos=two_videos())
    with pytest.raises(ValueError, match="use_cache=True"):
        tiny.model.generate(**batch, use_cache=False, max_new_tokens=2)


def test_ids_beyond_the_tokenizer_and_the_placeholder_are_never_generated(tiny: VideoQA) -> None:
    model, processor = tiny.model, tiny.processor
    assert model.config.tokenizer_size == 259
    assert processor.video_token_id == 259
    batch = processor(["<image>hi"], pixel_values_videos=two_videos()[:1])
    with torch.no_grad():
        favoured = model.language_model.lm_head.weight
        kept = favoured.clone()
        favoured[259:] = kept.mean(0) * 0 + 50 * torch.sign(kept[:1])
        output = model.generate(**batch, do_sample=True, temperature=5.0, max_new_tokens=64, eos_token_id=-1)
        favoured.copy_(kept)
    assert output[0, batch["input_ids"].shape[1] :].max() < 259


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"text": ["hi"], "pixel_values_videos": [torch.zeros(2, 3, 70, 70)]}, "1 more videos are given"),
        ({"text": ["<image>hi"]}, "holds 1 <image> for 0 videos"),
        ({"text": None}, "needs text"),
        ({"text": ["<image>"], "videos": [], "images": []}, "one of videos, images"),
    ],
)
def test_processor_refuses_what_does_not_fit(tiny: VideoQA, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny.processor(**arguments)


def test_fewer_frames_than_temporal_pooling_say_what_to_do() -> None:
    qa = model_of(VISION, SIZES | {"model_type": "qwen2"}, temporal_pooling=4)
    with pytest.raises(InputError, match="3 frames are fewer than the 4"):
        qa.processor(["<image>hi"], pixel_values_videos=two_videos()[:1])


def test_forward_needs_ids_or_embeddings_and_frames_that_add_up(tiny: VideoQA) -> None:
    with pytest.raises(ValueError, match="exactly one of"):
        tiny.model()
    with pytest.raises(ValueError, match="do not add up"):
        tiny.model.get_video_features(two_videos()[0], [1, 1])
    with pytest.raises(ValueError, match="give one of"):
        tiny.model.embed(torch.zeros(1, 1).long(), two_videos()[0], None, [])
    with pytest.raises(ValueError, match="generate needs input_ids"):
        tiny.model.generate()
