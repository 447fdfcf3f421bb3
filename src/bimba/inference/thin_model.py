"""A model's config in, a model of the same widths out: one layer in each part, few words, and arbitrary weights.

It takes a few seconds and a small part of the memory, and each of its parts works as long as one of the real model.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForImageTextToText, GenerationConfig

from bimba.models.bimba.configuration import BimbaConfig
from bimba.models.bimba.modeling import BimbaForConditionalGeneration
from bimba.models.bimba.towers import is_convolutional

FEWEST_FRAMES = 2
"""That it looks at: of more frames that are pooled into one, it pools so many."""

VOCABULARY = 256
"""Its words."""

# Weights: any numbers that no operation makes infinite; a short row of them is copied everywhere, which is quick.
_ROW, _WEIGHT_STD = 2**16, 0.02


def thin_model(
    config: BimbaConfig, device: torch.device, dtype: torch.dtype, attn_implementation: str | None = None
) -> BimbaForConditionalGeneration:
    """A model of the same widths with one layer in each part, few words, and arbitrary weights.

    A convolutional tower, whose layers differ from each other, is left whole.

    Args:
        config: the model's.
        device: where it goes.
        dtype: of its weights.
        attn_implementation: as of `bimba.load`.

    Raises:
        ValueError: there is no such model with one layer.
    """
    settings = config.to_dict()
    settings["text_config"] = _with_one_layer(config.text_config)
    settings["text_config"].vocab_size = VOCABULARY
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):  # they may be beyond its words
        setattr(settings["text_config"], name, None)
    if not is_convolutional(config.vision_config):
        settings["vision_config"] = _with_one_layer(config.vision_config)
    if config.compressor.get("queries") != "learned":  # whose groups are counted
        settings["temporal_pooling"] = min(config.temporal_pooling, FEWEST_FRAMES)
    settings |= {"vision_feature_layer": -1, "video_token_id": None, "tokenizer_size": None}
    with torch.device("meta"):
        model: BimbaForConditionalGeneration = AutoModelForImageTextToText.from_config(
            BimbaConfig.from_dict(settings), dtype=dtype, attn_implementation=attn_implementation
        )
    model.to_empty(device=device)
    kept = tuple(BimbaForConditionalGeneration._keep_in_fp32_modules_strict)  # noqa: SLF001 - transformers' own name
    row = torch.randn(_ROW, generator=torch.Generator().manual_seed(0)).mul(_WEIGHT_STD)
    row = row.to(device=device, dtype=dtype)
    for name, parameter in model.named_parameters():
        if name.endswith(kept):
            parameter.data = parameter.data.float()
        _fill(parameter.data, row)
    for buffer in model.buffers():
        _fill(buffer, row)
    model.generation_config = model.language_model.generation_config = GenerationConfig()
    model.train(False)
    return model


def only_layer(module: nn.Module) -> nn.Module | None:
    """The layer of a model that has one; None if it keeps its layers in no list."""
    lists = (part for part in module.modules() if isinstance(part, nn.ModuleList) and len(part) == 1)
    first = next(lists, None)
    return None if first is None else first[0]


def _with_one_layer(config: Any) -> Any:
    """The same config with one layer, and of what is listed for each layer that of the first."""
    thin, depth = copy.deepcopy(config), depth_of(config)
    for name, value in config.to_dict().items():
        if isinstance(value, list) and len(value) == depth:
            setattr(thin, name, value[:1])
    thin.num_hidden_layers = 1
    return thin


def depth_of(config: Any) -> int | None:
    """Layers of a part; the attribute follows each family's own name for it (n_layer, ...)."""
    return int(config.num_hidden_layers) if hasattr(config, "num_hidden_layers") else None


def _fill(tensor: Tensor, row: Tensor) -> None:
    """Overwrite what is in a tensor with copies of a row; indices and flags with zeros."""
    if not tensor.is_floating_point():
        tensor.zero_()
        return
    flat = tensor.view(-1)
    whole = len(flat) // len(row) * len(row)
    flat[:whole].view(-1, len(row)).copy_(row)
    flat[whole:].copy_(row[: len(flat) - whole])
