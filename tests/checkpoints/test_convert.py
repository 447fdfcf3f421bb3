"""Converting the released pair and back: same answers, same bytes, nothing half-written."""

import filecmp
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import bimba
from bimba.checkpoints import folder as folder_module
from bimba.checkpoints.conversion import Conversion
from bimba.checkpoints.convert import convert, reverse
from bimba.checkpoints.tensors import open_folder
from bimba.errors import CheckpointError
from bimba.models.bimba.configuration import BimbaConfig
from bimba.models.bimba.modeling import BimbaForConditionalGeneration
from bimba.models.bimba.processing import BimbaProcessor
from bimba.models.bimba.tiny import tiny_config, tiny_tokenizer


def converted(golden: Path, place: Path, adapter: str = "tiny_lora") -> Path:
    convert(golden / adapter, place, base=golden / "tiny_base")
    return place


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def same_files(left: Path, right: Path) -> bool:
    names = sorted(path.name for path in left.iterdir())
    assert names == sorted(path.name for path in right.iterdir())
    return not filecmp.cmpfiles(left, right, names, shallow=False)[1]


def test_converted_folder_holds_the_same_model(golden: Path, tmp_path: Path) -> None:
    out = converted(golden, tmp_path / "ours")
    direct = bimba.load(golden / "tiny_lora", base=golden / "tiny_base", device="cpu")
    for loaded in (BimbaForConditionalGeneration.from_pretrained(out), bimba.load(out, device="cpu").model):
        state = loaded.state_dict()
        assert all(torch.equal(tensor, state[name]) for name, tensor in direct.model.state_dict().items())
    assert json.loads((out / "generation_config.json").read_text())["repetition_penalty"] == 1.05
    assert loaded.config.tokenizer_size == 1003
    assert loaded.config.video_token_id == 1003
    assert loaded.language_model.lm_head.weight.shape[0] == 1024, "all embedding rows are kept"
    assert (out.stat().st_mode & 0o777) == 0o777 & ~umask()
    assert {path.stat().st_mode & 0o777 for path in out.rglob("*") if path.is_file()} == {0o666 & ~umask()}


@pytest.mark.parametrize("adapter", ["tiny_lora", "tiny_lora_all_linear", "tiny_lora_safetensors"])
def test_reverse_gives_the_released_pair_back_byte_for_byte(golden: Path, tmp_path: Path, adapter: str) -> None:
    out = converted(golden, tmp_path / "ours", adapter)
    result = reverse(out, tmp_path / "back")
    assert result == Conversion(tmp_path / "back", "released pair", 81)
    assert same_files(golden / adapter, tmp_path / "back" / "adapter")
    assert same_files(golden / "tiny_base", tmp_path / "back" / "base")


def test_reverse_of_a_base_alone_gives_it_back(golden: Path, tmp_path: Path) -> None:
    convert(golden / "tiny_base", tmp_path / "ours")
    assert reverse(tmp_path / "ours", tmp_path / "back").layout == "released base"
    assert same_files(golden / "tiny_base", tmp_path / "back")


def sharded_base(golden: Path, place: Path) -> Path:
    """The golden base in two shards with an index, as the released one comes."""
    shutil.copytree(golden / "tiny_base", place)
    tensors = load_file(place / "model.safetensors")
    (place / "model.safetensors").unlink()
    names = sorted(tensors)
    halves = {"model-00001-of-00002.safetensors": names[:40], "model-00002-of-00002.safetensors": names[40:]}
    for file, keys in halves.items():
        save_file({key: tensors[key] for key in keys}, place / file, {"format": "pt"})
    weight_map = {key: file for file, keys in halves.items() for key in keys}
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    (place / "model.safetensors.index.json").write_text(json.dumps(index))
    return place


def test_shards_come_back_as_they_were(golden: Path, tmp_path: Path) -> None:
    base = sharded_base(golden, tmp_path / "base")
    convert(golden / "tiny_lora", tmp_path / "ours", base=base)
    reverse(tmp_path / "ours", tmp_path / "back")
    assert same_files(base, tmp_path / "back" / "base")


@pytest.mark.parametrize("with_adapter", [True, False])
def test_buffers_of_old_bases_come_back_too(pair: Path, tmp_path: Path, with_adapter: bool) -> None:
    """Our model has no use for them, but the released layout is given back with them."""
    path = pair / "tiny_base" / "model.safetensors"
    buffer = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.arange(8.0)}
    save_file(load_file(path) | buffer, path, {"format": "pt"})
    convert(pair / ("tiny_lora" if with_adapter else "tiny_base"), tmp_path / "ours")
    result = reverse(tmp_path / "ours", tmp_path / "back")
    assert result.layout == ("released pair" if with_adapter else "released base")
    back = tmp_path / "back" / "base" if with_adapter else tmp_path / "back"
    assert same_files(pair / "tiny_base", back)


