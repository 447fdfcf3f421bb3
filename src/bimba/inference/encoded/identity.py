"""A model in, a hash of the part of it that encodes videos out: whose encodings another model may read."""

import hashlib
import json
from typing import Any

import torch
from torch import Tensor

from bimba.errors import InputError
from bimba.models.bimba.modeling import BimbaForConditionalGeneration
from bimba.models.bimba.processing import BimbaProcessor

_PARTS = ("vision_tower", "projector", "compressor", "separators")
_OF_THE_TOWER = ("model_type", "image_size", "patch_size", "num_attention_heads", "hidden_act", "layer_norm_eps")
_OF_THE_MODEL = (
    "compressor", "projector_hidden_act", "pool_mode", "newline_position", "vision_feature_layer",
    "vision_feature_select_strategy",
)  # fmt: skip


def encoder_identity(model: BimbaForConditionalGeneration, processor: BimbaProcessor) -> str:
    """Hash of everything that turns frames into tokens, but for how much is pooled.

    Weights are rounded to bfloat16, so that a model is the same in float32 and in bfloat16 (not in float16, which
    rounds in between); the language model does not count, since it only reads what is encoded.

    Args:
        model: a BIMBA model.
        processor: its processor.

    Returns:
        a SHA-256 in hexadecimal.

    Raises:
        InputError: weights have no place yet (offloaded to disk), so that nobody can read them.
    """
    digest = hashlib.sha256(json.dumps(_settings(model, processor), sort_keys=True).encode())
    for part in _PARTS:
        for name, weight in sorted(getattr(model, part).state_dict().items()):
            digest.update(f"{part}.{name} {list(weight.shape)}\n".encode())
            digest.update(_bytes(weight))
    return digest.hexdigest()


def _settings(model: BimbaForConditionalGeneration, processor: BimbaProcessor) -> dict[str, Any]:
    tower = {name: getattr(model.config.vision_config, name, None) for name in _OF_THE_TOWER}
    ours = {name: getattr(model.config, name) for name in _OF_THE_MODEL}
    return ours | {"tower": tower, "mean": processor.image_mean, "std": processor.image_std}


def _bytes(weight: Tensor) -> bytes:
    if weight.device.type == "meta":
        raise InputError(
            "parts of the model are offloaded, so that it cannot be told whether an encoded video is its own.",
            fix="load the model where it fits (device='cpu', or a smaller dtype).",
        )
    plain = weight.detach().to(torch.bfloat16) if weight.is_floating_point() else weight.detach()
    return plain.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
