"""Public key names and ours: one to one, both ways, and the names of the released files."""

import json
from pathlib import Path

import pytest
import torch

from bimba.compressors import SelectiveScanCompressor
from bimba.compressors.public_names import PARTS_OF, our_names, public_names, to_public_state_dict

KEYS_7B = Path(__file__).parents[1] / "data/golden/keys_7b.json"


def test_the_released_compressor_has_our_names_and_shapes() -> None:
    prefix = "model.compressor."
    released = {
        key.removeprefix(prefix): tuple(shape)
        for key, (shape, _) in json.loads(KEYS_7B.read_text()).items()
        if key.startswith(prefix)
    }
    with torch.device("meta"):
        public = SelectiveScanCompressor(3584).public_state_dict()
    assert len(released) == 17
    assert {key: tuple(tensor.shape) for key, tensor in public.items()} == released


def test_every_public_name_maps_there_and_back() -> None:
    keys = [f"layers.3.mixer.{public}" for public in PARTS_OF] + ["layers.3.norm.weight"]
    parts = [part for key in keys for part in our_names(key)]
    assert len(set(parts)) == len(parts)
    assert public_names(parts) == {key: our_names(key) for key in keys}


def test_two_of_our_layers_are_stacked_in_the_public_order() -> None:
    assert our_names("layers.0.mixer.in_proj.weight") == (
        "layers.0.mixer.in_proj.weight",
        "layers.0.mixer.gate_proj.weight",
    )
    assert our_names("layers.0.mixer.x_proj_b.weight") == (
        "layers.0.mixer.backward_scan.step_proj.weight",
        "layers.0.mixer.backward_scan.readout_proj.weight",
    )
    ours = {
        "layers.0.mixer.gate_proj.weight": torch.full((1, 2), 2.0),
        "layers.0.mixer.in_proj.weight": torch.full((1, 2), 1.0),
    }
    stacked = to_public_state_dict(ours)
    assert stacked.keys() == {"layers.0.mixer.in_proj.weight"}
    assert stacked["layers.0.mixer.in_proj.weight"].tolist() == [[1, 1], [2, 2]]


@pytest.mark.parametrize(
    "key",
    ["layers.0.mixer.x_proj_c.weight", "layers.x.norm.weight", "norm.weight", "layers.0.mixer.", "layers.0.norm.bias"],
)
def test_a_name_that_the_public_compressor_does_not_have_is_refused(key: str) -> None:
    with pytest.raises(KeyError, match=key):
        our_names(key)


def test_a_name_that_ours_does_not_have_is_refused() -> None:
    with pytest.raises(KeyError, match="head"):
        public_names(["layers.0.norm.weight", "head.weight"])
