"""What adapters of ours go onto: any model, found where they say, and no other; everything damaged is named."""

import shutil
from pathlib import Path

import pytest
import torch
from released_pairs import edit_json, edit_safetensors, refused
from torch import Tensor

import bimba
from adapted_models import distance, logits, train, write
from bimba.checkpoints.base import read_base
from bimba.checkpoints.convert import convert, reverse
from bimba.errors import CheckpointError
from bimba.models.bimba.tiny import tiny_model

Q_PROJ = "language_model.model.layers.0.self_attn.q_proj.weight"


@pytest.fixture
def home(model: Path, tmp_path: Path) -> Path:
    """A folder with the tiny model and an adapter on it, to be spoilt; the base is named as a folder beside it."""
    shutil.copytree(model, tmp_path / "base")
    made, processor = tiny_model(seed=0)
    train(made, whole=("projector",))
    write(tmp_path / "adapter", made, processor, tmp_path / "base", whole=("projector",))
    edit_json(tmp_path / "adapter" / "base.json", path="base")
    return tmp_path


def on_golden(golden: Path, place: Path, whole: tuple[str, ...] = ("compressor",)) -> Tensor:
    """Train the released pair further, and tell its logits."""
    pair = golden / "tiny_lora"
    qa = bimba.load(pair, base=golden / "tiny_base", device="cpu")
    train(qa.model, whole=whole)
    write(place, qa.model, qa.processor, pair, whole=whole, base_of_base=golden / "tiny_base")
    return logits(qa.model, qa.processor)


def test_base_is_found_beside_the_adapter_and_elsewhere_if_named(home: Path) -> None:
    expected = logits(bimba.load(home / "adapter", device="cpu").model, tiny_model()[1])
    (home / "base").rename(home / "moved")
    refused(home / "adapter", "belongs to the base 'base', which is not here", "--base")
    again = bimba.load(home / "adapter", base=home / "moved", device="cpu")
    assert torch.equal(logits(again.model, again.processor), expected)


def test_released_base_may_be_the_base(golden: Path, tmp_path: Path) -> None:
    qa = bimba.load(golden / "tiny_base", device="cpu")
    train(qa.model, whole=("projector",))
    write(tmp_path / "adapter", qa.model, qa.processor, golden / "tiny_base", whole=("projector",))
    again = bimba.load(tmp_path / "adapter", device="cpu")
    assert distance(logits(again.model, again.processor), logits(qa.model, qa.processor)) < 1e-5
    convert(golden / "tiny_base", tmp_path / "converted")
    same = bimba.load(tmp_path / "adapter", base=tmp_path / "converted", device="cpu")
    assert torch.equal(logits(same.model, same.processor), logits(again.model, again.processor))


def test_released_pair_may_be_the_base_in_either_layout(golden: Path, tmp_path: Path) -> None:
    expected = on_golden(golden, tmp_path / "adapter")
    again = bimba.load(tmp_path / "adapter", device="cpu")
    assert distance(logits(again.model, again.processor), expected) < 1e-5
    convert(golden / "tiny_lora", tmp_path / "converted", base=golden / "tiny_base")
    same = bimba.load(tmp_path / "adapter", base=tmp_path / "converted", device="cpu")
    assert distance(logits(same.model, same.processor), expected) < 1e-5


def test_base_saved_in_another_dtype_is_the_same_base(golden: Path, tmp_path: Path) -> None:
    on_golden(golden, tmp_path / "adapter")
    qa = bimba.load(golden / "tiny_lora", base=golden / "tiny_base", device="cpu", dtype="float32")
    qa.model.bfloat16().save_pretrained(tmp_path / "halved")
    qa.processor.save_pretrained(tmp_path / "halved")
    bimba.load(tmp_path / "adapter", base=tmp_path / "halved", device="cpu")


def test_adapters_go_onto_adapters(home: Path) -> None:
    qa = bimba.load(home / "adapter", device="cpu")
    train(qa.model, whole=("separators",), seed=2)
    write(home / "second", qa.model, qa.processor, home / "adapter", whole=("separators",))
    again = bimba.load(home / "second", device="cpu")
    assert distance(logits(again.model, again.processor), logits(qa.model, qa.processor)) < 1e-5
    merged = convert(home / "adapter", home / "merged").folder
    again = bimba.load(home / "second", base=merged, device="cpu")
    assert distance(logits(again.model, again.processor), logits(qa.model, qa.processor)) < 1e-5
    edit_json(home / "adapter" / "base.json", path="second")
    refused(home / "second", "is its own base")