def test_our_folder_is_sharded_when_large(golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_module, "SMALLEST_SHARD", 300_000)
    out = converted(golden, tmp_path / "ours")
    shards = sorted(out.glob("model-*.safetensors"))
    assert len(shards) > 3
    assert (out / "model.safetensors.index.json").is_file()
    assert max(path.stat().st_size for path in shards) < 400_000
    state = BimbaForConditionalGeneration.from_pretrained(out).state_dict()
    assert all(torch.equal(tensor[...], state[name]) for name, tensor in open_folder(out).items())
    assert same_files(golden / "tiny_base", reverse(out, tmp_path / "back").folder / "base")


def test_changed_weights_are_written_merged_and_said_so(golden: Path, tmp_path: Path) -> None:
    out = converted(golden, tmp_path / "ours")
    tensors = load_file(out / "model.safetensors")
    name = "language_model.model.layers.1.self_attn.q_proj.weight"
    tensors[name] = tensors[name] + 1
    save_file(tensors, out / "model.safetensors", {"format": "pt"})
    result = reverse(out, tmp_path / "back")
    assert result.layout == "released, merged"
    assert "1 things differ" in result.note
    assert "layers.1.self_attn.q_proj" in result.note
    state = bimba.load(tmp_path / "back", device="cpu").model.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in tensors.items())


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_changed_settings_are_written_merged_and_said_so(golden: Path, tmp_path: Path) -> None:
    out = converted(golden, tmp_path / "ours")
    edit(out / "config.json", temporal_pooling=4, pool_mode="average")
    result = reverse(out, tmp_path / "back")
    assert result.layout == "released, merged"
    assert "2 things differ" in result.note
    assert "pool" in result.note
    config = bimba.load(tmp_path / "back", device="cpu").model.config
    assert (config.temporal_pooling, config.pool_mode) == (4, "average")


@pytest.mark.parametrize("change", ["head", "rows"])
def test_changes_beside_the_adapter_are_noticed(golden: Path, tmp_path: Path, change: str) -> None:
    out = converted(golden, tmp_path / "ours")
    model = BimbaForConditionalGeneration.from_pretrained(out)
    if change == "rows":
        model.resize_token_embeddings(1003)
    else:
        with torch.no_grad():
            model.language_model.lm_head.weight.mul_(2)
    model.save_pretrained(out)
    result = reverse(out, tmp_path / "back")
    assert result.layout == "released, merged"
    again = bimba.load(tmp_path / "back", device="cpu").model.state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in model.state_dict().items())


def test_saving_the_same_weights_again_changes_nothing(golden: Path, tmp_path: Path) -> None:
    out = converted(golden, tmp_path / "ours")
    BimbaForConditionalGeneration.from_pretrained(out).save_pretrained(out)
    assert reverse(out, tmp_path / "back").layout == "released pair"


@pytest.mark.parametrize(
    "setting",
    [
        {"projector_hidden_act": "relu"},
        {"prompt_style": "template"},
        {"vision_feature_layer": -2},
        {"spatial_pooling": 3},
        {"compressor": {"norm": False}},
    ],
)
def test_settings_that_the_public_layout_would_lose_are_refused(tmp_path: Path, setting: dict[str, Any]) -> None:
    config = BimbaConfig.from_dict(tiny_config(vocab_size=320).to_dict() | setting)
    BimbaProcessor.from_config(config, tiny_tokenizer()).save_pretrained(tmp_path / "ours")
    BimbaForConditionalGeneration(config).save_pretrained(tmp_path / "ours")
    with pytest.raises(CheckpointError, match=f"no place for .*{next(iter(setting))}"):
        reverse(tmp_path / "ours", tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_settings_of_the_vision_tower_survive(tmp_path: Path) -> None:
    config = tiny_config(vocab_size=320)
    config.vision_config.layer_norm_eps = 0.1
    config.text_config.rope_parameters = {"rope_type": "linear", "factor": 4.0, "rope_theta": 5e5}
    BimbaProcessor.from_config(config, tiny_tokenizer()).save_pretrained(tmp_path / "ours")
    BimbaForConditionalGeneration(config).save_pretrained(tmp_path / "ours")
    reverse(tmp_path / "ours", tmp_path / "back")
    again = bimba.load(tmp_path / "back", device="cpu").model.config
    assert again.vision_config.layer_norm_eps == 0.1
    assert again.text_config.rope_parameters == config.text_config.rope_parameters


@pytest.mark.parametrize("name", ["../victim.safetensors", "/tmp/victim.safetensors", "victim.txt", 7])
def test_files_outside_of_the_folder_are_never_written(golden: Path, tmp_path: Path, name: object) -> None:
    convert(golden / "tiny_base", tmp_path / "ours")
    layout = tmp_path / "ours" / "released" / "layout.json"
    content = json.loads(layout.read_text())
    content["files"]["lm_head.weight"] = name
    layout.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="not a safetensors file of its own folder"):
        reverse(tmp_path / "ours", tmp_path / "back")
    base = sharded_base(golden, tmp_path / "base")
    edit(base / "model.safetensors.index.json", weight_map={"lm_head.weight": name})
    with pytest.raises(CheckpointError, match="not a safetensors file of its own folder"):
        convert(base, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "ours"]


