"""A trained model in, an adapter folder of ours out: what was trained, and which base it goes onto.

```
config.json  generation_config.json  processor_config.json  tokenizer files
base.json                                             what it goes onto
adapter/adapter_config.json  adapter_model.safetensors    in PEFT's own format
README.md
```
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import GenerationConfig

from bimba.checkpoints.adapter import WEIGHTS_NAME
from bimba.checkpoints.base import BASE_NAME, Base
from bimba.checkpoints.folder import new_folder, write_json, write_tensors
from bimba.checkpoints.lora import PREFIX, lora_module, merge_lora, split_lora
from bimba.checkpoints.opened import refuse_misfits, tensor_shapes
from bimba.checkpoints.small_files import write_small_files
from bimba.checkpoints.source import ADAPTER_CONFIG, ADAPTER_FOLDER
from bimba.checkpoints.tensors import Cast, Copied, InMemory, LazyTensor
from bimba.models.bimba.configuration import BimbaConfig
from bimba.models.bimba.modeling import BimbaForConditionalGeneration
from bimba.models.bimba.processing import BimbaProcessor

_NO_TARGETS = "dummy-target-modules"
"""PEFT's word for an adapter without LoRA layers; an empty list it refuses."""


@dataclass(frozen=True)
class LoraSettings:
    """Low-rank adapters of a run.

    Args:
        rank: r.
        alpha: B A is multiplied by alpha / r.
        dropout: of the input, while training.
    """

    rank: int
    alpha: float
    dropout: float = 0.0

    @property
    def scale(self) -> float:
        """Factor of B A."""
        return self.alpha / self.rank


def write_adapter(
    place: Path,
    state: Mapping[str, Tensor],
    *,
    whole: Collection[str],
    lora: LoraSettings,
    base: Base,
    config: BimbaConfig,
    processor: BimbaProcessor,
    generation_config: GenerationConfig,
) -> None:
    """Write an adapter folder, complete or not at all; see `fill_adapter`.

    Raises:
        CheckpointError: something does not fit, or `place` exists.
    """
    with new_folder(place) as folder:
        fill_adapter(
            folder,
            state,
            whole=whole,
            lora=lora,
            base=base,
            config=config,
            processor=processor,
            generation_config=generation_config,
        )


def fill_adapter(
    folder: Path,
    state: Mapping[str, Tensor],
    *,
    whole: Collection[str],
    lora: LoraSettings,
    base: Base,
    config: BimbaConfig,
    processor: BimbaProcessor,
    generation_config: GenerationConfig,
) -> None:
    """Write the files of an adapter into an empty folder.

    The trained tensors are in memory once more while they are written; `state` itself is not changed.

    Args:
        folder: where to.
        state: tensors as `state_dict` of the model names them, with the LoRA layers that `peft.inject_adapter_in_model`
            put in: `<module>.lora_A.default.weight` [R, I], `<module>.lora_B.default.weight` [O, R],
            `<module>.base_layer.weight` [O, I]; others under their plain names. What lies outside of `whole` and is no
            LoRA tensor is the base's: it is not written and need not be there.
        whole: modules that are written whole, because all of them was trained or because the base has another one or
            none, e.g. `{"compressor", "projector"}`. LoRA layers in them are merged (in float32).
        lora: settings of the LoRA layers.
        base: what the adapter goes onto, see `describe_base`.
        config: of the model; its dtype is written as the base's.
        processor: tokenizer and pixels.
        generation_config: of the model.

    Raises:
        CheckpointError: tensors are missing, unknown or misshapen, neither here nor in the base, or nothing was
            trained; all of them listed.
    """
    shapes, tied = tensor_shapes(config)
    own, lora_tensors = split_lora({name: InMemory(tensor) for name, tensor in state.items()})
    inside, outside = _parted(lora_tensors, whole)
    parts = {name: own[name] for name in shapes if _is_in(name, whole) and name in own}
    refuse_misfits(
        "the trained model do not fit together",
        _misfits(parts, outside, shapes, tied, whole, base) + _other_ranks(lora_tensors, lora.rank),
        "name every module that was trained whole or is not the base's; describe the base that training began with.",
    )
    if inside:
        parts |= merge_lora(parts, inside, lora.scale, "in the trained model")
    brought = {name: Cast(tensor, tensor.dtype) for name, tensor in (outside | parts).items()}
    written: dict[str, LazyTensor] = {
        PREFIX + name.replace(".default.", "."): Copied(tensor) if name in tied else tensor
        for name, tensor in brought.items()
    }
    write_small_files(folder, config, processor, generation_config, base.dtype)
    write_json(folder / BASE_NAME, base.to_json())
    inner = folder / ADAPTER_FOLDER
    inner.mkdir()
    targets = sorted({lora_module(name) for name in outside})
    write_json(inner / ADAPTER_CONFIG, _peft_config(lora, base, targets, sorted(whole)))
    write_tensors(inner, written, layout=dict.fromkeys(written, WEIGHTS_NAME))
    (folder / "README.md").write_text(_readme(base), encoding="utf-8")


