"""A config, a processor and tensors in; what a folder of ours holds of them out."""

import copy
from collections.abc import Mapping
from pathlib import Path

import torch
from transformers import GenerationConfig

from bimba.checkpoints.tensors import Cast, LazyTensor
from bimba.models.bimba.modeling import BimbaForConditionalGeneration
from bimba.models.kinds import VideoConfig, VideoProcessor
from bimba.models.vamba.configuration import VambaConfig
from bimba.models.vamba.modeling import VambaForConditionalGeneration

DECAY_RATES = "A_log"
"""How the tensors end that the model keeps in float32 whatever its dtype."""


def write_small_files(
    folder: Path,
    config: VideoConfig,
    processor: VideoProcessor,
    generation_config: GenerationConfig,
    dtype: torch.dtype | None = None,
) -> None:
    """Everything that a folder of ours holds beside the weights.

    Args:
        folder: where to.
        config: of the model.
        processor: tokenizer and pixels.
        generation_config: of the model.
        dtype: of the weights; the config's if None.
    """
    config = copy.deepcopy(config)
    kind = VambaForConditionalGeneration if isinstance(config, VambaConfig) else BimbaForConditionalGeneration
    config.architectures = [kind.__name__]
    if dtype is not None:
        config.dtype = dtype
    config.save_pretrained(folder)
    generation_config.save_pretrained(folder)
    processor.save_pretrained(folder)


def as_stored(tensors: Mapping[str, LazyTensor], dtype: torch.dtype) -> dict[str, LazyTensor]:
    """Tensors as a folder of that dtype holds them, on the CPU; decay rates stay as they are."""
    return {
        name: Cast(tensor, tensor.dtype if name.endswith(DECAY_RATES) else dtype) for name, tensor in tensors.items()
    }
