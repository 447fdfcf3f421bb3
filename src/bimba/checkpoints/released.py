"""A released base, alone or with its adapter, in; our config, our tensors (lazily) and the processor out."""

from dataclasses import dataclass
from pathlib import Path

from bimba.checkpoints.lora import lora_scale, merge_lora, strip_prefix
from bimba.checkpoints.opened import (
    OpenedModel,
    read_generation_config,
    read_tokenizer,
    refuse_misfits,
    tensor_shapes,
)
from bimba.checkpoints.released_config import read_released_config
from bimba.checkpoints.released_names import is_buffer, to_ours
from bimba.checkpoints.source import ADAPTER_CONFIG, ADAPTER_STEM, TRAINABLES_STEM, Source
from bimba.checkpoints.tensors import LazyTensor, open_either, open_folder, read_json
from bimba.errors import CheckpointError
from bimba.models.bimba.configuration import BimbaConfig
from bimba.models.bimba.processing import BimbaProcessor


@dataclass(frozen=True)
class ReleasedModel(OpenedModel):
    """A released model, translated.

    Args:
        replaced: what the base holds, under public names, and our model does not: tensors that the adapter changed or
            replaced, and buffers that follow from the config.
    """

    replaced: dict[str, LazyTensor]


def open_released(source: Source) -> ReleasedModel:
    """Translate a released model; nothing but small files is read yet.

    Raises:
        CheckpointError: files that do not fit each other; unknown, missing or misshapen tensors, listed.
    """
    config = read_released_config(source.folder, source.adapter)
    base = open_folder(source.folder)
    released = dict(base)
    if source.adapter is not None:
        released.update(adapter_tensors(source.adapter, base))
    tensors = _translated(released, config, source)
    replaced = {name: tensor for name, tensor in base.items() if released[name] is not tensor or is_buffer(name)}
    config.dtype = tensors["language_model.model.embed_tokens.weight"].dtype
    processor = BimbaProcessor.from_config(config, read_tokenizer(source.folder, config))
    return ReleasedModel(config, tensors, processor, read_generation_config(source.folder, config), replaced)


def adapter_tensors(adapter: Path, base: dict[str, LazyTensor]) -> dict[str, LazyTensor]:
    """Tensors, under public names, that an adapter changes, replaces or adds.

    Raises:
        CheckpointError: the adapter is unsafe, not LoRA, or for another base.
    """
    lora = open_either(adapter, ADAPTER_STEM)
    trainables = open_either(adapter, TRAINABLES_STEM)
    if lora is None or trainables is None:
        raise CheckpointError(f"{adapter} lacks weights.", fix=f"hf download MODEL_ID --local-dir {adapter}")
    scale = lora_scale(read_json(adapter / ADAPTER_CONFIG), str(adapter))
    merged = merge_lora(base, strip_prefix(lora, f"{adapter}/{ADAPTER_STEM}"), scale, str(adapter))
    return merged | strip_prefix(trainables, f"{adapter}/{TRAINABLES_STEM}")


def _translated(released: dict[str, LazyTensor], config: BimbaConfig, source: Source) -> dict[str, LazyTensor]:
    """Our names, each tensor known, present and of the right shape."""
    shapes, tied = tensor_shapes(config)
    tensors, problems = to_ours(released, shapes)
    problems += [
        f"missing   {name} {list(shape)}" for name, shape in shapes.items() if name not in tensors and name not in tied
    ]
    pair = f"{source.adapter} on {source.folder}" if source.adapter else str(source.folder)
    refuse_misfits(
        f"{pair} do not fit the model",
        problems,
        "pass the adapter with the base it was trained on; if files are damaged, fetch them again.",
    )
    return {name: tensors[name] for name in shapes if name in tensors}
