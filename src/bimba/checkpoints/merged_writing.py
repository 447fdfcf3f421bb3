"""A model with LoRA layers in it in; a whole model folder of ours, with the layers merged, out."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from transformers import GenerationConfig

from bimba.checkpoints.adapter_writing import LoraSettings
from bimba.checkpoints.folder import OnTensors, write_tensors
from bimba.checkpoints.lora import lora_module, merge_lora, split_lora
from bimba.checkpoints.opened import refuse_misfits, tensor_shapes
from bimba.checkpoints.small_files import as_stored, write_small_files
from bimba.checkpoints.tensors import Cast, InMemory
from bimba.models.kinds import VideoConfig, VideoProcessor


def fill_merged(
    folder: Path,
    state: Mapping[str, Tensor],
    *,
    lora: LoraSettings,
    dtype: torch.dtype,
    config: VideoConfig,
    processor: VideoProcessor,
    generation_config: GenerationConfig,
    on_tensors: OnTensors | None = None,
) -> None:
    """Write the files of a whole model into an empty folder; no more than a shard is in memory once more.

    Args:
        folder: where to.
        state: tensors as `state_dict` of the model names them, with the LoRA layers that `peft.inject_adapter_in_model`
            put in (see `fill_adapter`), of any dtype, on any device.
        lora: settings of the LoRA layers.
        dtype: of the written weights; sums are taken in float32 and rounded once. Decay rates stay as they are.
        config: of the model.
        processor: tokenizer and pixels.
        generation_config: of the model.
        on_tensors: told of the progress.

    Raises:
        CheckpointError: tensors are missing, unknown or misshapen, or LoRA layers cannot be merged; all of them listed.
    """
    shapes, tied = tensor_shapes(config)
    own, pairs = split_lora({name: InMemory(tensor) for name, tensor in state.items()})
    problems = [f"unknown   {name} {list(tensor.shape)}" for name, tensor in own.items() if name not in shapes]
    for name, shape in shapes.items():
        if name not in own and name not in tied:
            problems.append(f"missing   {name} {list(shape)}")
        elif name in own and own[name].shape != shape:
            problems.append(f"misshapen {name} {list(own[name].shape)}, the model has {list(shape)}")
    layers = sorted({f"{lora_module(name)}.weight" for name in pairs})
    problems += [f"LoRA on a tied layer: {name}" for name in layers if name in tied]
    refuse_misfits(
        "the trained model do not fit its config",
        problems,
        "pass the whole state of the model, and no LoRA layer on embeddings that are tied to the head.",
    )
    stored = as_stored({name: own[name] for name in shapes if name not in tied}, dtype)
    on_cpu = {name: Cast(tensor, tensor.dtype) for name, tensor in pairs.items()}
    merged = merge_lora(stored, on_cpu, lora.scale, "in the trained model")
    write_small_files(folder, config, processor, generation_config, dtype)
    write_tensors(folder, stored | merged, on_tensors=on_tensors)
