"""Models as a training run leaves them: LoRA layers that do something, parts that were trained whole."""

import warnings
from collections.abc import Collection
from pathlib import Path
from typing import Any

import peft
import torch
from torch import Tensor

from bimba.checkpoints.adapter import describe_base
from bimba.checkpoints.adapter_writing import LoraSettings, write_adapter
from bimba.models.bimba.modeling import BimbaForConditionalGeneration
from bimba.models.bimba.processing import BimbaProcessor

LORA = LoraSettings(rank=4, alpha=8.0, dropout=0.05)
TARGETS = r"language_model\..*\.(q_proj|v_proj)"


def train(
    model: BimbaForConditionalGeneration, targets: str | None = TARGETS, whole: Collection[str] = (), seed: int = 1
) -> BimbaForConditionalGeneration:
    """Put LoRA layers with random weights into a model, and move the parts that are trained whole."""
    generator = torch.Generator().manual_seed(seed)
    if targets is not None:
        settings = peft.LoraConfig(r=LORA.rank, lora_alpha=int(LORA.alpha), target_modules=targets, lora_dropout=0.05)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PEFT calls switches of transformers by their old names
            peft.inject_adapter_in_model(settings, model)
    model.eval()  # type: ignore[no-untyped-call] # untyped there
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name or name.split(".")[0] in whole:
                parameter.data = parameter.data.float()  # what is trained is kept in float32
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return model


def logits(model: Any, processor: BimbaProcessor) -> Tensor:
    size = processor.image_size
    frames = torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found: Tensor = model(**processor(["<image>what?"], pixel_values_videos=[frames])).logits
    return found


def distance(found: Tensor, expected: Tensor) -> float:
    """Largest difference, as a share of the largest value (or of 1)."""
    return float((found - expected).abs().max() / max(1.0, float(expected.abs().max())))


def write(
    place: Path,
    model: BimbaForConditionalGeneration,
    processor: BimbaProcessor,
    base: Path,
    *,
    whole: Collection[str] = (),
    base_of_base: Path | None = None,
    path: str | None = None,
) -> Path:
    """The model as an adapter of `base`."""
    described = describe_base(base if path is None else path, base_of_base)
    write_adapter(
        place,
        model.state_dict(),
        whole=whole,
        lora=LORA,
        base=described,
        config=model.config,
        processor=processor,
        generation_config=model.generation_config,
    )
    return place
