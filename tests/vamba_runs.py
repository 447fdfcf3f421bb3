"""Recipes of runs of a tiny Vamba that take a second, and folders that they start from, for the tests."""

import json
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from bimba.training.recipe.settings import Recipe
from small_runs import small_settings

EVERY_PART: dict[str, Any] = {
    "kind": "vamba",
    **{part: {"mode": "full"} for part in ("vision_tower", "merger", "language_model", "head")},
}
MIXER: dict[str, Any] = {"d_state": 16, "headdim": 16}
PIXELS: dict[str, Any] = {"longest_edge": 112, "shortest_edge": 56}
MODEL: dict[str, Any] = {
    "start": "scratch",
    "tokenizer": "bytes",
    "config": {
        "model_type": "vamba",
        "vision_config": {"depth": 2, "embed_dim": 32, "hidden_size": 64, "num_heads": 2},
        "text_config": {
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 4096,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]},
        },
        "mixer": MIXER,
    },
    "pixels": PIXELS,
}
_FRESH = ("cross_attn", "vision_mixer", "alpha")


def vamba_settings(output: Path, needles: Path) -> dict[str, Any]:
    """The small recipe, of a Vamba."""
    settings = small_settings(output, needles)
    frames = {"count": 4}
    return settings | {"model": MODEL, "train": EVERY_PART, "frames": frames}


def vamba_recipe(output: Path, needles: Path, **changes: Any) -> Recipe:
    """A recipe of that kind; `schedule__max_steps=3` changes one setting of a section."""
    settings = vamba_settings(output, needles)
    for name, value in changes.items():
        section, _, key = name.partition("__")
        if key:
            settings[section] = {**settings.get(section, {}), key: value}
        else:
            settings[section] = value
    return Recipe.model_validate(settings)


def plain_qwen2_vl(vamba_numbers: Path, place: Path, *, newer_names: bool = False, tied: bool = False) -> Path:
    """The Qwen2-VL that the golden Vamba began as: the same folder without what a Qwen2-VL does not have.

    Args:
        vamba_numbers: folder of the golden numbers.
        place: a new folder.
        newer_names: name tensors as transformers 5 does.
        tied: the head is the embedding, and is not there.
    """
    source = vamba_numbers / "tiny_vamba" / "config_a_default"
    shutil.copytree(source, place, ignore=shutil.ignore_patterns("*.safetensors"))
    config = json.loads((source / "config.json").read_text())
    del config["vision_mamba_mixer_config"], config["use_alpha_balancing"]
    (place / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": tied}))
    tensors = {
        name: tensor
        for name, tensor in load_file(source / "model.safetensors").items()
        if not any(piece in name.split(".") for piece in _FRESH) and not (tied and name == "lm_head.weight")
    }
    if newer_names:
        tensors = {_newer(name): tensor for name, tensor in tensors.items()}
    save_file(tensors, place / "model.safetensors", {"format": "pt"})
    return place


def _newer(name: str) -> str:
    if name.startswith("visual."):
        return f"model.{name}"
    return name.replace("model.", "model.language_model.", 1) if name.startswith("model.") else name
