"""BIMBA's frame: video tokens [B, T, H, W, D] in, queries that layers have filled from them [B, T', H', W', D] out.

What the layers do (a selective scan, or attention) is left to the compressors that are built in this frame, so that
they differ in nothing else.

Shapes: B batch, T frames, H x W patches a frame, S = T H W video tokens, Q queries, L = S + Q, C words of a question,
D width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bimba.compressors.learned_queries import LearnedQueries
from bimba.ops import PoolMode, interleave, pool_video, pooled_shape, query_positions
from bimba.ops.interleave import QueryPosition, token_positions

FRAME_STRIDE_BETWEEN_LAYERS = 2


def check_shapes(tokens: Tensor, queries: Tensor | None, dim: int) -> None:
    """Refuse tokens that are not [B, T, H, W, D], and queries that are not [B, ..., D].

    Raises:
        ValueError: shapes do not fit.
    """
    if tokens.ndim != 5 or tokens.shape[-1] != dim:
        raise ValueError(f"video tokens are [B, T, H, W, {dim}]; these are {tuple(tokens.shape)}.")
    if queries is None:
        return
    if queries.ndim < 3 or queries.shape[0] != tokens.shape[0] or queries.shape[-1] != dim:
        raise ValueError(f"queries {tuple(queries.shape)} do not fit tokens {tuple(tokens.shape)}.")


class JointSequenceCompressor(nn.Module):
    """Queries among the tokens, layers over the joint sequence, only the queries out (BIMBA, arXiv 2503.09590).

    A subclass sets `layers`. Each is called with a joint sequence [B, L, D] and returns what it becomes; the last one
    with tokens [B, S, D], queries [B, Q, D] and the queries' places [Q], and returns the queries alone.

    Args:
        dim: D.
        pool: factors (pt, ph, pw) by which queries are pooled from the tokens over time, height and width.
        pool_mode: "bilinear" (sizes rounded up), "average" or "max" (rounded down).
        query_position: where queries stand in the joint sequence.
        multi_scale: between layers, keep the tokens of every second frame only (no effect with one layer).
        learned_grid: (T', H', W') of learned queries; None for pooled ones.

    Raises:
        ValueError: an unknown placement or pool mode.
    """

    layers: nn.ModuleList

    def __init__(
        self,
        dim: int,
        *,
        pool: tuple[int, int, int],
        pool_mode: PoolMode,
        query_position: QueryPosition = "interleaved",
        multi_scale: bool = True,
        learned_grid: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        # An unknown placement or pool mode is refused here, not at the first video.
        query_positions(1, 1, query_position)
        pooled_shape(*pool, pool, pool_mode)
        self.dim, self.pool, self.pool_mode = dim, pool, pool_mode
        self.query_position, self.multi_scale = query_position, multi_scale
        self.learned_queries = None
        if learned_grid is not None:
            frames, height, width = learned_grid
            self.learned_queries = LearnedQueries((frames, height, width), dim)

    def output_grid(self, frames: int, height: int, width: int) -> tuple[int, int, int]:
        """Grid (T', H', W') that a grid of frames x height x width tokens becomes."""
        return pooled_shape(frames, height, width, self.pool, self.pool_mode)

    def forward(self, tokens: Tensor, queries: Tensor | None = None, *, question: Tensor | None = None) -> Tensor:
        """Compress.

        Args:
            tokens: [B, T, H, W, D].
            queries: [B, ..., D], used instead of those pooled from the tokens; their shape is the result's.
            question: [B, C, D], embedded words that stand in front of the sequence, so that the layers know what is
                asked (BIMBA, arXiv 2503.09590, "question-conditioned selection").

        Returns:
            [B, T // pt, ceil(H / ph), ceil(W / pw), D] (floor for average and max), or the shape of `queries`.

        Raises:
            ValueError: shapes do not fit, or pooling leaves nothing.
        """
        check_shapes(tokens, queries, self.dim)
        if queries is None:
            queries = self._own_queries(tokens)
        if question is None:
            question = tokens.new_empty(tokens.shape[0], 0, self.dim)
        elif question.ndim != 3 or question.shape[0] != tokens.shape[0] or question.shape[-1] != self.dim:
            raise ValueError(f"a question {tuple(question.shape)} does not fit tokens {tuple(tokens.shape)}.")
        flat = queries.flatten(1, -2)
        for layer in self.layers[:-1]:
            question, tokens, flat = self._full_layer(layer, question, tokens, flat)
        positions = self._positions(question, tokens, flat)
        # The words are tokens like any other; that they come first shifts the queries.
        sequence = torch.cat([question.to(tokens), tokens.flatten(1, 3)], dim=1)
        filled: Tensor = self.layers[-1](sequence, flat, positions)
        return filled.reshape(queries.shape)

    def _own_queries(self, tokens: Tensor) -> Tensor:
        if self.learned_queries is None:
            return pool_video(tokens, self.pool, self.pool_mode)
        batch, frames, height, width, _ = tokens.shape
        learned: Tensor = self.learned_queries(self.output_grid(frames, height, width), batch)
        return learned.to(tokens.dtype)

    def _positions(self, question: Tensor, tokens: Tensor, queries: Tensor) -> Tensor:
        """Places of the queries in the joint sequence, behind the question."""
        num_tokens = tokens[0, ..., 0].numel()
        return query_positions(num_tokens, queries.shape[1], self.query_position) + question.shape[1]

    def _full_layer(
        self, layer: nn.Module, question: Tensor, tokens: Tensor, queries: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """A layer that is not the last: its tokens go on too, at half the frame rate if multi_scale."""
        grid_shape, num_words = tokens.shape, question.shape[1]
        positions = self._positions(question, tokens, queries)
        joint = torch.cat([question.to(tokens), tokens.flatten(1, 3)], dim=1)
        sequence = layer(interleave(joint, queries, positions))
        rest = sequence.index_select(1, token_positions(joint.shape[1], positions).to(sequence.device))
        question, tokens = rest[:, :num_words], rest[:, num_words:].reshape(grid_shape)
        queries = sequence.index_select(1, positions.to(sequence.device))
        if self.multi_scale:
            tokens = tokens[:, ::FRAME_STRIDE_BETWEEN_LAYERS]
        return question, tokens, queries
