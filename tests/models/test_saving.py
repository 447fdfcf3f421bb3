"""Saving and loading through transformers: no bit changes, dtypes as released, training switches work."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

import bimba
from bimba.checkpoints.loading import LoadOptions
from bimba.inference import VideoQA
from bimba.models.bimba.configuration import BimbaConfig, complete_compressor
from bimba.models.bimba.modeling import BimbaForConditionalGeneration
from bimba.models.bimba.tiny import tiny_config, tiny_model


@pytest.fixture(scope="module")
def folder(tiny: VideoQA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("saved")
    tiny.model.save_pretrained(place)
    tiny.processor.save_pretrained(place)
    return place


def pixels(num_frames: int = 4) -> torch.Tensor:
    return torch.randn(num_frames, 3, 70, 70, generator=torch.Generator().manual_seed(0))


def test_saving_and_loading_changes_no_bit(tiny: VideoQA, folder: Path) -> None:
    again = AutoModelForImageTextToText.from_pretrained(folder)
    before, after = tiny.model.state_dict(), again.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert json.loads((folder / "config.json").read_text())["model_type"] == "bimba"


def test_processor_comes_back_as_it_was(tiny: VideoQA, folder: Path) -> None:
    again = AutoProcessor.from_pretrained(folder)
    batch: dict[str, Any] = {"text": ["<image>what?"], "pixel_values_videos": [pixels()]}
    for name, tensor in tiny.processor(**batch).items():
        assert torch.equal(again(**batch)[name], tensor)
    assert again.to_dict() == tiny.processor.to_dict()


def test_saved_folder_is_loaded_by_bimba(tiny: VideoQA, folder: Path) -> None:
    again = bimba.load(folder, device="cpu")
    batch = again.processor(["<image>what?"], pixel_values_videos=[pixels()])
    with torch.no_grad():
        assert torch.equal(again.model(**batch).logits, tiny.model(**batch).logits)


def test_bfloat16_loads_and_answers_and_decay_rates_stay_float32(folder: Path) -> None:
    qa = bimba.load(folder, device="cpu", dtype="bfloat16")
    by_dtype = {name: tensor.dtype for name, tensor in qa.model.state_dict().items()}
    rates = {name for name in by_dtype if name.endswith("A_log")}
    assert {name for name, dtype in by_dtype.items() if dtype == torch.float32} == rates
    assert {name.split(".")[-2] for name in rates} == {"forward_scan", "backward_scan"}
    assert qa.ask(None, "hello", max_new_tokens=3).token_ids
    frames = torch.randint(0, 255, (4, 30, 40, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert qa.ask(frames, "hello", max_new_tokens=3).num_video_tokens == 48


def test_released_pair_in_bfloat16_keeps_decay_rates_float32(golden: Path) -> None:
    qa = bimba.load(golden / "tiny_lora", base=golden / "tiny_base", dtype=torch.bfloat16, device="cpu")
    assert all(
        (tensor.dtype == torch.float32) == name.endswith("A_log") for name, tensor in qa.model.state_dict().items()
    )


@pytest.mark.parametrize("cast", ["half", "bfloat16", "from_config"])
def test_decay_rates_stay_exact_however_the_model_is_cast(cast: str) -> None:
    model, _ = tiny_model(seed=0)
    exact = {name: tensor.clone() for name, tensor in model.state_dict().items() if name.endswith("A_log")}
    if cast == "from_config":
        model = AutoModelForImageTextToText.from_config(model.config, dtype=torch.bfloat16)
        assert all(t.dtype == torch.float32 for n, t in model.state_dict().items() if n.endswith("A_log"))
        return
    (model.half if cast == "half" else model.bfloat16)()
    state = model.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in exact.items())
    assert state["compressor.layers.0.mixer.in_proj.weight"].dtype != torch.float32


def test_attention_implementations_agree(folder: Path) -> None:
    logits = []
    for implementation in ("sdpa", "eager"):
        qa = bimba.load(folder, device="cpu", attn_implementation=implementation)
        assert qa.model.language_model.config._attn_implementation == implementation
        assert qa.model.vision_tower.config._attn_implementation == implementation
        with torch.no_grad():
            logits.append(qa.model(**qa.processor(["<image>what?"], pixel_values_videos=[pixels()])).logits)
    assert 0 < (logits[0] - logits[1]).abs().max() < 1e-4


def test_device_map_auto_loads(folder: Path, tiny: VideoQA) -> None:
    model = BimbaForConditionalGeneration.from_pretrained(folder, device_map="auto")
    batch = tiny.processor(["<image>what?"], pixel_values_videos=[pixels()]).to(model.device)
    with torch.no_grad():
        assert (model(**batch).logits.cpu() - tiny.model(**batch.to("cpu")).logits).abs().max() < 1e-3


def test_modules_may_lie_on_disk_until_they_are_used(folder: Path, tiny: VideoQA, tmp_path: Path) -> None:
    """Offloading hooks move a module's weights when it is called; every stage must go through a module's call."""
    places = dict.fromkeys(["vision_tower", "projector", "compressor", "separators"], "disk") | {
        "language_model": "cpu"
    }
    model = BimbaForConditionalGeneration.from_pretrained(folder, device_map=places, offload_folder=tmp_path)
    assert model.separators.newline.is_meta
    batch = tiny.processor(["<image>what?"], pixel_values_videos=[pixels()])
    with torch.no_grad():
        assert torch.equal(model(**batch).logits, tiny.model(**batch).logits)
    frames = torch.zeros(2, 20, 30, 3, dtype=torch.uint8)
    offloaded = VideoQA(model, tiny.processor).ask(frames, "What?", max_new_tokens=4)
    assert offloaded.token_ids == tiny.ask(frames, "What?", max_new_tokens=4).token_ids
    everything = dict.fromkeys(places, "disk")
    model = BimbaForConditionalGeneration.from_pretrained(folder, device_map=everything, offload_folder=tmp_path)
    assert model.input_device == torch.device("cpu")


def test_gradient_checkpointing_changes_no_gradient() -> None:
    gradients = []
    for checkpointing in (False, True):
        model, processor = tiny_model(seed=0)
        model.train()
        if checkpointing:
            # transformers renamed the switch; before 5.2x it has only the old name.
            new_name = hasattr(model, "activation_checkpointing_enable")
            (model.activation_checkpointing_enable if new_name else model.gradient_checkpointing_enable)()
            assert model.gradient_checkpointing
        batch = processor(["<image>what?"], pixel_values_videos=[pixels()])
        loss = model(**batch, labels=batch["input_ids"], use_cache=False).loss
        loss.backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    plain, recomputed = gradients
    assert plain.keys() == recomputed.keys()
    assert any(name.startswith("compressor.") for name in plain)
    assert any(name.startswith("vision_tower.") for name in plain)
    assert all(torch.allclose(plain[name], recomputed[name], atol=1e-6) for name in plain)


def test_labels_give_the_loss_of_the_next_tokens(tiny: VideoQA) -> None:
    batch = tiny.processor(["<image>what?"], pixel_values_videos=[pixels()])
    labels = batch["input_ids"].masked_fill(batch["input_ids"] == tiny.processor.video_token_id, -100)
    with torch.no_grad():
        output = tiny.model(**batch, labels=labels)
    expected = torch.nn.functional.cross_entropy(output.logits[0, :-1], labels[0, 1:])
    assert torch.allclose(output.loss, expected)


def test_fresh_model_has_mambas_initial_values_through_transformers_too() -> None:
    torch.manual_seed(0)
    model = BimbaForConditionalGeneration(tiny_config(vocab_size=320))
    for name, tensor in model.state_dict().items():
        if name.endswith("A_log"):
            assert torch.equal(tensor, torch.arange(1, 17).log().expand_as(tensor))
        if name.endswith("dt_bias"):
            steps = torch.nn.functional.softplus(tensor)
            assert steps.min() > 0.99e-4
            assert steps.max() < 0.101
            assert steps.std() > 0.005
        if name.endswith("scan.D"):
            assert tensor.eq(1).all()
        if name == "compressor.layers.0.mixer.out_proj.weight":
            assert tensor.eq(0).all()
    assert 0 < model.separators.newline.std() < 1


def test_tied_embeddings_stay_tied(tmp_path: Path) -> None:
    config = tiny_config(vocab_size=320)
    config.text_config.tie_word_embeddings = True
    config = BimbaConfig.from_dict(config.to_dict())
    model = BimbaForConditionalGeneration(config)
    model.save_pretrained(tmp_path)
    loaded: Any = BimbaForConditionalGeneration.from_pretrained(tmp_path, output_loading_info=True)
    again, report = loaded
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert again.get_output_embeddings().weight is again.get_input_embeddings().weight


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pool_mode": "cubic"}, "bilinear"),
        ({"newline_position": "row"}, "grid"),
        ({"temporal_pooling": 0}, "at least 1"),
        ({"compressor": {"type": "q-former"}}, "selective_scan, pooling"),
        ({"compressor": {"state_dims": 8}}, "state_dims"),
        ({"compressor": {"query_position": "middle"}}, "interleaved"),
    ],
)
def test_config_refuses_what_is_unknown(settings: dict[str, object], message: str) -> None:
    with pytest.raises(Exception, match=message):
        BimbaConfig(**settings)  # type: ignore[arg-type] # wrong on purpose


def test_config_writes_every_compressor_setting_out() -> None:
    assert BimbaConfig(compressor={"num_layers": 2}).compressor == complete_compressor(None) | {"num_layers": 2}
    assert BimbaConfig().patches_per_side == 27
    assert BimbaConfig().pool == (1, 2, 2)


@pytest.mark.gpu
@pytest.mark.parametrize("quantization", ["4bit", "8bit"])
def test_quantized_models_answer(folder: Path, quantization: str) -> None:
    qa = bimba.load(folder, quantization=quantization)
    assert qa.ask(None, "hello", max_new_tokens=3).token_ids


@pytest.mark.gpu
def test_gpu_equals_cpu(folder: Path, tiny: VideoQA) -> None:
    qa = bimba.load(folder, device="cuda")
    batch = tiny.processor(["<image>what?"], pixel_values_videos=[pixels()])
    with torch.no_grad():
        on_cpu, on_gpu = tiny.model(**batch).logits, qa.model(**batch.to("cuda")).logits
    assert (on_cpu - on_gpu.cpu()).abs().max() < 1e-3


def test_load_options_default_to_what_load_says() -> None:
    assert LoadOptions() == LoadOptions("auto", "auto", None, None, None)