@pytest.mark.parametrize("change", ["another model", "one LoRA layer"])
def test_other_bases_of_the_same_architecture_are_refused(home: Path, change: str) -> None:
    other, processor = tiny_model(seed=1 if change == "another model" else 0)
    if change == "one LoRA layer":
        with torch.no_grad():
            other.language_model.model.layers[0].self_attn.q_proj.weight.add_(1e-4)
    other.save_pretrained(home / "other")
    processor.save_pretrained(home / "other")
    message = refused(
        home / "adapter", "are not those that the adapter", Q_PROJ, "where the adapter was made", base=home / "other"
    )
    assert "projector" not in message, "what the adapter brings itself may differ"
    assert ("1 tensors" in message) == (change == "one LoRA layer")


def test_another_released_pair_is_refused(golden: Path, tmp_path: Path) -> None:
    on_golden(golden, tmp_path / "adapter", whole=("compressor", "projector"))
    convert(golden / "tiny_lora_all_linear", tmp_path / "other", base=golden / "tiny_base")
    refused(tmp_path / "adapter", "mlp.", "where the adapter was made", base=tmp_path / "other")
    refused(tmp_path / "adapter", "where the adapter was made", base=golden / "tiny_base")


def test_bases_of_another_architecture_are_refused_with_a_list(home: Path, golden: Path) -> None:
    refused(home / "adapter", "misshapen", "of the base, the model has", "missing", base=golden / "tiny_base")


def test_changes_to_settings_that_move_no_weight_are_no_other_base(home: Path) -> None:
    edit_json(home / "base" / "config.json", temporal_pooling=2)
    assert bimba.load(home / "adapter", device="cpu").model.config.temporal_pooling == 1


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "generation_config.json",
        "processor_config.json",
        "tokenizer.json",
        "base.json",
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
    ],
)
def test_missing_and_damaged_files_are_named(home: Path, name: str) -> None:
    path = home / "adapter" / name
    content = path.read_bytes()
    path.unlink()
    refused(home / "adapter", f"lacks {name}")
    path.write_bytes(content[: len(content) // 2])
    refused(home / "adapter", path.name if name != "tokenizer.json" else "tokenizer")


@pytest.mark.parametrize(
    "changes",
    [{"tensors": None}, {"tensors": {"x": {}}}, {"dtype": "bits"}, {"dtype": 3}, {"path": None}, {"base": 7}],
)
def test_descriptions_of_a_base_are_checked(home: Path, changes: dict[str, object]) -> None:
    edit_json(home / "adapter" / "base.json", **changes)
    refused(home / "adapter", "base.json does not describe a base")


def test_tensors_that_do_not_fit_are_listed(home: Path) -> None:
    def spoil(tensors: dict[str, Tensor]) -> None:
        tensors["base_model.model.projector.mystery"] = torch.zeros(3)
        tensors["base_model.model.projector.layers.0.bias"] = torch.zeros(5)

    edit_safetensors(home / "adapter" / "adapter" / "adapter_model.safetensors", spoil)
    refused(
        home / "adapter",
        "unknown   projector.mystery [3]",
        "misshapen projector.layers.0.bias [5] of the adapter, the model has [64]",
    )


def test_lora_that_does_not_fit_is_listed(home: Path) -> None:
    def spoil(tensors: dict[str, Tensor]) -> None:
        tensors[f"base_model.model.{Q_PROJ.replace('weight', 'lora_A.weight')}"] = torch.zeros(4, 7)

    edit_safetensors(home / "adapter" / "adapter" / "adapter_model.safetensors", spoil)
    refused(home / "adapter", f"misshapen: {Q_PROJ}")
    edit_json(home / "adapter" / "adapter" / "adapter_config.json", use_dora=True)
    refused(home / "adapter", "use_dora is True")


def test_config_of_another_model_is_refused(home: Path) -> None:
    edit_json(home / "adapter" / "config.json", model_type="qwen2")
    refused(home / "adapter", "is for a 'qwen2' model")


def test_inner_folder_points_to_the_folder_around_it(home: Path) -> None:
    refused(home / "adapter" / "adapter", "is the inner part of an adapter folder", str(home / "adapter"))


def test_adapters_are_reversed_after_merging(home: Path) -> None:
    with pytest.raises(CheckpointError, match="merge it first"):
        reverse(home / "adapter", home / "out")
    convert(home / "adapter", home / "merged")
    assert reverse(home / "merged", home / "out").layout == "released, merged"


def test_whole_models_with_an_adapter_folder_inside_stay_whole_models(home: Path) -> None:
    shutil.copytree(home / "adapter" / "adapter", home / "base" / "adapter")
    assert "projector.layers.0.weight" in bimba.load(home / "base", device="cpu").model.state_dict()


def test_description_survives_writing_and_reading(home: Path) -> None:
    described = read_base(home / "adapter")
    assert described.path == "base"
    assert described.base is None
    assert described.dtype == torch.float32
    sample = described.samples[Q_PROJ]
    assert sample.shape == (64, 64)
    assert len(sample.values) == 4
    assert not sample.merged
