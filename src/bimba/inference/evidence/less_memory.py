"""A language model in; for as long as it lasts, one whose backward pass holds the inside of one layer at a time out."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

_ONE_AT_A_TIME = threading.Lock()


@contextmanager
def recomputed_layers(model: nn.Module) -> Iterator[None]:
    """Layers keep their inputs alone, and are computed again in the backward pass.

    transformers' own switch for this is the whole model's, wants it to be in training, and takes the cache from whoever
    generates meanwhile. Here only calls with gradients are others, and these are a thread's own matter: generation in
    other threads goes on as it was. Two threads that want gradients wait for each other.

    Args:
        model: whose layers transformers could recompute, too; others keep everything.
    """
    with _ONE_AT_A_TIME:
        layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
        # What accelerate puts over a layer of an offloaded model stays, around the layer itself.
        replaced = [layer.__dict__.get("forward") for layer in layers]
        for layer in layers:
            layer.forward = _recomputed(layer.forward)
        try:
            yield
        finally:
            for layer, own in zip(layers, replaced, strict=True):
                del layer.forward
                if own is not None:
                    layer.forward = own


def _recomputed(forward: Callable[..., Any]) -> Callable[..., Any]:
    def recomputing(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, preserve_rng_state=False, **kwargs)

    return recomputing
