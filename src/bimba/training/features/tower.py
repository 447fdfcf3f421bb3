"""A vision tower in, a digest by which it is known again out."""

import hashlib
import json
from typing import Any

import torch
from torch import nn

from bimba.errors import InputError

_NOT_OF_FEATURES = {"transformers_version", "dtype", "torch_dtype", "architectures", "vision_use_head"}
"""Keys of a tower's config that change nothing of a hidden state."""


def tower_digest(tower: nn.Module) -> str:
    """A hash of a vision tower's settings and of names, shapes, dtypes and bytes of its weights.

    Raises:
        InputError: its weights are spread over several processes.
    """
    config: Any = tower.config
    settings = config.to_diff_dict()
    kept = {name: settings[name] for name in settings.keys() - _NOT_OF_FEATURES if not name.startswith("_")}
    digest = hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode())
    for name, tensor in sorted(tower.state_dict().items()):
        digest.update(f"{name} {list(tensor.shape)} {tensor.dtype}\n".encode())
        if tensor.is_meta:  # of a process that gets its weights from the first one
            continue
        if not tensor.numel():
            raise InputError(
                "the weights of the vision tower are spread over processes, so that no features can be made for "
                "data.cache.",
                fix="train with FSDP or DeepSpeed's stage 2, or leave data.cache out.",
            )
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