@pytest.mark.parametrize("kind", ["working folder", "link"])
def test_empty_folders_of_any_kind_are_filled(
    golden: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    if kind == "link":
        (tmp_path / "link").symlink_to(tmp_path / "empty")
        convert(golden / "tiny_base", tmp_path / "link")
    else:
        monkeypatch.chdir(tmp_path / "empty")
        convert(golden / "tiny_base", ".")
    names = {path.name for path in (tmp_path / "empty").iterdir()}
    assert {"config.json", "model.safetensors", "released"} <= names
    assert not any(name.startswith(".") for name in names)


def test_model_saved_by_transformers_is_written_in_the_public_layout(golden: Path, tmp_path: Path) -> None:
    qa = bimba.load(golden / "tiny_lora", base=golden / "tiny_base", device="cpu")
    qa.model.save_pretrained(tmp_path / "saved")
    qa.processor.save_pretrained(tmp_path / "saved")
    result = reverse(tmp_path / "saved", tmp_path / "back")
    assert result.layout == "released, merged"
    assert result.num_tensors == 98
    again = bimba.load(tmp_path / "back", device="cpu")
    assert again.model.config.compressor["type"] == "selective_scan"
    state = again.model.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in qa.model.state_dict().items())
    assert again.ask(None, "hello", max_new_tokens=4).token_ids == qa.ask(None, "hello", max_new_tokens=4).token_ids


def test_model_that_the_public_layout_cannot_express_is_refused(tmp_path: Path) -> None:
    config = tiny_config(vocab_size=320)
    config.compressor["num_layers"] = 2
    BimbaProcessor.from_config(config, tiny_tokenizer()).save_pretrained(tmp_path / "ours")
    BimbaForConditionalGeneration(config).save_pretrained(tmp_path / "ours")
    with pytest.raises(CheckpointError, match="the public layout has no place for compressor"):
        reverse(tmp_path / "ours", tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_interrupted_conversion_leaves_nothing(golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("bimba.checkpoints.convert.write_tensors", stop)
    with pytest.raises(KeyboardInterrupt):
        convert(golden / "tiny_lora", tmp_path / "ours", base=golden / "tiny_base")
    assert list(tmp_path.iterdir()) == []


def test_full_disk_is_an_error_that_leaves_nothing(
    golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bimba.checkpoints.convert.write_tensors", full)
    with pytest.raises(CheckpointError, match="No space left"):
        convert(golden / "tiny_lora", tmp_path / "ours", base=golden / "tiny_base")
    assert list(tmp_path.iterdir()) == []


def test_existing_folder_is_not_touched(golden: Path, tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "thesis.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="exists already"):
        converted(golden, tmp_path / "ours")
    assert (tmp_path / "ours" / "thesis.txt").read_text() == "mine"


def test_empty_folder_is_used(golden: Path, tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    assert (converted(golden, tmp_path / "ours") / "model.safetensors").is_file()


def test_ours_is_not_converted_again_and_released_not_reversed(golden: Path, tmp_path: Path) -> None:
    out = converted(golden, tmp_path / "ours")
    with pytest.raises(CheckpointError, match="in our layout already"):
        convert(out, tmp_path / "again")
    with pytest.raises(CheckpointError, match="in the released layout already"):
        reverse(golden / "tiny_base", tmp_path / "back")


@pytest.mark.parametrize("direction", [convert, reverse])
def test_models_of_other_families_are_refused(pair: Path, tmp_path: Path, direction: Any) -> None:
    edit(pair / "tiny_base" / "config.json", model_type="qwen2")
    with pytest.raises(CheckpointError, match="is a 'qwen2' model"):
        direction(pair / "tiny_base", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_lost_base_tensors_are_named(golden: Path, tmp_path: Path) -> None:
    convert(golden / "tiny_base", tmp_path / "ours")
    layout = tmp_path / "ours" / "released" / "layout.json"
    content = json.loads(layout.read_text())
    content["files"]["model.gone"] = "model.safetensors"
    layout.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="model\\.gone"):
        reverse(tmp_path / "ours", tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_progress_counts_bytes(golden: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    convert(golden / "tiny_base", tmp_path / "ours", on_tensors=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] > 1_000_000
