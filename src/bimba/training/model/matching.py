"""A language model with random weights in; the same with attention that looks for like things from the first step out.

Answers about a video are looked up in it: the word of a question has to find the token that stands for the same thing,
and to bring along what else is there. From random weights that takes thousands of steps to be found. Here queries and
keys begin alike, so that tokens attend to others that point where they do, and values come out as they went in, halved
(mimetic initialisation, Trockman and Kolter 2023, arXiv 2305.09828).

Shapes: D width of the language model, G groups of heads that share keys and values, h width of a head.
"""

from typing import Any

import torch
from torch import nn

from bimba.errors import InputError

SHARPNESS = 0.06
"""Spread of queries and keys at a width of 192: a token meets its like with a score of about 4, others with 0 to 1."""
HANDED_ON = 0.5
"""Share of what a token attends to that is added to it."""


def begin_matching(language_model: Any) -> None:
    """Set the weights of a language model's attention, in place.

    Raises:
        InputError: it has no layers with q_proj, k_proj, v_proj and o_proj of one width.
    """
    layers = [module for module in language_model.modules() if hasattr(module, "q_proj") and hasattr(module, "o_proj")]
    if not layers:
        raise InputError(
            "model.attention is matching, but this language model has no layers with q_proj and o_proj.",
            fix="leave model.attention out, or take a language model such as qwen2.",
        )
    for layer in layers:
        _set(layer)


@torch.no_grad()
def _set(layer: Any) -> None:
    head, query, key = int(layer.head_dim), layer.q_proj.weight, layer.k_proj.weight
    value, output = layer.v_proj.weight, layer.o_proj.weight
    width, groups = query.shape[1], len(key) // head
    heads_a_group = len(query) // len(key)
    if len(value) > width:
        raise InputError(
            f"model.attention is matching, but values of {len(value)} numbers cannot be handed on in {width}.",
            fix="leave model.attention out, or choose heads that together are no wider than the model.",
        )
    nn.init.normal_(key, std=SHARPNESS * (192 / width) ** 0.5)
    shared = key.view(groups, 1, head, width).expand(groups, heads_a_group, head, width)
    query.copy_(shared.reshape(-1, width))
    nn.init.orthogonal_(value)  # rows, so that what is projected by them comes back by their transpose
    back = value.view(groups, 1, head, width).expand(groups, heads_a_group, head, width).reshape(-1, width)
    output.copy_(back.T * (HANDED_ON / heads_a_group))
    for projection in (layer.q_proj, layer.k_proj, layer.v_proj, layer.o_proj):
        if projection.bias is not None:
            nn.init.zeros_(projection.bias)
