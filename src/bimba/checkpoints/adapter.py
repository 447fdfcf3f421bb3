"""An adapter folder of ours in; the model that it makes of its base out, not read yet.

The folder holds what a run trained, without the base: PEFT's own files in `adapter/`, and beside them everything small
that a model folder has, so that `bimba.load`, transformers' `from_pretrained` and PEFT open it.
"""

import logging
from pathlib import Path

import torch

from bimba.checkpoints.base import Base, differences, read_base, take_sample
from bimba.checkpoints.lora import lora_scale, merge_lora, split_lora, strip_prefix
from bimba.checkpoints.opened import (
    OpenedModel,
    read_generation_config,
    read_processor,
    refuse_misfits,
    tensor_shapes,
)
from bimba.checkpoints.released import open_released
from bimba.checkpoints.source import ADAPTER_CONFIG, ADAPTER_FOLDER, ADAPTER_STEM, Source, find_source
from bimba.checkpoints.tensors import LazyTensor, num_bytes, open_folder, open_safetensors, read_json
from bimba.models.bimba.configuration import BimbaConfig

logger = logging.getLogger(__name__)

WEIGHTS_NAME = f"{ADAPTER_STEM}.safetensors"


def describe_base(path: str | Path, base: str | Path | None = None) -> Base:
    """What an adapter has to remember of the model that it is made on; of each tensor a row is read.

    Args:
        path: folder or hub id, as `bimba.load` takes it.
        base: of a released adapter, if not the one it names.

    Raises:
        CheckpointError: files are missing, unsafe or do not fit.
    """
    tensors = open_tensors(find_source(path, base))
    return Base(
        path=str(path),
        base=None if base is None else str(base),
        dtype=main_dtype(tensors),
        samples={name: take_sample(tensor) for name, tensor in tensors.items()},
    )


def main_dtype(tensors: dict[str, LazyTensor]) -> torch.dtype:
    """The dtype of most of the bytes."""
    sizes: dict[torch.dtype, int] = {}
    for tensor in tensors.values():
        sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + num_bytes(tensor)
    return max(sizes, key=lambda dtype: sizes[dtype])


def open_tensors(source: Source) -> dict[str, LazyTensor]:
    """Tensors of any model under our names.

    Raises:
        CheckpointError: files are missing, damaged or do not fit each other.
    """
    if source.kind == "released":
        return open_released(source).tensors
    return open_adapter(source).tensors if source.kind == "our adapter" else open_folder(source.folder)


def open_adapter(source: Source) -> OpenedModel:
    """Put an adapter of ours onto its base; nothing but small files and a row of each tensor of the base is read yet.

    Args:
        source: of kind "our adapter", with its base.

    Returns:
        the model: LoRA merged (in float32, rounded once to the base's dtype), whole parts as they were trained.

    Raises:
        CheckpointError: tensors that do not fit each other or the config, or a base that is not the one that the
            adapter was made on; all of them listed.
        ValueError: a source without a base.
    """
    if source.base is None:
        raise ValueError(f"{source.folder} was found without its base.")
    folder, where = source.folder, str(source.folder / ADAPTER_FOLDER)
    config = BimbaConfig.from_pretrained(folder)
    base = open_tensors(source.base)
    trained = strip_prefix(open_safetensors(folder / ADAPTER_FOLDER / WEIGHTS_NAME), where)
    scale = lora_scale(read_json(folder / ADAPTER_FOLDER / ADAPTER_CONFIG), where)
    whole, lora = split_lora(trained)
    shapes, tied = tensor_shapes(config)
    needed = {name: base[name] for name in shapes if name in base and name not in whole and name not in tied}
    expected = read_base(folder)
    fix = f"pass the model that it was made on as base (--base): {expected.path}"
    refuse_misfits(
        f"the adapter {folder} on the base {source.base.folder} do not fit the model",
        _misfits(whole, needed, shapes, tied),
        fix,
    )
    refuse_misfits(
        f"the base {source.base.folder} are not those that the adapter {folder} was made on",
        differences(expected, base, needed),
        fix,
    )
    merged = merge_lora(needed, lora, scale, where)
    all_tensors = needed | merged | whole
    tensors = {name: all_tensors[name] for name in shapes if name not in tied}
    logger.info("%s: %d LoRA layers, %d whole tensors on %s", folder, len(merged), len(whole), source.base.folder)
    return OpenedModel(config, tensors, read_processor(folder, config), read_generation_config(folder, config))


def _misfits(
    whole: dict[str, LazyTensor], needed: dict[str, LazyTensor], shapes: dict[str, tuple[int, ...]], tied: set[str]
) -> list[str]:
    """Tensors that the model does not know, lacks, or has in another shape, one line each."""
    problems = [f"unknown   {name} {list(tensor.shape)}" for name, tensor in whole.items() if name not in shapes]
    for name, shape in shapes.items():
        tensor = whole.get(name, needed.get(name))
        if tensor is None and name not in tied:
            problems.append(f"missing   {name} {list(shape)}")
        elif tensor is not None and tensor.shape != shape:
            owner = "the adapter" if name in whole else "the base"
            problems.append(f"misshapen {name} {list(tensor.shape)} of {owner}, the model has {list(shape)}")
    return problems
