"""A released base, alone or with its adapter, in; our config, our tensors (lazily) and the processor out."""

from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoTokenizer, GenerationConfig, PreTrainedTokenizerBase

from bimba.checkpoints.lora import lora_scale, merge_lora, strip_prefix
from bimba.checkpoints.released_config import read_released_config
from bimba.checkpoints.released_names import is_buffer, to_ours
from bimba.checkpoints.source import ADAPTER_CONFIG, ADAPTER_STEM, TRAINABLES_STEM, Source
from bimba.checkpoints.tensors import LazyTensor, open_either, open_folder, read_json
from bimba.errors import CheckpointError
from bimba.models.bimba.configuration import BimbaConfig
from bimba.models.bimba.modeling import BimbaForConditionalGeneration
from bimba.models.bimba.processing import BimbaProcessor

MOST_LISTED = 40
"""Tensors that an error lists before it only counts them."""


@dataclass(frozen=True)
class ReleasedModel:
    """A released model, translated.

    Args:
        config: ours.
        tensors: every tensor of the model under our names, merged, read when asked for.
        replaced: what the base holds, under public names, and our model does not: tensors that the adapter changed or
            replaced, and buffers that follow from the config.
        processor: tokenizer and pixels.
        generation_config: as released, if there is one.
    """

    config: BimbaConfig
    tensors: dict[str, LazyTensor]
    replaced: dict[str, LazyTensor]
    processor: BimbaProcessor
    generation_config: GenerationConfig


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
    return ReleasedModel(config, tensors, replaced, processor, read_generation_config(source.folder, config))


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
    with torch.device("meta"):
        skeleton = BimbaForConditionalGeneration(config)
    shapes = {name: tuple(tensor.shape) for name, tensor in skeleton.state_dict().items()}
    tied = set(skeleton.all_tied_weights_keys)
    tensors, problems = to_ours(released, shapes)
    problems += [
        f"missing   {name} {list(shape)}" for name, shape in shapes.items() if name not in tensors and name not in tied
    ]
    if problems:
        listed = "\n    ".join(problems[:MOST_LISTED])
        more = f"\n    ... and {len(problems) - MOST_LISTED} more" if len(problems) > MOST_LISTED else ""
        pair = f"{source.adapter} on {source.folder}" if source.adapter else str(source.folder)
        raise CheckpointError(
            f"{len(problems)} tensors of {pair} do not fit the model:\n    {listed}{more}",
            fix="pass the adapter with the base it was trained on; if files are damaged, fetch them again.",
        )
    return {name: tensors[name] for name in shapes if name in tensors}


def read_tokenizer(folder: Path, config: BimbaConfig) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder; code that a folder may bring along is never run.

    Raises:
        CheckpointError: its files are damaged or do not belong together.
    """
    try:
        # The language model's config says which tokenizer it is; the folder's own may be of a type that transformers
        # does not know.
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, config=config.text_config, trust_remote_code=False
        )
    except Exception as error:  # the tokenizers library raises this very class for damaged files
        raise CheckpointError(
            f"the tokenizer files of {folder} cannot be read ({type(error).__name__}: {error}).",
            fix="fetch or copy tokenizer.json, tokenizer_config.json, vocab.json and merges.txt again.",
        ) from error
    return tokenizer


def read_generation_config(folder: Path, config: BimbaConfig) -> GenerationConfig:
    """The base's generation config; one made from the language model's config if it has none."""
    if (folder / "generation_config.json").is_file():
        return GenerationConfig.from_pretrained(folder)
    return GenerationConfig.from_model_config(config.text_config)
