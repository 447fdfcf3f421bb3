"""Damaged and hostile model folders: named, refused, never run."""

import contextlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from released_pairs import edit_json, edit_safetensors, refused
from torch import Tensor

import bimba
from bimba.checkpoints.convert import convert
from bimba.checkpoints.tensors import read_bin
from bimba.errors import CheckpointError, InputError


class Evil:
    """Touches a file when it is unpickled."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.witness,))


@pytest.mark.parametrize("file", ["adapter_model.bin", "non_lora_trainables.bin"])
def test_pickles_with_code_are_refused_and_never_run(pair: Path, file: str) -> None:
    witness = pair / "witness"
    for content in ("archive", "bare pickle"):
        if content == "archive":
            torch.save({"x": Evil(witness)}, pair / "tiny_lora" / file)
        else:
            (pair / "tiny_lora" / file).write_bytes(pickle.dumps(Evil(witness), protocol=2))
        refused(pair / "tiny_lora", file, "is refused", "never run")
        assert not witness.exists()


@pytest.mark.parametrize("content", [{"x": 3}, [torch.zeros(1)], {3: torch.zeros(1)}, {"x": {"y": torch.zeros(1)}}])
def test_pickles_with_anything_but_tensors_are_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "x.bin")
    with pytest.raises(CheckpointError, match="does not hold tensors by name and nothing else"):
        read_bin(tmp_path / "x.bin")


def test_damaged_pickles_never_give_a_traceback(golden: Path, tmp_path: Path) -> None:
    """Every cut and many flipped bytes: a clear refusal, or the same tensors where the byte meant nothing."""
    whole = (golden / "tiny_lora" / "adapter_model.bin").read_bytes()
    random = np.random.default_rng(0)
    variants = [whole[: int(cut)] for cut in np.linspace(0, len(whole) - 1, 60)]
    for place in random.integers(0, len(whole), 100):
        spoiled = bytearray(whole)
        spoiled[place] ^= 0xFF
        variants.append(bytes(spoiled))
    refusals = 0
    for variant in variants:
        (tmp_path / "x.bin").write_bytes(variant)
        try:
            read_bin(tmp_path / "x.bin")
        except CheckpointError:
            refusals += 1
    assert refusals >= 60


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", "{"),
        ("generation_config.json", "{"),
        ("tokenizer_config.json", "{"),
        ("tokenizer.json", "{"),
        ("tokenizer.json", "{}"),
        ("model.safetensors.index.json", "{}"),
    ],
)
def test_damaged_small_files_are_named(pair: Path, name: str, content: str) -> None:
    (pair / "tiny_base" / name).write_text(content)
    refused(pair / "tiny_base", name.removesuffix("_config.json").removesuffix(".json"))


@pytest.mark.parametrize("name", ["generation_config.json", "processor_config.json", "model.safetensors"])
@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_our_folder_is_whole_or_refused(golden: Path, tmp_path: Path, name: str, damage: str) -> None:
    ours = convert(golden / "tiny_base", tmp_path / "ours").folder
    if damage == "missing":
        (ours / name).unlink()
        message = refused(ours, f"lacks {name}", "bimba convert")
        assert "hf download" not in message, "fetching the base into it would make another model of it"
    else:
        (ours / name).write_bytes((ours / name).read_bytes()[:20])
        refused(ours, name)


def test_code_in_a_model_folder_is_never_run(golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = convert(golden / "tiny_base", tmp_path / "ours").folder
    evil = f"import pathlib\npathlib.Path({str(tmp_path / 'witness')!r}).touch()\nclass Evil: pass\n"
    (ours / "evil.py").write_text(evil)
    (ours / "custom_generate").mkdir()
    (ours / "custom_generate" / "generate.py").write_text(evil)
    classes = ("AutoProcessor", "AutoTokenizer", "AutoConfig", "AutoModelForImageTextToText")
    for name in ("processor_config.json", "tokenizer_config.json", "config.json"):
        edit_json(ours / name, auto_map=dict.fromkeys(classes, "evil.Evil"))
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    with contextlib.suppress(CheckpointError, InputError):  # refusing is fine, too
        bimba.load(ours, device="cpu")
    assert not (tmp_path / "witness").exists()


def test_damaged_files_are_named(pair: Path) -> None:
    (pair / "tiny_lora" / "adapter_model.bin").write_bytes(b"PK")
    refused(pair / "tiny_lora", "adapter_model.bin", "damaged")
    (pair / "tiny_base" / "model.safetensors").write_bytes(b"\x08")
    refused(pair / "tiny_base", "not a whole safetensors file")
    (pair / "tiny_base" / "config.json").write_text("{")
    refused(pair / "tiny_base", "config.json is not valid JSON")
    (pair / "tiny_base" / "config.json").write_text("[]")
    refused(pair / "tiny_base", "holds list, not an object")


def test_our_own_damaged_folder_is_refused_with_a_list(golden: Path, tmp_path: Path) -> None:
    ours = convert(golden / "tiny_base", tmp_path / "ours").folder

    def spoil(tensors: dict[str, Tensor]) -> None:
        tensors["other.weight"] = torch.zeros(2)
        del tensors["separators.newline"]

    edit_safetensors(ours / "model.safetensors", spoil)
    refused(ours, "missing separators.newline", "unknown other.weight")


def test_damaged_weights_of_ours_are_named(golden: Path, tmp_path: Path) -> None:
    ours = convert(golden / "tiny_base", tmp_path / "ours").folder
    (ours / "model.safetensors").write_bytes((ours / "model.safetensors").read_bytes()[:5000])
    refused(ours, "model.safetensors is not a whole safetensors file")


def test_adapters_of_peft_are_told_from_released_ones(pair: Path) -> None:
    for name in ("config.json", "non_lora_trainables.bin"):
        (pair / "tiny_lora" / name).unlink()
    message = refused(pair / "tiny_lora", "an adapter of PEFT", "PeftModel.from_pretrained")
    assert "hf download" not in message, "that would write over the user's own adapter"


def test_folder_that_is_no_model_is_not_filled(tmp_path: Path) -> None:
    message = refused(tmp_path, "lacks config.json", "--local-dir DIR")
    assert f"--local-dir {tmp_path}" not in message
