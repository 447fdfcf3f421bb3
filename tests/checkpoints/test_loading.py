"""Loading: every way to name a model, and a clear error for everything that is wrong with one."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from released_pairs import edit_json, edit_safetensors, refused
from safetensors.torch import load_file
from torch import Tensor

import bimba
from bimba.checkpoints.lora import Merged, lora_scale, merge_lora
from bimba.checkpoints.source import Source, find_source
from bimba.checkpoints.tensors import InMemory
from bimba.errors import CheckpointError, InputError


def test_base_that_the_adapter_names_is_followed(pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beside = find_source(pair / "tiny_lora")
    assert beside == Source("released", pair.resolve() / "tiny_base", pair / "tiny_lora")
    monkeypatch.chdir(pair)
    assert find_source("tiny_lora") == Source("released", Path("tiny_base"), Path("tiny_lora"))


def test_adapter_without_its_base_says_which_it_needs(pair: Path) -> None:
    shutil.rmtree(pair / "tiny_base")
    refused(pair / "tiny_lora", "belongs to the base 'tiny_base'", "--base")


def test_adapter_that_names_no_base_asks_for_one(pair: Path) -> None:
    edit_json(pair / "tiny_lora" / "adapter_config.json", base_model_name_or_path=None)
    refused(pair / "tiny_lora", "does not name its base")


def test_adapter_for_another_base_lists_what_does_not_fit(pair: Path) -> None:
    def widen(tensors: dict[str, Tensor]) -> None:
        tensors["model.layers.0.self_attn.q_proj.weight"] = torch.zeros(64, 32)
        del tensors["model.layers.1.self_attn.v_proj.weight"]

    edit_safetensors(pair / "tiny_base" / "model.safetensors", widen)
    refused(
        pair / "tiny_lora",
        "misshapen: model.layers.0.self_attn.q_proj.weight",
        "not in the base: model.layers.1.self_attn.v_proj.weight",
        "does not fit this base",
    )


def test_base_of_another_family_is_refused(pair: Path) -> None:
    edit_json(pair / "tiny_base" / "config.json", model_type="llama")
    refused(pair / "tiny_lora", "needs a released base", "'llama'")
    edit_json(pair / "tiny_base" / "config.json", model_type="llava_mistral")
    refused(pair / "tiny_base", "'llava_mistral'", "llava_qwen")


def test_base_for_something_that_is_no_adapter_is_refused(pair: Path) -> None:
    refused(pair / "tiny_base", "no adapter, but a base was given", base=pair / "tiny_base")
    refused(pair / "tiny_lora", "is an adapter itself", base=pair / "tiny_lora")


@pytest.mark.parametrize(
    ("folder", "file", "named"),
    [
        ("tiny_base", "config.json", "config.json"),
        ("tiny_base", "model.safetensors", "model.safetensors"),
        ("tiny_lora", "config.json", "config.json"),
        ("tiny_lora", "adapter_model.bin", "adapter_model.bin"),
        ("tiny_lora", "non_lora_trainables.bin", "non_lora_trainables.bin"),
    ],
)
def test_missing_files_are_named_with_the_command_that_helps(pair: Path, folder: str, file: str, named: str) -> None:
    (pair / folder / file).unlink()
    refused(pair / folder, f"lacks {named}", "hf download", "--local-dir")


def test_missing_tokenizer_is_named(pair: Path) -> None:
    for name in ("tokenizer.json", "vocab.json"):
        (pair / "tiny_base" / name).unlink()
    refused(pair / "tiny_base", "lacks tokenizer.json")


def test_missing_shards_are_named(pair: Path) -> None:
    base = pair / "tiny_base"
    tensors = load_file(base / "model.safetensors")
    (base / "model.safetensors").rename(base / "model-00001-of-00002.safetensors")
    weight_map = dict.fromkeys(tensors, "model-00001-of-00002.safetensors")
    weight_map["lm_head.weight"] = "model-00002-of-00002.safetensors"
    (base / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    refused(base, "lacks 1 of 2 weight files: model-00002-of-00002.safetensors")


def test_unknown_missing_and_misshapen_tensors_are_listed(pair: Path) -> None:
    def spoil(tensors: dict[str, Tensor]) -> None:
        tensors["model.mystery.weight"] = torch.zeros(3)
        tensors["model.norm.weight"] = torch.zeros(5)
        del tensors["model.image_newline"]

    edit_safetensors(pair / "tiny_base" / "model.safetensors", spoil)
    refused(
        pair / "tiny_base",
        "unknown   model.mystery.weight [3]",
        "misshapen model.norm.weight [5], the model has [64]",
        "missing   separators.newline [64]",
    )


def test_long_lists_are_cut_and_counted(pair: Path) -> None:
    def empty(tensors: dict[str, Tensor]) -> None:
        for name in list(tensors):
            if "layers" in name:
                del tensors[name]

    edit_safetensors(pair / "tiny_base" / "model.safetensors", empty)
    refused(pair / "tiny_base", "... and ", " more")


def test_both_spellings_of_rope_scaling_are_read(pair: Path) -> None:
    for key in ("type", "rope_type"):
        edit_json(pair / "tiny_base" / "config.json", rope_scaling={key: "linear", "factor": 4.0})
        rope = bimba.load(pair / "tiny_base", device="cpu").model.config.text_config.rope_parameters
        assert rope == {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e6}


@pytest.mark.parametrize("name", ["no_such_folder", "a/b/c", "./nope"])
def test_names_that_are_nothing_are_refused_without_a_network(name: str) -> None:
    with pytest.raises(CheckpointError, match="neither a folder nor a hub id"):
        bimba.load(name)


def test_hub_ids_that_cannot_be_fetched_say_how_to() -> None:
    with pytest.raises(CheckpointError, match="hf download nobody/nothing") as caught:
        bimba.load("nobody/nothing")
    assert "could not be fetched" in str(caught.value)


def test_hub_ids_are_fetched_for_the_adapter_and_the_base_it_names(
    golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = shutil.copytree(golden / "tiny_lora", tmp_path / "cache" / "adapter")
    edit_json(adapter / "adapter_config.json", base_model_name_or_path="lmms-lab/LLaVA-Video-7B-Qwen2")
    hub = {"mmiemon/BIMBA-LLaVA-Qwen2-7B": adapter, "lmms-lab/LLaVA-Video-7B-Qwen2": golden / "tiny_base"}
    asked: list[list[str] | None] = []

    def fetch(name: str, *, allow_patterns: list[str] | None) -> str:
        asked.append(allow_patterns)
        return str(hub[name])

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    expected = Source("released", golden / "tiny_base", adapter)
    assert find_source("mmiemon/BIMBA-LLaVA-Qwen2-7B") == expected
    assert asked == [None, None]
    assert find_source("mmiemon/BIMBA-LLaVA-Qwen2-7B", weights=False) == expected
    for patterns in asked[2:]:
        assert patterns is not None
        assert not any("safetensors" in pattern or "bin" in pattern for pattern in patterns)


def test_file_instead_of_a_folder_is_refused(pair: Path) -> None:
    refused(pair / "tiny_base" / "config.json", "is a file", "the folder that holds it")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mm_projector_type": "resampler"}, "resampler"),
        ({"add_faster_video": True}, "add_faster_video"),
        ({"mm_resampler_type": "qformer"}, "resampler 'qformer'"),
        ({"mm_spatial_pool_mode": "cubic"}, "bilinear"),
        ({"mm_newline_position": "row"}, "grid"),
    ],
)
def test_released_configs_that_ask_for_more_are_refused(pair: Path, changes: dict[str, Any], words: str) -> None:
    edit_json(pair / "tiny_base" / "config.json", **changes)
    with pytest.raises((CheckpointError, InputError), match=words):
        bimba.load(pair / "tiny_base")


def test_unknown_vision_tower_needs_its_sizes(pair: Path) -> None:
    (pair / "tiny_base" / "vision_config.json").unlink()
    edit_json(pair / "tiny_base" / "config.json", mm_vision_tower="openai/clip-vit-large-patch14-336")
    refused(pair / "tiny_base", "clip-vit-large", "vision_config.json")


def test_unknown_compressor_is_refused(pair: Path) -> None:
    edit_json(pair / "tiny_lora" / "config.json", compressor_type="perceiver")
    refused(pair / "tiny_lora", "'perceiver'")


@pytest.mark.parametrize(
    ("merge", "position", "ours"),
    [
        ("spatial_unpad", "grid", "grid"),
        ("spatial", "grid", "grid"),
        ("spatial", "frame", "frame"),
        ("spatial_unpad", "one_token", "one_token"),
        ("spatial", "one_token", "no_token"),
        ("spatial_unpad", "no_token", "no_token"),
        ("flat", "grid", "no_token"),
    ],
)
def test_merge_type_and_newline_position_decide_together(pair: Path, merge: str, position: str, ours: str) -> None:
    edit_json(pair / "tiny_base" / "config.json", mm_patch_merge_type=merge, mm_newline_position=position)
    assert bimba.load(pair / "tiny_base", device="cpu").model.config.newline_position == ours


def test_generation_config_is_made_when_there_is_none(pair: Path) -> None:
    (pair / "tiny_base" / "generation_config.json").unlink()
    qa = bimba.load(pair / "tiny_base", device="cpu")
    assert qa.model.generation_config.eos_token_id == 1002


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dtype": "int8"}, "dtype 'int8' is unknown"),
        ({"device": "abacus"}, "device 'abacus' cannot be used"),
        ({"quantization": "2bit"}, "quantization '2bit' is unknown"),
        ({"attn_implementation": "flash_attention_9"}, "cannot be loaded with these options"),
        ({"config_overrides": {"temporal_poling": 4}}, "did you mean 'temporal_pooling'"),
        ({"config_overrides": {"zzz": 4}}, "known are"),
        ({"config_overrides": {"temporal_pooling": 0}}, "at least 1"),
        ({"config_overrides": {"pool_mode": "cubic"}}, "bilinear"),
    ],
)
def test_unknown_options_say_what_is_known(golden: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        bimba.load(golden / "tiny_base", **options)


@pytest.mark.parametrize("quantization", ["4bit", "8bit"])
def test_quantization_without_its_package_names_the_extra(
    golden: Path, quantization: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"bimba\[gpu\]"):
        bimba.load(golden / "tiny_base", quantization=quantization)


def test_folder_of_another_model_is_refused(golden: Path, tmp_path: Path) -> None:
    shutil.copytree(golden / "tiny_base", tmp_path / "other")
    edit_json(tmp_path / "other" / "config.json", model_type="qwen2")
    refused(tmp_path / "other", "'qwen2' model")


@pytest.mark.parametrize(
    ("config", "scale"),
    [
        ({"r": 8, "lora_alpha": 4}, 0.5),
        ({"r": 16, "lora_alpha": 4, "use_rslora": True}, 1.0),
    ],
)
def test_lora_scale_is_alpha_over_rank(config: dict[str, Any], scale: float) -> None:
    assert lora_scale({"peft_type": "LORA"} | config, "here") == scale


@pytest.mark.parametrize(
    "config",
    [
        {"peft_type": "IA3", "r": 8, "lora_alpha": 4},
        {"peft_type": "LORA", "r": 8, "lora_alpha": 4, "use_dora": True},
        {"peft_type": "LORA", "r": 8, "lora_alpha": 4, "bias": "all"},
        {"peft_type": "LORA", "r": 8, "lora_alpha": 4, "rank_pattern": {"q_proj": 4}},
        {"peft_type": "LORA", "r": None, "lora_alpha": 4},
    ],
)
def test_adapters_that_merge_otherwise_are_refused(config: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError):
        lora_scale(config, "here")


def test_lora_is_merged_in_float32_and_rounded_once() -> None:
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(6, 4, generator=generator).bfloat16()
    A, B = torch.randn(2, 4, generator=generator), torch.randn(6, 2, generator=generator)
    merged = Merged(InMemory(base), InMemory(A), InMemory(B), 0.25)
    assert merged.shape == (6, 4)
    assert merged.dtype == torch.bfloat16
    assert torch.equal(merged[...], (base.double() + 0.25 * B.double() @ A.double()).float().bfloat16())


def test_adapters_that_are_not_pairs_are_listed() -> None:
    base = {"x.weight": InMemory(torch.zeros(6, 4))}
    adapter = {"x.lora_A.weight": InMemory(torch.zeros(2, 4)), "y.bias": InMemory(torch.zeros(2))}
    with pytest.raises(CheckpointError) as caught:
        merge_lora(base, adapter, 1.0, "here")
    assert "not LoRA: y.bias" in str(caught.value)
    assert "half of a pair: x.weight" in str(caught.value)
