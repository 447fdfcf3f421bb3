"""The class and the config of a thin model in, the model out: few words and arbitrary weights, quickly made.

It takes a few seconds and a small part of the memory, and each of its parts works as long as one of the real model.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForImageTextToText, GenerationConfig

from bimba.errors import InputError
from bimba.models.kinds import VideoConfig

FEWEST_FRAMES = 2
"""That a thin model looks at."""

VOCABULARY = 256
"""Its words."""

# Weights: any numbers that no operation makes infinite; a short row of them is copied everywhere, which is quick.
_ROW, _WEIGHT_STD = 2**16, 0.02


@dataclass(frozen=True)
class Place:
    """Where and how a model would be.

    Args:
        device: where it goes.
        dtype: of its weights.
        attn_implementation: as of `bimba.load`.
    """

    device: torch.device
    dtype: torch.dtype
    attn_implementation: str | None = None

    def refusal(self, error: Exception) -> InputError:
        """What to say if no model can be made there, if a kind of attention was asked for."""
        return InputError(
            f"no model can be made with attn_implementation {self.attn_implementation!r} here: {error}",
            fix="leave --attn-implementation out, or name another.",
        )


def without_words(text_config: Any) -> Any:
    """Give a language model's config few words, in place; its special ones may be beyond them."""
    text_config.vocab_size = VOCABULARY
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        setattr(text_config, name, None)
    return text_config


def with_arbitrary_weights(config: VideoConfig, place: Place) -> Any:
    """A model of a config, whose weights are arbitrary.

    Raises:
        ValueError: there is no such model.
    """
    with torch.device("meta"):
        model: Any = AutoModelForImageTextToText.from_config(
            config, dtype=place.dtype, attn_implementation=place.attn_implementation
        )
    model.to_empty(device=place.device)
    kept = tuple(model._keep_in_fp32_modules_strict)  # noqa: SLF001 - transformers' own name
    row = torch.randn(_ROW, generator=torch.Generator().manual_seed(0)).mul(_WEIGHT_STD)
    row = row.to(device=place.device, dtype=place.dtype)
    for name, parameter in model.named_parameters():
        if name.endswith(kept):
            parameter.data = parameter.data.float()
        _fill(parameter.data, row)
    for buffer in model.buffers():
        _fill(buffer, row)
    model.generation_config = GenerationConfig()
    model.train(False)
    return model


def num_parameters(*parts: nn.Module) -> int:
    """Of all of them."""
    return sum(weight.numel() for part in parts for weight in part.parameters())


def _fill(tensor: Tensor, row: Tensor) -> None:
    """Overwrite what is in a tensor with copies of a row; indices and flags with zeros."""
    if not tensor.is_floating_point():
        tensor.zero_()
        return
    flat = tensor.view(-1)
    whole = len(flat) // len(row) * len(row)
    flat[:whole].view(-1, len(row)).copy_(row)
    flat[whole:].copy_(row[: len(flat) - whole])
