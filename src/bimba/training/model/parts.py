"""A model and the `train` section of a recipe in; what of it is trained, and how fast, out.

LoRA layers are put into the model itself (no wrapper around it), so that every name stays what it is.
"""

import logging
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from bimba.errors import InputError
from bimba.models.bimba.configuration import BimbaConfig
from bimba.models.bimba.towers import tower_depth
from bimba.models.kinds import VideoModel
from bimba.models.vamba.configuration import VambaConfig
from bimba.training.recipe.settings import Schedule
from bimba.training.recipe.train_settings import BIMBA_PARTS, VAMBA_PARTS, AnyTrain

logger = logging.getLogger(__name__)

ADAPTER_NAME = "default"
MUON = "muon"
"""Name of the optimizer that takes matrices by themselves."""
_LORA = re.compile(rf"\.lora_[AB]\.{ADAPTER_NAME}\.")
_VISION_LAYER = re.compile(r"\.(?:layers|stages)\.(\d+)\.")
_LEAST_SIDE = 8
"""Matrices with a shorter side are rows of numbers by nature, not maps."""
_NO_MAPS = ("embed_tokens", "lm_head", "A_log", "separators", "queries")
_AFTER_THE_FEATURES = ("post_layernorm", ".head.", "vision_tower.layernorm")
_OF_LAYERS = ("cross_attn", "vision_mixer", "alpha")
_MIXER_LAYER = re.compile(r"\blayers\.(\d+)\.vision_mixer\b")


@dataclass(frozen=True)
class Trained:
    """What is trained.

    Args:
        names: of the parameters.
        num_parameters: weights in them.
        num_all: weights of the whole model.
        by_part: weights that are trained of each part.
    """

    names: tuple[str, ...]
    num_parameters: int
    num_all: int
    by_part: dict[str, int]


def prepare_parts(model: VideoModel, train: AnyTrain) -> Trained:
    """Freeze the model, put LoRA layers in, and free what is trained, in float32.

    Raises:
        InputError: the section is about another kind of model, a part that shall have LoRA has no layer of the named
            targets, or a part has no weights.
    """
    check_kind(model.config.model_type, train)
    model.requires_grad_(requires_grad=False)
    targets = [
        name for part in train.parts if train.part(part).mode == "lora" for name in lora_targets(model, train, part)
    ]
    num_all = sum(parameter.numel() for parameter in model.parameters())
    if targets:
        _inject(model, train, targets)
    for name, parameter in model.named_parameters():
        mode = train.part(part_of(name)).mode
        learns = mode == "full" or (mode == "lora" and _LORA.search(name) is not None)
        parameter.requires_grad_(learns and _is_used(model, name))
    counts: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            # Steps of a millionth vanish in bfloat16's 8 bits, so that whatever is trained is kept in float32.
            parameter.data = parameter.data.float()
            counts[part_of(name)] = counts.get(part_of(name), 0) + parameter.numel()
    for part in train.parts:
        if train.part(part).mode == "full" and part not in counts:
            # Pooling has no weights, and that may be what a recipe compares with.
            logger.warning("train.%s.mode is full, but this model's %s has no weights.", part, part)
    names = tuple(name for name, parameter in model.named_parameters() if parameter.requires_grad)
    if not names:
        raise InputError("nothing of this model would be trained.", fix="set a part that has weights to lora or full.")
    return Trained(names, sum(counts.values()), num_all, counts)


def check_kind(kind: str, train: AnyTrain) -> None:
    """Refuse a section about the parts of another kind of model than the one of that `model_type`.

    Raises:
        InputError: it is.
    """
    if kind != train.kind:
        parts = ", ".join(VAMBA_PARTS if kind == "vamba" else BIMBA_PARTS)
        raise InputError(
            f"the model is a {kind}, but train is about the parts of a {train.kind}.",
            fix=f"set train.kind to {kind} and say what of {parts} is trained.",
        )


def lora_targets(model: VideoModel, train: AnyTrain, part: str) -> list[str]:
    """Full names of the linear layers of a part that get LoRA.

    Raises:
        InputError: there are none.
    """
    wanted = train.lora.targets
    layers = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and part_of(name) == part]
    if wanted == "all-linear":
        head = model.get_output_embeddings()
        chosen = [name for name in layers if model.get_submodule(name) is not head]
    else:
        chosen = [name for name in layers if any(name == end or name.endswith(f".{end}") for end in wanted)]
    chosen = [name for name in chosen if _is_used(model, f"{name}.weight")]
    if not chosen:
        ends = sorted({name.rpartition(".")[2] for name in layers})
        raise InputError(
            f"train.{part}.mode is lora, but none of its linear layers is called {wanted}.",
            fix=f"set train.lora.targets; its layers are {', '.join(ends) or 'none'}.",
        )
    return chosen


