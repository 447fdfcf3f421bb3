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
    together, alone = _tried(model)
    difference = float((together - alone).norm() / alone.norm().clamp(min=1e-9))
    most = MOST_DIFFERENCE.get(model.dtype, _MOST_OF_HALF)
    if not difference <= most:
        return f"its language model answers otherwise when rows share a step (logits differ by {difference:.2g})"
    logger.info("answers share steps; logits together and alone differ by %.2g", difference)
    return None


@torch.no_grad()
def _tried(model: BimbaForConditionalGeneration) -> tuple[Tensor, Tensor]:
    """Logits [3, N] of the token behind each prompt, of a step that they share and of steps of their own."""
    language_model, device = model.text_model, model.input_device
    takes_places = "position_ids" in inspect.signature(language_model.forward).parameters
    num_words = model.config.tokenizer_size or language_model.config.vocab_size

    def step(ids: Tensor, mask: Tensor, places: Tensor, cache: Any) -> Tensor:
        known = {"position_ids": places} if takes_places else {}
        embeds = model.get_input_embeddings()(ids)
        output = language_model(
            inputs_embeds=embeds, attention_mask=mask, past_key_values=cache, use_cache=True, logits_to_keep=1, **known
        )
        logits: Tensor = output.logits[:, -1].float()
        return logits

    rows, alone, last = Rows(), [], []
    for length in _LENGTHS:
        ids = (torch.arange(length + 1, device=device)[None] * 7 + length) % num_words
        cache = empty_cache(language_model)
        if cache is None:
            raise ValueError("this language model has no plain keys and values.")
        mask = torch.ones((1, length + 1), dtype=torch.long, device=device)
        places = torch.arange(length + 1, device=device)[None]
        step(ids[:, :length], mask[:, :length], places[:, :length], cache)
        rows.join(cache)
        alone.append(step(ids[:, length:], mask, places[:, length:], cache))
        last.append(ids[:, length:])
    shared, mask, places = rows.step(device)
    return step(torch.cat(last), mask, places, shared), torch.cat(alone)
