"""Adapter folders of ours: bimba, transformers and PEFT make the trained model of them, and convert merges them."""

import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from released_pairs import edit_json
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText, AutoProcessor

import bimba
from adapted_models import LORA, TARGETS, distance, logits, train, write
from bimba.checkpoints import folder as folder_module
from bimba.checkpoints.adapter import describe_base, open_adapter
from bimba.checkpoints.adapter_writing import LoraSettings, write_adapter
from bimba.checkpoints.convert import convert
from bimba.checkpoints.outline import read_outline
from bimba.checkpoints.source import find_source
from bimba.checkpoints.tensors import InFile, open_folder
from bimba.errors import CheckpointError
from bimba.models.bimba.configuration import BimbaConfig
from bimba.models.bimba.modeling import BimbaForConditionalGeneration
from bimba.models.bimba.tiny import tiny_model

WHOLE = ("compressor", "projector", "separators")
MANY = r"(language_model|vision_tower)\..*(_proj|fc1|fc2)"
"""More than twenty layers: from there on PEFT shortens lists of names."""


def adapter_of_tiny(place: Path, base: Path, targets: str | None = TARGETS, whole: Any = WHOLE) -> torch.Tensor:
    """Train the tiny model, write it as an adapter, and tell its logits."""
    model, processor = tiny_model(seed=0)
    train(model, targets, whole)
    write(place, model, processor, base, whole=whole)
    return logits(model, processor)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # PEFT calls switches of transformers by their old names
@pytest.mark.parametrize(
    ("targets", "whole"),
    [(TARGETS, WHOLE), (TARGETS, ()), (None, WHOLE), (MANY, ("projector",)), (None, ("vision_tower",))],
    ids=["LoRA and parts", "LoRA alone", "parts alone", "many layers", "vision tower"],
)
def test_adapter_makes_the_trained_model(model: Path, tmp_path: Path, targets: str | None, whole: tuple[str]) -> None:
    expected = adapter_of_tiny(tmp_path / "adapter", model, targets, whole)
    qa = bimba.load(tmp_path / "adapter", device="cpu")
    assert distance(logits(qa.model, qa.processor), expected) < 1e-5
    assert distance(logits(bimba.load(model, device="cpu").model, qa.processor), expected) > 1e-2
    on_peft: Any = peft.PeftModel.from_pretrained(
        BimbaForConditionalGeneration.from_pretrained(model), tmp_path / "adapter" / "adapter"
    )
    assert distance(logits(on_peft, qa.processor), expected) < 1e-5


def test_from_pretrained_opens_adapters(model: Path, tmp_path: Path) -> None:
    expected = adapter_of_tiny(tmp_path / "adapter", model)
    processor = AutoProcessor.from_pretrained(tmp_path / "adapter")
    for cls in (AutoModelForImageTextToText, BimbaForConditionalGeneration):
        loaded = cls.from_pretrained(str(tmp_path / "adapter"))
        assert type(loaded) is BimbaForConditionalGeneration
        assert distance(logits(loaded, processor), expected) < 1e-5
        assert loaded.generation_config.repetition_penalty == 1.3
        assert loaded.dtype == torch.float32
    whole: Any = BimbaForConditionalGeneration.from_pretrained(
        tmp_path / "adapter", dtype=torch.bfloat16, output_loading_info=True
    )
    loaded, report = whole
    assert loaded.dtype == torch.bfloat16
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]


