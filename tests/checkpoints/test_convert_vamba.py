"""A released Vamba converted and back: bit for bit where nothing changed, whole and readable where something did."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import bimba
from bimba.checkpoints.convert import convert, reverse
from bimba.errors import CheckpointError
from bimba.models.vamba.configuration import VambaConfig
from bimba.models.vamba.modeling import VambaForConditionalGeneration
from bimba.models.vamba.processing import VambaProcessor
from bimba.models.vamba.released_config import is_released, released_settings, settings_of_released
from bimba.models.vamba.tiny import tiny_config, tiny_vamba


@pytest.fixture
def released(golden: Path, tmp_path: Path) -> Path:
    """A released folder in two shards, in bfloat16 as the published weights are."""
    folder = Path(shutil.copytree(golden / "vamba" / "config_a_default", tmp_path / "released"))
    model = tiny_vamba(tiny_config())
    model.config.dtype = torch.bfloat16
    (folder / "config.json").write_text(json.dumps(released_settings(model.config)))
    weights = {name: weight.to(torch.bfloat16).contiguous() for name, weight in model.state_dict().items()}
    names = sorted(weights)
    halves = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, some in halves.items():
        save_file({name: weights[name] for name in some}, folder / file, {"format": "pt"})
    index = {
        "metadata": {"total_size": 0},
        "weight_map": {name: file for file, some in halves.items() for name in some},
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_there_and_back_is_the_same_bit_for_bit(released: Path, tmp_path: Path) -> None:
    result = convert(released, tmp_path / "ours")
    assert (result.layout, result.num_tensors) == ("ours", 121)
    assert json.loads((tmp_path / "ours" / "config.json").read_text())["model_type"] == "vamba"
    back = reverse(tmp_path / "ours", tmp_path / "back")
    assert (back.layout, back.note) == ("released Vamba", "")
    assert files(tmp_path / "back") == files(released)


def test_both_forms_load_alike(released: Path, tmp_path: Path) -> None:
    convert(released, tmp_path / "ours")
    one, other = bimba.load(released), bimba.load(tmp_path / "ours")
    assert one.model.dtype == other.model.dtype == torch.bfloat16
    settings = [qa.model.config.to_dict() | {"architectures": None, "_name_or_path": ""} for qa in (one, other)]
    assert settings[0] == settings[1]
    weights = other.model.state_dict()
    assert all(weight.equal(weights[name]) for name, weight in one.model.state_dict().items())
    assert one.processor.to_dict() == other.processor.to_dict()


def test_changed_settings_are_written_anew_and_can_be_read(released: Path, tmp_path: Path) -> None:
    convert(released, tmp_path / "ours")
    config = tmp_path / "ours" / "config.json"
    settings = json.loads(config.read_text()) | {"cross_attn_use_position_embeddings": True}
    config.write_text(json.dumps(settings))
    back = reverse(tmp_path / "ours", tmp_path / "back")
    assert "made from them" in back.note
    assert is_released(json.loads((tmp_path / "back" / "config.json").read_text()))
    assert VambaConfig.from_pretrained(tmp_path / "back").cross_attn_use_position_embeddings
    again: Any = bimba.load(tmp_path / "back")
    before: Any = bimba.load(released)
    assert again.processor.min_pixels == before.processor.min_pixels


def test_trained_weights_go_back_with_the_files_they_came_with(released: Path, tmp_path: Path) -> None:
    convert(released, tmp_path / "ours")
    shard = tmp_path / "ours" / "model-00001-of-00002.safetensors"
    weights = load_file(shard)
    name = next(name for name in weights if "cross_attn" in name)
    weights[name] += 1
    save_file(weights, shard, {"format": "pt"})
    reverse(tmp_path / "ours", tmp_path / "back")
    assert load_file(tmp_path / "back" / shard.name)[name].equal(weights[name])
    assert (tmp_path / "back" / "config.json").read_bytes() == (released / "config.json").read_bytes()


def test_own_model_is_written_in_the_released_form(golden: Path, tmp_path: Path) -> None:
    model = tiny_vamba(tiny_config())
    model.save_pretrained(tmp_path / "ours")
    VambaProcessor.from_pretrained(golden / "vamba" / "config_a_default").save_pretrained(tmp_path / "ours")
    reverse(tmp_path / "ours", tmp_path / "released")
    again: Any = VambaForConditionalGeneration.from_pretrained(tmp_path / "released")
    assert all(weight.equal(again.state_dict()[name]) for name, weight in model.state_dict().items())


def test_settings_survive_the_released_form() -> None:
    config = tiny_config()
    config.mixer |= {"dt_limit": [0.02, 0.2], "ngroups": 2, "bias": True}
    config.cross_attn_use_layer_norm = True
    written = json.loads(json.dumps(released_settings(config)))
    again = VambaConfig.from_dict(settings_of_released(written))
    assert again.to_dict() == config.to_dict() | {"dtype": "float32"}


def test_what_does_not_fit_is_refused(released: Path, tmp_path: Path) -> None:
    shard = released / "model-00001-of-00002.safetensors"
    weights = load_file(shard)
    name, weight = next((name, weight) for name, weight in weights.items() if weight.ndim == 2)
    save_file({**weights, name: weight[:-1].contiguous(), "model.more": weight.clone()}, shard, {"format": "pt"})
    index = json.loads((released / "model.safetensors.index.json").read_text())
    index["weight_map"]["model.more"] = shard.name
    (released / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match="2 tensors of") as refused:
        convert(released, tmp_path / "ours")
    assert "unknown   model.more" in str(refused.value)
    assert f"misshapen {name}" in str(refused.value)
    assert not (tmp_path / "ours").exists()


def test_wrong_direction_is_said(released: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="released layout already"):
        reverse(released, tmp_path / "back")
    convert(released, tmp_path / "ours")
    with pytest.raises(CheckpointError, match="our layout already"):
        convert(tmp_path / "ours", tmp_path / "again")


WRONG = [
    ({"use_alpha_balancing": False}, "use_alpha_balancing is not set"),
    ({"vision_mamba_mixer_config": {"enable": True}}, "mixers are 3584 wide, the language model 64"),
    ({"vision_mamba_mixer_config": {"enable": True, "hidden_dim": 64, "rmsnorm": False}}, "must be True"),
]


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_released_settings_of_another_architecture_are_refused(
    change: dict[str, Any], message: str, released: Path
) -> None:
    file = released / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(CheckpointError, match=message):
        bimba.load(released)
