"""Text and the kept keys and values of a video in, what the text reads in it out.

Shapes: B samples, n rows of text for each of them (beams), L text tokens, V video tokens, D width, H heads, K key-value
heads, P width of a head.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.qwen2_vl.modeling_qwen2_vl import eager_attention_forward, rotate_half

from bimba.models.vamba.context import KeysValues, Readable

Rotation = tuple[Tensor, Tensor]
"""Cosines and sines [B, L or V, P] of positions."""


class CrossAttention(nn.Module):
    """Attention of text over video (Vamba, arXiv 2503.11579, section 3.2); every text token sees every video token.

    Args:
        config: the language model's.
        layer_idx: number of the layer.
    """

    def __init__(self, config: Any, layer_idx: int) -> None:
        super().__init__()
        self.config, self.layer_idx = config, layer_idx
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.num_key_value_heads = config.num_key_value_heads
        self.num_key_value_groups = config.num_attention_heads // config.num_key_value_heads
        self.scaling = self.head_dim**-0.5
        self.is_causal = False
        inner = config.num_attention_heads * self.head_dim
        self.q_proj = nn.Linear(config.hidden_size, inner)
        self.k_proj = nn.Linear(config.hidden_size, self.num_key_value_heads * self.head_dim)
        self.v_proj = nn.Linear(config.hidden_size, self.num_key_value_heads * self.head_dim)
        self.o_proj = nn.Linear(inner, config.hidden_size, bias=False)

    def keys_values(self, video: Tensor, rotation: Rotation | None) -> KeysValues:
        """Keys and values of video tokens [B, V, D], the keys rotated where the model wants positions."""
        keys, values = (self._heads(layer(video)) for layer in (self.k_proj, self.v_proj))
        return KeysValues(keys if rotation is None else _rotated(keys, rotation), values)

    def forward(
        self, text: Tensor, kept: KeysValues, readable: Readable, rotation: Rotation | None
    ) -> tuple[Tensor, Tensor | None]:
        """Read.

        Args:
            text: [B n, L, D].
            kept: keys and values [B, K, V, P].
            readable: which of them each text token sees.
            rotation: of the text's positions, [B n, L, P].

        Returns:
            [B n, L, D], and the weights [B n, H, L, V] where the implementation has them ("eager").
        """
        rows, length, _ = text.shape
        queries = self._heads(self.q_proj(text))
        if rotation is not None:
            queries = _rotated(queries, rotation)
        # Beams of one sample read the same video: they are more queries, not more videos.
        samples = rows // readable.rows_per_sample
        queries = queries.unflatten(0, (samples, -1)).transpose(1, 2).flatten(2, 3)
        kept = KeysValues(*(tensor.to(queries.device, queries.dtype) for tensor in kept))
        read, weights = self._attend(queries, kept, readable.mask)
        read = read.unflatten(1, (readable.rows_per_sample, length)).reshape(rows, length, -1)
        if weights is not None:
            weights = weights.unflatten(2, (readable.rows_per_sample, length)).transpose(1, 2).flatten(0, 1)
        output: Tensor = self.o_proj(read)
        return output, weights

    def _attend(self, queries: Tensor, kept: KeysValues, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """[B, H, n L, P] over [B, K, V, P] -> [B, n L, H, P], by the implementation that the config names."""
        name = self.config._attn_implementation  # noqa: SLF001 - transformers' own name
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(name, eager_attention_forward)
        if mask is not None and "flash" in name:
            return self._attend_without_masks(attend, queries, kept, mask), None
        if mask is not None:
            mask = additive(mask, queries, self.config)
        output: tuple[Tensor, Tensor | None] = attend(
            self, queries, *kept, mask, scaling=self.scaling, dropout=0.0, is_causal=False
        )
        return output

    def _attend_without_masks(self, attend: Any, queries: Tensor, kept: KeysValues, mask: Tensor) -> Tensor:
        """Sample by sample over the tokens that it has: flash attention takes no mask that is not square.

        Raises:
            ValueError: text tokens of one row see different video tokens.
        """
        if mask.shape[2] > 1:
            raise ValueError("packed rows with videos of their own need attention by sdpa or eager.")
        read = []
        for index, seen in enumerate(mask[:, 0, 0]):
            keys, values = (tensor[index : index + 1, :, seen] for tensor in kept)
            one, _ = attend(
                self, queries[index : index + 1], keys, values, None, scaling=self.scaling, dropout=0.0, is_causal=False
            )
            read.append(one)
        return torch.cat(read)

    def _heads(self, projected: Tensor) -> Tensor:
        """[B, L, heads P] -> [B, heads, L, P]."""
        heads: Tensor = projected.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
        return heads


def _rotated(states: Tensor, rotation: Rotation) -> Tensor:
    """Queries or keys [B, heads, L, P] at their positions (rotary embedding)."""
    cosines, sines = (part.unsqueeze(1).to(states.dtype) for part in rotation)
    rotated: Tensor = states * cosines + rotate_half(states) * sines
    return rotated


def additive(mask: Tensor, like: Tensor, config: Any) -> Tensor:
    """What attention layers add to their scores for a mask [B, 1, L, L or V].

    Args:
        mask: which tokens (columns) each token (row) sees, bool or 0 and 1; floats are added as they are.
        like: a tensor of the dtype that is added to.
        config: names the implementation.

    Raises:
        ValueError: the implementation takes no such mask.
    """
    name = config._attn_implementation  # noqa: SLF001 - transformers' own name
    if name not in ("sdpa", "eager"):
        raise ValueError(f"a mask of pairs of tokens needs attention by sdpa or eager, not {name}.")
    if mask.is_floating_point():
        return mask.to(like.dtype)
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill(~mask.bool(), torch.finfo(like.dtype).min)
