"""The small files of a model folder in; what a model is made of out: config, lazy tensors, processor, generation."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoTokenizer, GenerationConfig, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from bimba.checkpoints.tensors import LazyTensor, read_json
from bimba.errors import CheckpointError
from bimba.models.bimba.configuration import BimbaConfig
from bimba.models.bimba.processing import BimbaProcessor
from bimba.models.kinds import VideoConfig, model_of

MOST_LISTED = 40
"""Tensors that an error lists before it only counts them."""


_GENERIC = ("PreTrainedTokenizerFast", "TokenizersBackend")
"""What transformers 5 calls tokenizers of no family, from one version to the next."""


@dataclass(frozen=True)
class OpenedModel:
    """A model whose weights are not read yet.

    Args:
        config: ours.
        tensors: every tensor of the model under our names, merged, read when asked for; tied ones once.
        processor: tokenizer and pixels.
        generation_config: the model's own.
    """

    config: BimbaConfig
    tensors: dict[str, LazyTensor]
    processor: BimbaProcessor
    generation_config: GenerationConfig


def tensor_shapes(config: VideoConfig) -> tuple[dict[str, tuple[int, ...]], set[str]]:
    """Shape of each tensor of a model, by name and in its order; and the names of those that are tied to others."""
    with torch.device("meta"):
        skeleton = model_of(config)
    shapes = {name: tuple(tensor.shape) for name, tensor in skeleton.state_dict().items()}
    return shapes, set(skeleton.all_tied_weights_keys)


def refuse_misfits(what: str, problems: Sequence[str], fix: str) -> None:
    """Raise if there are problems, the first of them listed.

    Raises:
        CheckpointError: there are some.
    """
    if not problems:
        return
    listed = "\n    ".join(problems[:MOST_LISTED])
    more = f"\n    ... and {len(problems) - MOST_LISTED} more" if len(problems) > MOST_LISTED else ""
    raise CheckpointError(f"{len(problems)} tensors of {what}:\n    {listed}{more}", fix=fix)


def read_tokenizer(folder: Path, config: BimbaConfig) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder; code that a folder may bring along is never run.

    Raises:
        CheckpointError: its files are damaged or do not belong together.
    """
    try:
        tokenizer: PreTrainedTokenizerBase
        if _says_all_by_itself(folder):
            tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
        else:
            # The language model's config says which tokenizer it is; the folder's own may be of a type that
            # transformers does not know.
            tokenizer = AutoTokenizer.from_pretrained(folder, config=config.text_config, trust_remote_code=False)
    except Exception as error:  # the tokenizers library raises this very class for damaged files
        raise CheckpointError(
            f"the tokenizer files of {folder} cannot be read ({type(error).__name__}: {error}).",
            fix="fetch or copy tokenizer.json, tokenizer_config.json, vocab.json and merges.txt again.",
        ) from error
    return tokenizer


def _says_all_by_itself(folder: Path) -> bool:
    """Whether tokenizer.json is all there is to know: the class of the language model's family would read another."""
    settings = folder / "tokenizer_config.json"
    named = read_json(settings).get("tokenizer_class") if settings.is_file() else None
    return named in _GENERIC and (folder / "tokenizer.json").is_file()


def read_processor(folder: Path, config: BimbaConfig) -> BimbaProcessor:
    """The processor of a folder of ours: what the config says counts, but for the colours."""
    settings = read_json(folder / "processor_config.json")
    pixels = {name: settings[name] for name in ("image_mean", "image_std") if name in settings}
    return BimbaProcessor.from_config(config, read_tokenizer(folder, config), **pixels)


def read_generation_config(folder: Path, config: VideoConfig) -> GenerationConfig:
    """The base's generation config; one made from the language model's config if it has none."""
    if (folder / "generation_config.json").is_file():
        return GenerationConfig.from_pretrained(folder)
    return GenerationConfig.from_model_config(config.text_config)