def test_hub_ids_of_adapters_are_opened_at_their_revision(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = adapter_of_tiny(tmp_path / "adapter", model)
    asked: list[tuple[str, Any]] = []

    def fetch(name: str, **where: Any) -> str:
        asked.append((name, where))
        return str(tmp_path / "adapter")

    place = "bimba.checkpoints.pretrained"
    monkeypatch.setattr(f"{place}.cached_file", lambda name, file, **_: None if name == "some/whole" else file)
    monkeypatch.setattr(f"{place}.snapshot_download", fetch)
    loaded = BimbaForConditionalGeneration.from_pretrained("some/adapter", revision="v2")
    assert asked == [("some/adapter", {"revision": "v2"})]
    assert distance(logits(loaded, AutoProcessor.from_pretrained(tmp_path / "adapter")), expected) < 1e-5
    for name in ("some/whole", "nowhere"):
        with pytest.raises(OSError):  # noqa: PT011 - transformers' own, and in its words
            BimbaForConditionalGeneration.from_pretrained(name)
    assert len(asked) == 1


def test_config_overrides_and_pixels_reach_the_model(model: Path, tmp_path: Path) -> None:
    adapter_of_tiny(tmp_path / "adapter", model)
    edit_json(tmp_path / "adapter" / "processor_config.json", image_mean=[0.1, 0.2, 0.3])
    qa = bimba.load(tmp_path / "adapter", device="cpu", config_overrides={"temporal_pooling": 2})
    assert qa.model.config.temporal_pooling == qa.processor.temporal_pooling == 2
    assert qa.processor.image_mean == [0.1, 0.2, 0.3]


def test_adapter_files_are_peft_s_own(model: Path, tmp_path: Path) -> None:
    adapter_of_tiny(tmp_path / "adapter", model)
    inner = tmp_path / "adapter" / "adapter"
    config = json.loads((inner / "adapter_config.json").read_text())
    names = [
        f"language_model.model.layers.{layer}.self_attn.{projection}_proj" for layer in (0, 1) for projection in "qv"
    ]
    assert config["target_modules"] == names
    assert config["modules_to_save"] == sorted(WHOLE)
    assert (config["r"], config["lora_alpha"], config["base_model_name_or_path"]) == (4, 8.0, str(model))
    tensors = load_file(inner / "adapter_model.safetensors")
    assert {name.split(".")[2] for name in tensors} == {"language_model", *WHOLE}
    assert f"base_model.model.{names[0]}.lora_A.weight" in tensors
    assert not any("base_layer" in name or "default" in name for name in tensors)
    loaded = peft.PeftConfig.from_pretrained(str(inner))
    assert isinstance(loaded, peft.LoraConfig)
    assert not any(path.name == "adapter_config.json" for path in (tmp_path / "adapter").iterdir())


def test_opening_reads_only_rows_of_the_base(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter_of_tiny(tmp_path / "adapter", model)
    read: list[tuple[int, ...]] = []
    whole = InFile.__getitem__

    def note(self: InFile, index: Any) -> torch.Tensor:
        read.append(self.shape)
        return whole(self, index)

    monkeypatch.setattr(InFile, "__getitem__", note)
    opened = open_adapter(find_source(tmp_path / "adapter"))
    assert all(len(shape) < 2 for shape in read)
    read.clear()
    assert opened.tensors["language_model.model.layers.0.self_attn.q_proj.weight"][...].shape == (64, 64)
    assert sorted(read) == [(4, 64), (64, 4), (64, 64)]


def test_fresh_compressor_and_settings_are_the_adapters(golden: Path, tmp_path: Path) -> None:
    """The base only pools; the adapter brings another compressor, and pools over time."""
    base = golden / "tiny_base"
    qa = bimba.load(base, device="cpu")
    settings = qa.model.config.to_dict() | {"compressor": {"state_dim": 8}, "temporal_pooling": 2}
    config = BimbaConfig.from_dict(settings)
    torch.manual_seed(0)
    made = BimbaForConditionalGeneration(config)
    made.load_state_dict(qa.model.state_dict(), strict=False)
    made.generation_config = qa.model.generation_config
    train(made, whole=("compressor",))
    write(tmp_path / "adapter", made, qa.processor, base, whole=("compressor",))
    again = bimba.load(tmp_path / "adapter", device="cpu")
    assert again.model.config.compressor["state_dim"] == 8
    assert again.processor.temporal_pooling == 2
    assert again.model.generation_config.repetition_penalty == 1.05
    assert distance(logits(again.model, again.processor), logits(made, again.processor)) < 1e-5
    with pytest.raises(CheckpointError, match="not written, but the base has no such tensor: compressor"):
        write(tmp_path / "forgotten", made, qa.processor, base)
    assert not (tmp_path / "forgotten").exists()


def test_lora_in_a_part_that_is_written_whole_is_merged(model: Path, tmp_path: Path) -> None:
    made, processor = tiny_model(seed=0)
    train(made, r"projector\.layers\.\d|language_model\..*q_proj")
    assert any("projector" in name and "lora_A" in name for name in made.state_dict())
    write(tmp_path / "adapter", made, processor, model, whole=("projector",))
    names = load_file(tmp_path / "adapter" / "adapter" / "adapter_model.safetensors").keys()
    assert not any("projector" in name and "lora" in name for name in names)
    again = bimba.load(tmp_path / "adapter", device="cpu").model
    assert distance(logits(again, processor), logits(made, processor)) < 1e-5


def test_tied_embeddings_are_written_for_peft_and_tied_again(tmp_path: Path) -> None:
    model, processor = tiny_model(seed=0)
    settings = model.config.to_dict()
    settings["text_config"]["tie_word_embeddings"] = True
    torch.manual_seed(0)
    made = BimbaForConditionalGeneration(BimbaConfig.from_dict(settings))
    made.save_pretrained(tmp_path / "base")
    processor.save_pretrained(tmp_path / "base")
    train(made, None, ("language_model",))
    write(tmp_path / "adapter", made, processor, tmp_path / "base", whole=("language_model",))
    again: Any = bimba.load(tmp_path / "adapter", device="cpu").model
    assert again.get_output_embeddings().weight is again.get_input_embeddings().weight
    assert distance(logits(again, processor), logits(made, processor)) < 1e-5
    train(made, r"language_model\.lm_head")
    with pytest.raises(CheckpointError, match=r"LoRA on a tied or unknown layer: language_model\.lm_head"):
        write(tmp_path / "tied", made, processor, tmp_path / "base")


def test_convert_merges_in_the_dtype_of_the_base(tmp_path: Path) -> None:
    model, processor = tiny_model(seed=0)
    model.bfloat16().save_pretrained(tmp_path / "base")
    processor.save_pretrained(tmp_path / "base")
    train(model, whole=("compressor",))
    write(tmp_path / "adapter", model, processor, tmp_path / "base", whole=("compressor",))
    direct = bimba.load(tmp_path / "adapter", device="cpu").model
    result = convert(tmp_path / "adapter", tmp_path / "merged")
    assert result.layout == "ours"
    assert result.num_tensors == len(open_folder(tmp_path / "merged"))
    again = bimba.load(tmp_path / "merged", device="cpu").model.state_dict()
    for name, tensor in direct.state_dict().items():
        assert torch.equal(tensor, again[name])
        assert tensor.dtype == (torch.float32 if name.endswith("A_log") else torch.bfloat16)
    stored = open_folder(tmp_path / "merged")
    assert all(tensor.dtype == again[name].dtype for name, tensor in stored.items())


def test_plan_needs_no_base(model: Path, tmp_path: Path) -> None:
    adapter_of_tiny(tmp_path / "adapter", model)
    edit_json(tmp_path / "adapter" / "base.json", path="gone")
    (tmp_path / "adapter" / "adapter" / "adapter_model.safetensors").unlink()
    outline = read_outline(tmp_path / "adapter")
    assert outline.num_parameters == read_outline(model).num_parameters
    assert outline.dtype == torch.float32
    assert outline.processor is not None


def test_interrupted_writing_leaves_nothing(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(folder_module, "save_file", stop)
    with pytest.raises(KeyboardInterrupt):
        adapter_of_tiny(tmp_path / "adapter", model)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("whole", "lora", "words"),
    [
        (("kompressor",), LORA, "no such module: kompressor"),
        ((), LoraSettings(rank=8, alpha=8), "rank 4 instead of 8"),
    ],
)
def test_what_does_not_fit_is_not_written(
    model: Path, tmp_path: Path, whole: tuple[str], lora: LoraSettings, words: str
) -> None:
    made, processor = tiny_model(seed=0)
    train(made)
    settings: dict[str, Any] = {
        "config": made.config,
        "processor": processor,
        "generation_config": made.generation_config,
        "base": describe_base(model),
    }
    with pytest.raises(CheckpointError, match=words):
        write_adapter(tmp_path / "adapter", made.state_dict(), whole=whole, lora=lora, **settings)
    state = {name: tensor for name, tensor in made.state_dict().items() if "lora" not in name}
    with pytest.raises(CheckpointError, match="nothing was trained"):
        write_adapter(tmp_path / "adapter", state, whole=(), lora=LORA, **settings)
    with pytest.raises(CheckpointError, match=r"missing   projector\.layers\.0\.weight"):
        write_adapter(
            tmp_path / "adapter",
            {"projector.layers.0.bias": torch.zeros(64)},
            whole=("projector",),
            lora=LORA,
            **settings,
        )
    wrong = state | {"projector.layers.0.bias": torch.zeros(3)}
    with pytest.raises(CheckpointError, match=r"misshapen projector\.layers\.0\.bias \[3\], the model has \[64\]"):
        write_adapter(tmp_path / "adapter", wrong, whole=("projector",), lora=LORA, **settings)


def test_sources_without_weights_are_not_opened(model: Path, tmp_path: Path) -> None:
    adapter_of_tiny(tmp_path / "adapter", model)
    with pytest.raises(ValueError, match="without its base"):
        open_adapter(find_source(tmp_path / "adapter", weights=False))
