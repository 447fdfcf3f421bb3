"""Full self-attention in BIMBA's frame: video tokens [B, T, H, W, D] in, queries [B, T', H', W', D] out.

Shapes: B batch, S video tokens, Q queries, L = S + Q, D width.
"""

import torch
from torch import Tensor, nn

from bimba.compressors.attention import Attention
from bimba.compressors.joint_sequence import JointSequenceCompressor
from bimba.compressors.norms import ExactRMSNorm
from bimba.ops import PoolMode
from bimba.ops.interleave import token_positions


class SelfAttentionLayer(nn.Module):
    """norm -> self-attention -> residual, on the joint sequence of tokens and queries.

    Args:
        dim: D.
        num_heads: None for heads of width 64.
        norm_eps: epsilon of the RMSNorm.
    """

    def __init__(self, dim: int, num_heads: int | None, *, norm_eps: float) -> None:
        super().__init__()
        self.norm = ExactRMSNorm(dim, eps=norm_eps)
        self.attention = Attention(dim, num_heads, rotary=True, starts_at_zero=True)

    def forward(self, sequence: Tensor, queries: Tensor | None = None, positions: Tensor | None = None) -> Tensor:
        """What a joint sequence becomes, or with `queries` and `positions` what these become, for Q / L of the scores.

        Args:
            sequence: tokens and queries [B, L, D]; or the tokens alone [B, S, D], with
            queries: [B, Q, D], to be read as standing at
            positions: rising int64 [Q], in the joint sequence.

        Returns:
            [B, L, D]; with queries, that at the positions [B, Q, D].
        """
        if queries is None or positions is None:
            rows = self.norm(sequence)
            places = torch.arange(sequence.shape[1])
            mixed: Tensor = self.attention(rows, rows, (places, places))
            return sequence + mixed
        # In which order keys come does not matter to attention, only which positions they are said to have.
        num_tokens = sequence.shape[1]
        rows = self.norm(torch.cat([sequence, queries], dim=1))
        places = torch.cat([token_positions(num_tokens, positions), positions])
        filled: Tensor = self.attention(rows[:, num_tokens:], rows, (positions, places))
        return queries + filled


class SelfAttentionCompressor(JointSequenceCompressor):
    """Compress a video's tokens by full self-attention: what BIMBA's paper compares its scan with.

    All is as in `SelectiveScanCompressor` (queries pooled from the tokens and spread evenly among them, RMSNorm,
    residual, only the queries leave; BIMBA, arXiv 2503.09590, section 3.3), but each layer mixes the joint sequence by
    attention, with rotary positions over its order. Time and memory traffic grow with the square of its length; in the
    last layer only the queries ask. A fresh compressor returns its queries unchanged.

    Example:
        >>> import torch
        >>> from bimba.compressors import SelfAttentionCompressor
        >>> compressor = SelfAttentionCompressor(dim=32, pool=(2, 2, 2))
        >>> compressor(torch.zeros(1, 4, 5, 5, 32)).shape
        torch.Size([1, 2, 3, 3, 32])

    Args:
        dim: width D of the tokens.
        pool: factors (pt, ph, pw) by which queries are pooled from the tokens over time, height and width.
        pool_mode: "bilinear" (sizes rounded up), "average" or "max" (rounded down).
        num_layers: layers of norm, attention and residual.
        num_heads: heads of attention; None for heads of width 64 (one head if D is smaller).
        norm_eps: epsilon of the RMSNorm.
        multi_scale: between layers, keep the tokens of every second frame only (no effect with one layer).

    Raises:
        ValueError: a size is below 1, or the heads do not share D evenly.
    """

    def __init__(
        self,
        dim: int,
        *,
        pool: tuple[int, int, int] = (1, 2, 2),
        pool_mode: PoolMode = "bilinear",
        num_layers: int = 1,
        num_heads: int | None = None,
        norm_eps: float = 1e-6,
        multi_scale: bool = True,
    ) -> None:
        if min(dim, num_layers, *pool) < 1:
            raise ValueError("dim, num_layers and pool must be at least 1.")
        super().__init__(dim, pool=pool, pool_mode=pool_mode, multi_scale=multi_scale)
        self.layers = nn.ModuleList(SelfAttentionLayer(dim, num_heads, norm_eps=norm_eps) for _ in range(num_layers))

    def extra_repr(self) -> str:
        """Settings shown by print(module)."""
        return f"dim={self.dim}, pool={self.pool}, pool_mode={self.pool_mode!r}"
