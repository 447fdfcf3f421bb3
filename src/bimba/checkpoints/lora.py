"""A LoRA adapter and the base tensors it changes in, the merged tensors out: W + scale * B A.

Shapes: O output width, I input width, R rank of the adapter.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import EllipsisType

import torch
from torch import Tensor

from bimba.checkpoints.tensors import LazyTensor
from bimba.errors import CheckpointError

PREFIX = "base_model.model."
"""What PEFT puts in front of every name."""

_LORA_KEY = re.compile(r"(.+)\.lora_([AB])(?:\.default)?\.weight")
_UNSUPPORTED = {"use_dora": False, "fan_in_fan_out": False, "bias": "none", "rank_pattern": {}, "alpha_pattern": {}}
"""Settings of PEFT that change how an adapter is merged, with the values under which W + scale * B A is right."""


@dataclass(frozen=True)
class Merged:
    """W + scale * B A, computed in float32 and rounded once to W's dtype when it is read."""

    base: LazyTensor
    A: LazyTensor
    B: LazyTensor
    scale: float

    @property
    def shape(self) -> tuple[int, ...]:
        """That of W."""
        return self.base.shape

    @property
    def dtype(self) -> torch.dtype:
        """That of W."""
        return self.base.dtype

    def __getitem__(self, index: EllipsisType) -> Tensor:
        delta = self.B[...].float() @ self.A[...].float()
        return delta.mul_(self.scale).add_(self.base[...]).to(self.dtype)

    def row(self, index: int) -> Tensor:
        """Row `index`; equal to that of the whole up to rounding."""
        delta = self.B.row(index).float() @ self.A[...].float()
        return delta.mul_(self.scale).add_(self.base.row(index)).to(self.dtype)


def lora_scale(adapter_config: Mapping[str, object], where: str) -> float:
    """Alpha / r of an adapter (alpha / sqrt(r) with rank-stabilised LoRA).

    Raises:
        CheckpointError: it is no LoRA adapter, or one that cannot be merged this way.
    """
    if adapter_config.get("peft_type") != "LORA":
        raise CheckpointError(
            f"{where}: peft_type is {adapter_config.get('peft_type')!r}, not 'LORA'.",
            fix="merge the adapter with PEFT and load the merged model.",
        )
    for name, plain in _UNSUPPORTED.items():
        if adapter_config.get(name) not in (None, plain):
            raise CheckpointError(
                f"{where}: {name} is {adapter_config[name]!r}; only {plain!r} can be merged here.",
                fix="merge the adapter with PEFT and load the merged model.",
            )
    rank, alpha = adapter_config.get("r"), adapter_config.get("lora_alpha")
    if not isinstance(rank, int) or not isinstance(alpha, int | float) or rank < 1:
        raise CheckpointError(f"{where}: r is {rank!r} and lora_alpha {alpha!r}.", fix="fetch the adapter again.")
    return float(alpha / rank**0.5 if adapter_config.get("use_rslora") else alpha / rank)


def strip_prefix(tensors: Mapping[str, LazyTensor], where: str) -> dict[str, LazyTensor]:
    """Names as the public model has them, without PEFT's prefix.

    Raises:
        CheckpointError: names without that prefix.
    """
    foreign = [name for name in tensors if not name.startswith(PREFIX)]
    if foreign:
        raise CheckpointError(
            f"{where}: names do not start with {PREFIX!r}: {', '.join(foreign[:10])}.",
            fix="pass the adapter folder as its authors released it.",
        )
    return {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()}


def split_lora(state: Mapping[str, LazyTensor]) -> tuple[dict[str, LazyTensor], dict[str, LazyTensor]]:
    """Tensors of a model with LoRA layers in it, parted.

    Args:
        state: as `state_dict` names them: `<module>.base_layer.weight`, `<module>.lora_A.default.weight`, ...

    Returns:
        the model's own tensors, named as without LoRA layers; and the LoRA tensors, named as they come.
    """
    lora = {name: tensor for name, tensor in state.items() if _LORA_KEY.fullmatch(name)}
    own = {name.replace(".base_layer.", "."): tensor for name, tensor in state.items() if name not in lora}
    return own, lora


def lora_module(name: str) -> str:
    """The layer that a LoRA tensor belongs to.

    Raises:
        ValueError: it is not named as one.
    """
    match = _LORA_KEY.fullmatch(name)
    if match is None:
        raise ValueError(f"{name!r} is no LoRA tensor.")
    return match[1]


def merge_lora(
    base: Mapping[str, LazyTensor], adapter: Mapping[str, LazyTensor], scale: float, where: str
) -> dict[str, LazyTensor]:
    """The tensors that an adapter changes, merged, under the names of the public model.

    Args:
        base: tensors of the base, `<module>.weight` [O, I].
        adapter: `<module>.lora_A.weight` [R, I] and `<module>.lora_B.weight` [O, R], without PEFT's prefix.
        scale: factor of B A.
        where: the adapter's place, for messages.

    Raises:
        CheckpointError: tensors that are no LoRA pairs, or that do not fit the base, all listed.
    """
    pairs: dict[str, dict[str, LazyTensor]] = {}
    problems = []
    for name, tensor in adapter.items():
        match = _LORA_KEY.fullmatch(name)
        if match is None:
            problems.append(f"not LoRA: {name} {list(tensor.shape)}")
        else:
            pairs.setdefault(f"{match[1]}.weight", {})[match[2]] = tensor
    merged: dict[str, LazyTensor] = {}
    for name, pair in pairs.items():
        if name not in base:
            problems.append(f"not in the base: {name}")
        elif pair.keys() != {"A", "B"}:
            problems.append(f"half of a pair: {name}")
        elif (pair["B"].shape[0], pair["A"].shape[1]) != base[name].shape or pair["A"].shape[0] != pair["B"].shape[1]:
            shapes = f"B {list(pair['B'].shape)} A {list(pair['A'].shape)}, base {list(base[name].shape)}"
            problems.append(f"misshapen: {name}: {shapes}")
        else:
            merged[name] = Merged(base[name], pair["A"], pair["B"], scale)
    if problems:
        raise CheckpointError(
            f"the adapter {where} does not fit this base:\n    " + "\n    ".join(problems),
            fix="pass the base that it was trained on (base_model_name_or_path in its adapter_config.json) as base.",
        )
    return merged
