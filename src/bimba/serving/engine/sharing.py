"""A model in, whether its answers can share steps out: it is tried, not guessed from the model's name.

Shapes: L tokens of a prompt, N words of the vocabulary.
"""

import inspect
import logging
from typing import Any

import torch
from torch import Tensor

from bimba.inference.prefix import empty_cache
from bimba.inference.video_qa import VideoQA
from bimba.models.bimba.modeling import BimbaForConditionalGeneration
from bimba.serving.engine.rows import Rows

logger = logging.getLogger(__name__)

_LENGTHS = (5, 11, 8)
"""Of prompts that are tried together, the shorter ones before and behind the longest."""

MOST_DIFFERENCE = {torch.float32: 1e-3, torch.float64: 1e-3}
"""Share of their size by which logits of a step may differ, together and alone; rounding makes 1e-6 of it."""

_MOST_OF_HALF = 0.1
"""Likewise of the types of two bytes, in which the order of sums matters more."""


def why_alone(qa: VideoQA[Any, Any]) -> str | None:
    """Why answers of a model are generated one at a time; None if they can share steps.

    Three prompts of different lengths are read, and a token is added to each, together and alone.
    """
    model = qa.model
    if not isinstance(model, BimbaForConditionalGeneration):
        return "it keeps its videos beside the prompt"
    if empty_cache(model.text_model) is None:
        return "its language model keeps no plain keys and values"
    if not {"past_key_values", "logits_to_keep"} <= set(inspect.signature(model.text_model.forward).parameters):
        return "its language model's forward takes no cache of keys and values"
    difference = _difference(model, (1, 1, 1))
    if not difference <= MOST_DIFFERENCE.get(model.dtype, _MOST_OF_HALF):
        return f"its language model answers otherwise when rows share a step (logits differ by {difference:.2g})"
    logger.info("answers share steps; logits together and alone differ by %.2g", difference)
    return None


def reads_together(qa: VideoQA[Any, Any]) -> bool:
    """Whether pieces of several prompts can be read at a time, of a model whose answers share steps.

    Three prompts of different lengths are read, and pieces of different lengths added to each, together and alone.
    """
    model = qa.model
    if not _takes_places(model.text_model) or _attention(model) not in ("sdpa", "eager"):
        return False  # others take no mask that says of each token what it sees
    difference = _difference(model, (3, 1, 4))
    is_so = difference <= MOST_DIFFERENCE.get(model.dtype, _MOST_OF_HALF)
    how = "several at a time" if is_so else "one by one"
    logger.info("prompts are read %s; logits together and alone differ by %.2g", how, difference)
    return is_so


def as_attention_takes_it(mask: Tensor, model: BimbaForConditionalGeneration) -> Tensor:
    """A mask bool [R, 1, N, M] of what is seen, as the model's attention takes it."""
    if _attention(model) == "sdpa":
        return mask
    return torch.zeros(mask.shape, dtype=model.dtype, device=mask.device).masked_fill(
        ~mask, torch.finfo(model.dtype).min
    )


def _attention(model: BimbaForConditionalGeneration) -> str:
    name: str = model.text_model.config._attn_implementation  # noqa: SLF001 - transformers' own name
    return name


def _takes_places(text_model: Any) -> bool:
    return "position_ids" in inspect.signature(text_model.forward).parameters


@torch.no_grad()
def _difference(model: BimbaForConditionalGeneration, counts: tuple[int, int, int]) -> float:
    """How far logits behind pieces of so many tokens are apart, read together and alone, as a share of their size."""
    text_model, device = model.text_model, model.input_device
    num_words = model.config.tokenizer_size or text_model.config.vocab_size

    def step(ids: Tensor, mask: Tensor, places: Tensor, cache: Any) -> Tensor:
        known = {"position_ids": places} if _takes_places(text_model) else {}
        embeds = model.get_input_embeddings()(ids)
        output = text_model(
            inputs_embeds=embeds, attention_mask=mask, past_key_values=cache, use_cache=True, logits_to_keep=1, **known
        )
        logits: Tensor = output.logits[:, -1].float()
        return logits

    alone, pieces, known = [], [], []
    for length, count in zip(_LENGTHS, counts, strict=True):
        ids = (torch.arange(length + count, device=device)[None] * 7 + length) % num_words
        cache: Any = empty_cache(text_model)
        if cache is None:
            raise ValueError("this language model has no plain keys and values.")
        mask = torch.ones((1, length + count), dtype=torch.long, device=device)
        places = torch.arange(length + count, device=device)[None]
        step(ids[:, :length], mask[:, :length], places[:, :length], cache)
        known.append([(layer.keys, layer.values) for layer in cache.layers])
        alone.append(step(ids[:, length:], mask, places[:, length:], cache))
        pieces.append(torch.nn.functional.pad(ids[:, length:], (max(counts) - count, 0)))
    rows = Rows(len(known[0]))
    for layers in known:
        rows.join(layers)
    shared, mask, places = rows.step(device, counts)
    if mask.ndim > 2:
        mask = as_attention_takes_it(mask, model)
    together = step(torch.cat(pieces), mask, places, shared)
    return float((together - torch.cat(alone)).norm() / torch.cat(alone).norm().clamp(min=1e-9))
