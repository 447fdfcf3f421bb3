"""The estimate of memory: what a plan says of a vision tower, against the tensors that the tower gives out."""

import pytest
import torch
from transformers import AutoModel

from bimba.inference.memory import plan_memory
from bimba.models.bimba.configuration import BimbaConfig
from bimba.models.bimba.tiny import tiny_config

CONVNEXT = {
    "model_type": "convnextv2",
    "num_stages": 3,
    "hidden_sizes": [8, 16, 48],
    "depths": [1, 1, 1],
    "patch_size": 4,
}


def config_with(**vision: object) -> BimbaConfig:
    values = tiny_config(320).to_dict()
    return BimbaConfig.from_dict(values | {"vision_config": vision or values["vision_config"]})


@pytest.mark.parametrize("vision", [{}, {**CONVNEXT, "image_size": 96}], ids=["siglip", "convnext"])
def test_a_tower_at_work_is_its_hidden_states_its_features_twice_and_its_widest_layer(
    vision: dict[str, object],
) -> None:
    config = config_with(**vision)
    tower = AutoModel.from_config(config.vision_config)
    side = config.vision_config.image_size
    states = tower(torch.zeros(1, 3, side, side), output_hidden_states=True).hidden_states
    features = config.patches_per_side**2 * (48 if vision else config.vision_config.hidden_size)
    widest = 4 * states[0].numel() if vision else config.patches_per_side**2 * config.vision_config.intermediate_size
    expected = sum(state.numel() for state in states) + 2 * features + 3 * widest
    plan = plan_memory(config, num_parameters=0, num_frames=1, num_tokens=1, itemsize=1)
    assert plan.vision == expected
