"""All 782 tensors of the released size have one place in our model, and back, none left over."""

import json
import math
from pathlib import Path

import pytest
import torch

from bimba.checkpoints.released_names import our_names, released_names, to_ours, to_released
from bimba.checkpoints.tensors import InMemory, LazyTensor
from bimba.models.bimba.configuration import BimbaConfig
from bimba.models.bimba.modeling import BimbaForConditionalGeneration


@pytest.fixture(scope="module")
def released(golden: Path) -> dict[str, LazyTensor]:
    """The public model's tensors, without memory."""
    listed = json.loads((golden / "keys_7b.json").read_text())
    return {name: InMemory(torch.empty(shape, device="meta")) for name, (shape, _) in listed.items()}


@pytest.fixture(scope="module")
def model() -> BimbaForConditionalGeneration:
    with torch.device("meta"):
        return BimbaForConditionalGeneration(BimbaConfig())


@pytest.fixture(scope="module")
def shapes(model: BimbaForConditionalGeneration) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def test_all_782_names_map_to_our_model_and_none_is_left_over(
    released: dict[str, LazyTensor], shapes: dict[str, tuple[int, ...]]
) -> None:
    ours, problems = to_ours(released, shapes)
    assert len(released) == 782
    assert problems == []
    assert {name: tensor.shape for name, tensor in ours.items()} == shapes


def test_all_names_map_back(released: dict[str, LazyTensor], shapes: dict[str, tuple[int, ...]]) -> None:
    ours: dict[str, LazyTensor] = {name: InMemory(torch.empty(shape, device="meta")) for name, shape in shapes.items()}
    back = to_released(ours)
    assert {name: tensor.shape for name, tensor in back.items()} == {
        name: tensor.shape for name, tensor in released.items()
    }
    assert all(released_names(our_names(name)) == {name: our_names(name)} for name in released)


def test_sizes_are_the_released_ones(golden: Path, model: BimbaForConditionalGeneration) -> None:
    notes = json.loads((golden / "keys_7b_notes.json").read_text())
    assert sum(p.numel() for p in model.parameters()) == notes["total_parameters"]
    assert sum(p.numel() for p in model.compressor.parameters()) == notes["compressor_parameters"]
    assert sum(p.numel() for p in model.vision_tower.parameters()) == notes["vision_tower_parameters"]


@pytest.mark.parametrize(
    "name",
    [
        "model.mm_projector.1.weight",
        "model.compressor.layers.0.mixer.gate.weight",
        "model.compressor.layers.x.norm.weight",
        "model.vision_resampler.weight",
    ],
)
def test_names_that_the_public_model_lacks_are_not_guessed(name: str) -> None:
    with pytest.raises(KeyError):
        our_names(name)


def test_names_that_the_public_layout_lacks_are_not_guessed() -> None:
    with pytest.raises(KeyError):
        released_names(["language_model.model.layers.0.mystery", "other.weight"])


def test_stacked_rows_come_apart_and_together_bit_for_bit() -> None:
    rows = torch.arange(24.0).reshape(8, 3)
    key = "model.compressor.layers.0.mixer.x_proj.weight"
    parts = our_names(key)
    ours, problems = to_ours({key: InMemory(rows)}, {parts[0]: (5, 3), parts[1]: (3, 3)})
    assert not problems
    assert math.prod(ours[parts[0]][...].shape) == 15
    assert torch.equal(torch.cat([ours[part][...] for part in parts]), rows)


def test_buffers_of_old_versions_are_passed_over_and_the_rest_is_listed(shapes: dict[str, tuple[int, ...]]) -> None:
    tensors: dict[str, LazyTensor] = {
        "model.layers.0.self_attn.rotary_emb.inv_freq": InMemory(torch.zeros(64)),
        "model.norm.weight": InMemory(torch.zeros(7)),
        "model.layers.99.mlp.up_proj.weight": InMemory(torch.zeros(1)),
        "model.extra": InMemory(torch.zeros(1)),
    }
    ours, problems = to_ours(tensors, shapes)
    assert ours == {}
    assert [problem.split()[:2] for problem in problems] == [
        ["misshapen", "model.norm.weight"],
        ["unknown", "model.layers.99.mlp.up_proj.weight"],
        ["unknown", "model.extra"],
    ]