def _is_in(name: str, modules: Collection[str]) -> bool:
    return any(name.startswith(f"{module}.") for module in modules)


def _parted(
    lora: Mapping[str, LazyTensor], whole: Collection[str]
) -> tuple[dict[str, LazyTensor], dict[str, LazyTensor]]:
    """LoRA tensors in modules that are written whole, and the others."""
    inside = {name: tensor for name, tensor in lora.items() if _is_in(name, whole)}
    return inside, {name: tensor for name, tensor in lora.items() if name not in inside}


def _misfits(
    parts: Mapping[str, LazyTensor],
    outside: Mapping[str, LazyTensor],
    shapes: Mapping[str, tuple[int, ...]],
    tied: Collection[str],
    whole: Collection[str],
    base: Base,
) -> list[str]:
    """What would not come together when the adapter is put onto its base, one line each."""
    if not parts and not outside:
        return ["nothing was trained"]
    problems = [f"no such module: {module}" for module in whole if not any(_is_in(name, [module]) for name in shapes)]
    for name, shape in shapes.items():
        sample = base.samples.get(name)
        if name in parts and parts[name].shape != shape:
            problems.append(f"misshapen {name} {list(parts[name].shape)}, the model has {list(shape)}")
        elif name not in parts and _is_in(name, whole):
            problems.append(f"missing   {name} {list(shape)}")
        elif name not in parts and name not in tied and (sample is None or sample.shape != shape):
            found = "no such tensor" if sample is None else f"{list(sample.shape)}"
            problems.append(f"not written, but the base has {found}: {name} {list(shape)}")
    layers = sorted({f"{lora_module(name)}.weight" for name in outside})
    return problems + [
        f"LoRA on a tied or unknown layer: {name}" for name in layers if name in tied or name not in shapes
    ]


def _other_ranks(lora: Mapping[str, LazyTensor], rank: int) -> list[str]:
    return [
        f"rank {tensor.shape[0]} instead of {rank}: {name}"
        for name, tensor in lora.items()
        if re.search(r"\.lora_A\.", name) and tensor.shape[0] != rank
    ]


def _peft_config(lora: LoraSettings, base: Base, targets: list[str], whole: list[str]) -> dict[str, Any]:
    """adapter_config.json; what is not said here is PEFT's default."""
    model = BimbaForConditionalGeneration
    return {
        "auto_mapping": {"base_model_class": model.__name__, "parent_library": model.__module__},
        "base_model_name_or_path": base.path,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "lora_alpha": lora.alpha,
        "lora_dropout": lora.dropout,
        "modules_to_save": whole or None,
        "peft_type": "LORA",
        "r": lora.rank,
        "target_modules": targets or _NO_TARGETS,
        "task_type": None,
        "use_dora": False,
        "use_rslora": False,
    }


def _readme(base: Base) -> str:
    return f"""# Adapter of a BIMBA model

It goes onto `{base.path}`. Open it with

```python
import bimba

qa = bimba.load("THIS_FOLDER")  # base="..." if the base lies elsewhere
```

or, on a base of the same architecture, with PEFT: `PeftModel.from_pretrained(model, "THIS_FOLDER/{ADAPTER_FOLDER}")`.
"""
