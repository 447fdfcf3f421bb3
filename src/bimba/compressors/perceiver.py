"""Flamingo's resampler: video tokens [B, T, H, W, D] in, latents that have looked at them [B, T', H', W', D] out.

Shapes: B batch, T frames, H x W patches a frame, S = T H W video tokens, Q = T' H' W' latents, D width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from bimba.compressors.attention import Attention
from bimba.compressors.grid_positions import SMALLEST_DIM, place_encoding, time_encoding
from bimba.compressors.joint_sequence import check_shapes
from bimba.compressors.learned_queries import LearnedQueries
from bimba.compressors.norms import ExactLayerNorm
from bimba.ops import PoolMode, pooled_shape

EXPAND = 4
"""Inner width of the feed-forward layers over D (arXiv 2204.14198, table of transformer sizes in the appendix)."""


class PerceiverLayer(nn.Module):
    """Cross-attention and feed-forward, each behind a norm and with a residual.

    Args:
        dim: D.
        num_heads: None for heads of width 64.
        norm_eps: epsilon of the norms.
    """

    def __init__(self, dim: int, num_heads: int | None, *, norm_eps: float) -> None:
        super().__init__()
        self.norm_tokens = ExactLayerNorm(dim, eps=norm_eps)
        self.norm_latents = ExactLayerNorm(dim, eps=norm_eps)
        self.attention = Attention(dim, num_heads)
        self.norm_inner = ExactLayerNorm(dim, eps=norm_eps)
        self.up_proj = nn.Linear(dim, EXPAND * dim, bias=False)
        self.down_proj = nn.Linear(EXPAND * dim, dim, bias=False)

    def forward(self, latents: Tensor, tokens: Tensor) -> Tensor:
        """Latents look at the tokens and at each other: [B, Q, D], [B, S, D] -> [B, Q, D]."""
        asking = self.norm_latents(latents)
        latents = latents + self.attention(asking, torch.cat([self.norm_tokens(tokens), asking], dim=1))
        inner = functional.relu(self.up_proj(self.norm_inner(latents))).square()
        mixed: Tensor = latents + self.down_proj(inner)
        return mixed


class PerceiverResampler(nn.Module):
    """Compress a video's tokens into learned latents by cross-attention (Flamingo, arXiv 2204.14198, section 2.1).

    As in the paper's pseudo-code (appendix, figure 5): positions are added to the tokens, and in each layer latents
    attend to tokens and latents together and go through a feed-forward layer with squared ReLU. Pre-norms, and a norm
    of the result, are LayerNorms; the pseudo-code leaves them out.

    What has to differ from Flamingo:

    - Videos are of any length, and the language model shall get as many tokens as from every other compressor. So the
      latents are not 64 but a grid H' x W', learned once, for each group of pt frames; the sinusoids of the group's
      middle tell it from the others.
    - Flamingo learns a time embedding for each of its 8 frames and none for places, which its vision tower has
      encoded. Embeddings for lengths that training has not seen cannot be learned, so sinusoids of time, row and
      column are added, in channels of their own. The tokens are normalised first, so that neither sinusoids nor
      contents drown in the other, whatever the projector's scale.

    Example:
        >>> import torch
        >>> from bimba.compressors import PerceiverResampler
        >>> compressor = PerceiverResampler(dim=32, learned_grid=(3, 3), pool=(2, 2, 2))
        >>> compressor(torch.zeros(1, 4, 5, 5, 32)).shape
        torch.Size([1, 2, 3, 3, 32])

    Args:
        dim: width D of the tokens, at least 6.
        learned_grid: (H', W') of the latents: what pooling would leave of the sides of a frame (see `pooled_shape`).
        pool: factors (pt, ph, pw) by which there are fewer latents than tokens over time, height and width.
        pool_mode: how sizes are rounded: "bilinear" up, "average" and "max" down.
        num_layers: layers of cross-attention and feed-forward (the paper's 6).
        num_heads: heads of attention; None for heads of width 64 (one head if D is smaller).
        norm_eps: epsilon of the LayerNorms.

    Raises:
        ValueError: a size is too small, or the heads do not share D evenly.
    """

    def __init__(
        self,
        dim: int,
        *,
        learned_grid: Sequence[int],
        pool: tuple[int, int, int] = (1, 2, 2),
        pool_mode: PoolMode = "bilinear",
        num_layers: int = 6,
        num_heads: int | None = None,
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        height, width = learned_grid
        if min(num_layers, height, width) < 1 or dim < SMALLEST_DIM:
            raise ValueError(f"num_layers and learned_grid must be at least 1, and dim at least {SMALLEST_DIM}.")
        pooled_shape(*pool, pool, pool_mode)  # wrong factors or an unknown mode are refused here
        self.dim, self.pool, self.pool_mode = dim, pool, pool_mode
        # As large as the sinusoids, so that the latents of a group ask for different things from the start.
        self.latents = LearnedQueries((1, height, width), dim, std=1.0)
        self.norm_tokens = ExactLayerNorm(dim, eps=norm_eps)
        self.layers = nn.ModuleList(PerceiverLayer(dim, num_heads, norm_eps=norm_eps) for _ in range(num_layers))
        self.norm = ExactLayerNorm(dim, eps=norm_eps)

    def output_grid(self, frames: int, height: int, width: int) -> tuple[int, int, int]:
        """Grid (T', H', W') that a grid of frames x height x width tokens becomes."""
        return pooled_shape(frames, height, width, self.pool, self.pool_mode)

    def forward(self, tokens: Tensor, queries: Tensor | None = None) -> Tensor:
        """Compress.

        Args:
            tokens: [B, T, H, W, D].
            queries: [B, ..., D], used as they are instead of the learned latents; their shape is the result's.

        Returns:
            [B, T // pt, H', W', D], or the shape of `queries`.

        Raises:
            ValueError: shapes do not fit, nothing is left of the grid, or H' x W' is not that of the latents.
        """
        check_shapes(tokens, queries, self.dim)
        if queries is None:
            queries = self._own_latents(tokens)
        latents, placed = queries.flatten(1, -2), self._placed(tokens).flatten(1, 3)
        for layer in self.layers:
            latents = layer(latents, placed)
        result: Tensor = self.norm(latents)
        return result.reshape(queries.shape)

    def _placed(self, tokens: Tensor) -> Tensor:
        """Normalised tokens that know their time, row and column [B, T, H, W, D]."""
        _, frames, height, width, _ = tokens.shape
        times = time_encoding(torch.arange(frames, device=tokens.device), self.dim)
        places = place_encoding(height, width, self.dim, tokens.device)
        placed: Tensor = self.norm_tokens(tokens) + (times[:, None, None] + places).to(tokens.dtype)
        return placed

    def _own_latents(self, tokens: Tensor) -> Tensor:
        """The learned grid for each group of frames, with the time of the group's middle [B, T', H', W', D]."""
        batch = tokens.shape[0]
        groups, height, width = self.output_grid(*tokens.shape[1:4])
        learned: Tensor = self.latents((1, height, width), batch)
        group = self.pool[0]
        middles = torch.arange(groups, device=tokens.device) * group + (group - 1) / 2
        return learned.to(tokens.dtype) + time_encoding(middles, self.dim)[:, None, None].to(tokens.dtype)

    def extra_repr(self) -> str:
        """Settings shown by print(module)."""
        return f"dim={self.dim}, pool={self.pool}, pool_mode={self.pool_mode!r}"
