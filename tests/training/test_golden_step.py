"""One training step of the public code: its loss and every gradient, from our recipe's model and data."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from bimba.checkpoints.tensors import read_bin
from bimba.compressors.public_names import PARTS_OF
from bimba.models.bimba.modeling import BimbaForConditionalGeneration
from bimba.text.labels import expand_placeholders
from bimba.text.prompts import Message
from bimba.training.model.parts import prepare_parts
from bimba.training.model.start import start_bimba
from bimba.training.recipe.data_settings import Data, Source
from bimba.training.recipe.settings import Checkpoint, Compute, Recipe
from bimba.training.recipe.train_settings import Lora, Part, Train

PREFIX = "base_model.model."
LOSS_BAR, GRADIENT_BAR = 1e-5, 1e-4

VISION = "model.vision_tower.vision_tower.vision_model."
STEMS = {
    VISION: "vision_tower.",
    "model.layers.": "language_model.model.layers.",
    "model.mm_projector.0.": "projector.layers.0.",
    "model.mm_projector.2.": "projector.layers.1.",
}


def released_recipe(base: Path) -> Recipe:
    """What the public script trained, at the tiny size: LoRA of rank 8 and alpha 4, without dropout."""
    lora = Part(mode="lora")
    return Recipe(
        output=Path("unused"),
        model=Checkpoint(path=str(base), compressor={"type": "selective_scan"}),
        train=Train(vision_tower=lora, language_model=lora, lora=Lora(rank=8, alpha=4, dropout=0)),
        data=Data(sources=(Source(json_path=Path("unused.json")),)),
        compute=Compute(precision="float32"),
    )


def our_parts(name: str, model: BimbaForConditionalGeneration) -> list[str]:
    """Our parameter (or two, stacked along dimension 0) for a parameter of the public code."""
    own = dict(model.named_parameters())
    name = name.removeprefix(PREFIX).replace(".lora_A.weight", ".lora_A.default.weight")
    name = name.replace(".lora_B.weight", ".lora_B.default.weight")
    if name.startswith("model.compressor."):
        path = name.removeprefix("model.compressor.")
        if ".mixer." not in path:
            return [f"compressor.{path}"]
        layer, _, rest = path.partition(".mixer.")
        return [f"compressor.{layer}.mixer.{part}" for part in PARTS_OF[rest]]
    stem, ours = next((stem, ours) for stem, ours in STEMS.items() if name.startswith(stem))
    found = ours + name.removeprefix(stem)
    # transformers renamed the inside of its vision models once; both names are fine.
    return [found if found in own else found.replace("vision_tower.", "vision_tower.vision_model.")]


def fill(model: BimbaForConditionalGeneration, values: dict[str, Tensor]) -> set[str]:
    """Set parameters from tensors under public names; our names of those that were set."""
    own = dict(model.named_parameters())
    done = set()
    for public, value in values.items():
        parts = our_parts(public, model)
        pieces = value.split([own[part].shape[0] for part in parts]) if len(parts) > 1 else [value]
        for part, piece in zip(parts, pieces, strict=True):
            own[part].data.copy_(piece.reshape(own[part].shape))
            done.add(part)
    return done


def values_of(state: str, golden: Path, step: dict[str, Tensor]) -> dict[str, Tensor]:
    if state == "trained":
        files = ("adapter_model.bin", "non_lora_trainables.bin")
        return {name: lazy[...] for file in files for name, lazy in read_bin(golden / "tiny_lora" / file).items()}
    return {name.removeprefix("zero_init.param."): value for name, value in step.items() if ".param." in name}


@pytest.fixture(scope="module")
def step(golden: Path) -> dict[str, Tensor]:
    return load_file(golden / "train_step_small.safetensors")


def batch_of(golden: Path, processor: Any, step: dict[str, Tensor]) -> dict[str, Tensor]:
    """The golden sample as the model takes it; its ids and labels are checked on the way."""
    sample = json.loads((golden / "train_step.json").read_text())
    turns = sample["sample"][0]["conversations"]
    first = Message("user", sample["first_message_after_one_fetch"])
    rest = [Message("user" if turn["from"] == "human" else "assistant", turn["value"]) for turn in turns[1:]]
    ids, labels = processor.training_ids_and_labels([first, *rest])
    placeholder = processor.video_token_id
    assert [-200 if token == placeholder else token for token in ids] == step["input_ids"][0].tolist()
    assert labels == step["labels"][0].tolist()
    ids, labels = expand_placeholders(ids, labels, placeholder, [processor.num_video_tokens(8)])
    assert labels == step["trained.expanded_labels"][0].tolist()
    pixels = load_file(golden / "e2e_small.safetensors")["lora_8.pixels_uint8"]
    kept = [place for place, label in enumerate(labels[1:]) if label != -100]
    return {
        "input_ids": torch.tensor([ids]),
        "labels": torch.tensor([labels]),
        "pixel_values_videos": (pixels.float() / 255 - 0.5) / 0.5,
        "logits_to_keep": torch.tensor(kept),
    }


@pytest.mark.parametrize("all_logits", [False, True], ids=["learned logits", "all logits"])
@pytest.mark.parametrize("state", ["zero_init", "trained"])
def test_loss_and_gradients_are_those_of_the_public_code(
    state: str, all_logits: bool, golden: Path, step: dict[str, Tensor]
) -> None:
    recipe = released_recipe(golden / "tiny_base")
    model, processor = start_bimba(recipe)
    trained = prepare_parts(model, recipe.train)
    # Zero tensors are not in the file: LoRA's B and the last projection, which start at zero here, too.
    left = set(trained.names) - fill(model, values_of(state, golden, step))
    assert all(("lora_B" in name or "out_proj" in name or "projector" in name) for name in left)
    assert all(not dict(model.named_parameters())[name].any() for name in left if "projector" not in name)
    model.eval()  # type: ignore[no-untyped-call] # untyped in transformers
    batch = batch_of(golden, processor, step)
    if all_logits:
        del batch["logits_to_keep"]
    loss = model(**batch, use_cache=False).loss
    loss.backward()
    expected_loss = float(step[f"{state}.loss"])
    assert abs(loss.item() - expected_loss) <= LOSS_BAR * expected_loss
    own = dict(model.named_parameters())
    expected = {name.partition(".grad.")[2]: value for name, value in step.items() if name.startswith(f"{state}.grad.")}
    compared = set()
    for public, gradient in expected.items():
        parts = our_parts(public, model)
        compared.update(parts)
        ours = torch.cat([own[part].grad.reshape(own[part].shape[0], -1) for part in parts])  # type: ignore[union-attr]
        difference = (ours - gradient.reshape(ours.shape)).abs().max()
        assert difference <= GRADIENT_BAR * gradient.abs().max(), f"{public}: {difference}"
    for name in set(trained.names) - compared:
        assert own[name].grad is None or not own[name].grad.any(), name  # type: ignore[union-attr]
    assert compared <= set(trained.names)


def test_as_many_weights_are_trained_as_by_the_public_script(golden: Path) -> None:
    recipe = released_recipe(golden / "tiny_base")
    model, _ = start_bimba(recipe)
    trained = prepare_parts(model, recipe.train)
    assert trained.num_parameters == json.loads((golden / "train_step.json").read_text())["zero_init"]["n_trainable"]


def test_a_fresh_compressor_starts_both_directions_alike_and_passes_pooled_queries_on(golden: Path) -> None:
    """Step sizes between 1e-3 and 0.1, decay rates 1..N, skips 1, last projection 0."""
    model, _ = start_bimba(released_recipe(golden / "tiny_base"))
    compressor: Any = model.compressor
    mixer = compressor.layers[0].mixer
    assert not mixer.out_proj.weight.any()
    for direction in (mixer.forward_scan, mixer.backward_scan):
        steps = torch.nn.functional.softplus(direction.dt_bias)
        assert steps.min() >= 1e-3 * 0.999
        assert steps.max() <= 0.1 * 1.001
        assert torch.allclose(direction.A_log.exp(), torch.arange(1.0, 17.0).expand(128, 16))
        assert (direction.D == 1).all()
