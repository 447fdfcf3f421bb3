"""Frames of a video in, a few at a time; at its end the compressed video out, as if the whole had been there.

The selective scan and pooling hold nothing of the frames that they have read. Attention looks at all tokens from
everywhere, and a scan of several layers, or one with its queries in front, needs the end before the beginning is done:
for those the tokens are kept, and compressed at the end.

Shapes: B batch, t frames of a piece, T frames, H x W patches a frame, Q queries, C words of a question, D width.
"""

from typing import Protocol

import torch
from torch import Tensor, nn

from bimba.compressors.pooling import PoolingCompressor
from bimba.compressors.selective_scan import CompressorLayer, SelectiveScanCompressor
from bimba.ops import PoolMode, pool_video, query_positions


class CompressorStream(Protocol):
    """A video that is being compressed."""

    def push(self, tokens: Tensor) -> None:
        """Take the next frames' tokens [B, t, H, W, D]."""

    def finish(self) -> Tensor:
        """What the frames so far become [B, T', H', W', D]."""


def open_stream(
    compressor: nn.Module, num_frames: int, height: int, width: int, question: Tensor | None = None
) -> CompressorStream:
    """Begin to compress a video whose length is known.

    Args:
        compressor: one of this package.
        num_frames: T.
        height: H.
        width: W.
        question: embedded words [B, C, D], for a compressor that reads them.

    Raises:
        ValueError: pooling leaves nothing of such a video.
    """
    if isinstance(compressor, PoolingCompressor):
        return PooledStream(compressor.pool, compressor.pool_mode)
    if isinstance(compressor, SelectiveScanCompressor) and is_streamed(compressor):
        return ScanStream(compressor, num_frames, height, width, question)
    return HeldStream(compressor, question)


def is_streamed(compressor: nn.Module) -> bool:
    """Whether a compressor's memory does not depend on the length of the video."""
    if isinstance(compressor, SelectiveScanCompressor):
        return len(compressor.layers) == 1 and compressor.query_position != "start"
    return isinstance(compressor, PoolingCompressor)


class PooledStream:
    """Groups of frames, averaged as soon as they are whole; frames that fill no group are left out.

    Args:
        pool: factors (pt, ph, pw).
        mode: how a frame shrinks.
    """

    def __init__(self, pool: tuple[int, int, int], mode: PoolMode) -> None:
        self._pool, self._mode = pool, mode
        self._rest: Tensor | None = None
        self._pooled: list[Tensor] = []

    def push(self, tokens: Tensor) -> None:
        """Take the next frames' tokens [B, t, H, W, D]."""
        pooled = self.pool(tokens)
        if pooled is not None:
            self._pooled.append(pooled)

    def pool(self, tokens: Tensor) -> Tensor | None:
        """What the next frames [B, t, H, W, D] make whole: [B, t', H', W', D]; None if no group."""
        together = tokens if self._rest is None else torch.cat([self._rest, tokens], dim=1)
        whole = together.shape[1] // self._pool[0] * self._pool[0]
        # A copy, since a part of the piece would keep all of it.
        self._rest = together[:, whole:].clone() if whole < together.shape[1] else None
        return pool_video(together[:, :whole], self._pool, self._mode) if whole else None

    def finish(self) -> Tensor:
        """What the frames so far become [B, T', H', W', D].

        Raises:
            ValueError: no group of frames is whole.
        """
        if not self._pooled:
            raise ValueError(f"there are fewer frames than the {self._pool[0]} that are pooled together.")
        return torch.cat(self._pooled, dim=1)


class ScanStream:
    """BIMBA's scan, one pass over frames that come once.

    A query is pooled as soon as its frames are there. With temporal pooling it may stand before frames that it
    averages; the scan waits for it there, a group of frames at most.

    Args:
        compressor: of one layer.
        num_frames: T.
        height: H.
        width: W.
        question: embedded words [B, C, D], which stand in front.
    """

    def __init__(
        self,
        compressor: SelectiveScanCompressor,
        num_frames: int,
        height: int,
        width: int,
        question: Tensor | None = None,
    ) -> None:
        self._grid = compressor.output_grid(num_frames, height, width)
        self._layer: CompressorLayer = compressor.layers[0]  # type: ignore[assignment] # modules are all a list knows
        self._pooled = PooledStream(compressor.pool, compressor.pool_mode)
        self._learned = compressor.learned_queries
        num_words = 0 if question is None else question.shape[1]
        num_tokens, num_queries = num_frames * height * width, torch.Size(self._grid).numel()
        positions = query_positions(num_tokens, num_queries, compressor.query_position) + num_words
        self._filler = self._layer.filler(positions, num_tokens + num_words)
        self._question = question
        self._num_frames, self._most_frames = 0, num_frames

    @torch.no_grad()
    def push(self, tokens: Tensor) -> None:
        """Take the next frames' tokens [B, t, H, W, D].

        Raises:
            ValueError: more frames come than there are, or of another size.
        """
        if not self._num_frames:
            self._begin(tokens)
        self._num_frames += tokens.shape[1]
        queries = None if self._learned is not None else self._pooled.pool(tokens)
        flat = tokens.flatten(1, 3)
        self._filler.push(flat, flat[:, :0] if queries is None else queries.flatten(1, 3))

    def _begin(self, tokens: Tensor) -> None:
        """What stands in front of the first frame, and queries that are there already."""
        batch, dim = tokens.shape[0], tokens.shape[-1]
        nothing = tokens.new_empty(batch, 0, dim)
        words = nothing if self._question is None else self._question.to(tokens)
        learned = nothing
        if self._learned is not None:
            learned = self._learned(self._grid, batch).to(tokens.dtype).flatten(1, 3)
        self._filler.push(words, learned)

    @torch.no_grad()
    def finish(self) -> Tensor:
        """What the frames become [B, T', H', W', D].

        Raises:
            ValueError: frames are missing.
        """
        if self._num_frames < self._most_frames:
            raise ValueError(f"{self._num_frames} of {self._most_frames} frames have come.")
        filled = self._layer.finish(self._filler)
        return filled.reshape(filled.shape[0], *self._grid, filled.shape[-1])


class HeldStream:
    """All tokens, compressed at the end.

    Args:
        compressor: any.
        question: embedded words [B, C, D].
    """

    def __init__(self, compressor: nn.Module, question: Tensor | None = None) -> None:
        self._compressor, self._question = compressor, question
        self._tokens: list[Tensor] = []

    def push(self, tokens: Tensor) -> None:
        """Take the next frames' tokens [B, t, H, W, D]."""
        self._tokens.append(tokens)

    @torch.no_grad()
    def finish(self) -> Tensor:
        """What the frames so far become [B, T', H', W', D]."""
        tokens = torch.cat(self._tokens, dim=1)
        compressed: Tensor = (
            self._compressor(tokens) if self._question is None else self._compressor(tokens, question=self._question)
        )
        return compressed