def _inject(model: VideoModel, train: AnyTrain, targets: list[str]) -> None:
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise InputError("LoRA needs peft.", fix='pip install "bimba[train]"') from error
    lora = train.lora
    config = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=targets)  # type: ignore[arg-type] # alpha may be a fraction
    inject_adapter_in_model(config, model, ADAPTER_NAME)


def part_of(name: str) -> str:
    """Part of the model that a parameter or module belongs to, whatever wrappers put in front of its name.

    Raises:
        ValueError: it belongs to none.
    """
    pieces = name.split(".")
    for piece in pieces:
        if piece in BIMBA_PARTS or piece in _OF_LAYERS:
            return piece
    if "visual" in pieces:
        return "merger" if "merger" in pieces else "vision_tower"
    if "lm_head" in pieces:
        return "head"
    if "model" in pieces:
        return "language_model"
    known = ", ".join(dict.fromkeys((*BIMBA_PARTS, *VAMBA_PARTS)))
    raise ValueError(f"{name} belongs to no part of a model; known are {known}.")


def _is_used(model: VideoModel, name: str) -> bool:
    """Whether a weight has a say in the loss.

    Weights that never get a gradient would let processes that train together wait for them.
    """
    config = model.config
    if isinstance(config, VambaConfig):
        layer = _MIXER_LAYER.search(name)
        # Nothing reads the video behind the last layer's mixer.
        return layer is None or int(layer[1]) < config.text_config.num_hidden_layers - 1
    return _is_used_of_tower(config, name)


def _is_used_of_tower(config: BimbaConfig, name: str) -> bool:
    """Whether a BIMBA's weight has one: the tower's last norm, its head and layers beyond the features have none."""
    if part_of(name) != "vision_tower":
        return True
    if any(piece in name for piece in _AFTER_THE_FEATURES):
        return False
    layer = _VISION_LAYER.search(name)
    chosen = config.vision_feature_layer
    num_layers = tower_depth(config.vision_config)
    last = chosen if chosen >= 0 else num_layers + 1 + chosen
    return layer is None or int(layer[1]) < last


def decays(name: str, parameter: torch.Tensor) -> bool:
    """Whether weight decay may pull a parameter to zero: matrices, but no decay rates (A), skips (D), biases, norms.

    Nor a Vamba's step sizes (dt_bias) and its balance of self- and cross-attention (alpha), which are vectors, too.
    """
    return parameter.ndim >= 2 and not name.endswith("A_log")


def parameter_groups(
    parameters: Iterable[tuple[str, nn.Parameter]], train: AnyTrain, schedule: Schedule
) -> list[dict[str, Any]]:
    """Groups for an optimizer: one for each part, with and without weight decay, each with its learning rate.

    For Muon the matrices that it takes are groups of their own, and `is_matrix` tells.
    """
    uses_muon = schedule.optimizer == MUON
    groups: dict[tuple[str, bool, bool], list[nn.Parameter]] = {}
    for name, parameter in _learning(parameters):
        is_matrix = uses_muon and takes_muon(name, parameter)
        groups.setdefault((part_of(name), decays(name, parameter), is_matrix), []).append(parameter)
    return [
        {
            "params": group,
            "lr": train.part(part).learning_rate or schedule.learning_rate,
            "weight_decay": schedule.weight_decay if is_decayed else 0.0,
            **({"is_matrix": is_matrix} if uses_muon else {}),
        }
        for (part, is_decayed, is_matrix), group in groups.items()
    ]


def takes_muon(name: str, parameter: nn.Parameter) -> bool:
    """Whether a parameter is a matrix that maps vectors to vectors: not a table of embeddings, not decay rates."""
    is_map = parameter.ndim == 2 and min(parameter.shape) >= _LEAST_SIDE
    return is_map and not any(piece in name for piece in _NO_MAPS)


def _learning(parameters: Iterable[tuple[str, nn.Parameter]]) -> Iterator[tuple[str, nn.Parameter]]:
    return ((name, parameter) for name, parameter in parameters if parameter.requires_grad)
