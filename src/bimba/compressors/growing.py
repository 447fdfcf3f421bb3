"""Frames of a video without a known end in; at any time what the video so far becomes out, within a budget.

Where a query stands in the released rule depends on the length of the video. Here it depends on its own group of frames
alone: the joint sequence is one group after the other, and within a group of pt frames the released rule, as if that
group were the whole video, spreads its queries among its tokens, the last query last. Frames that fill no group yet are
tokens without queries.

What the frames become is exact in both directions up to now: equal to the compressor's layer over the whole sequence so
far, with those places. When there are more groups than the budget has room for, old ones are thinned out: a group is no
longer given, but its tokens and queries stay in what the scan has read, so that those that are given stay exact.

Shapes: B batch, t frames of a piece, H x W patches a frame, (pt, ph, pw) the pooling factors, G most groups, T' groups
that are given, D width.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from bimba.compressors.no_compression import NoCompressor
from bimba.compressors.pooling import PoolingCompressor
from bimba.compressors.selective_scan import CompressorLayer, SelectiveScanCompressor
from bimba.compressors.streams import PooledStream
from bimba.ops import PoolMode, query_positions

FEWEST_GROUPS = 4
"""The least that a budget holds: the first group, the newest two, and one between them."""


class Groups(Protocol):
    """Groups of frames that change with what follows them, or do not."""

    num_groups: int

    def push(self, tokens: Tensor) -> None:
        """Take the next frames' tokens [B, t, H, W, D]."""

    def finish(self) -> Tensor:
        """What the groups become if nothing follows [B, T', H', W', D]; more may follow all the same."""

    def forget(self, number: int) -> None:
        """Let go of one group."""


def can_grow(compressor: nn.Module) -> bool:
    """Whether a compressor can take a video without a known end.

    Attention, several layers, and queries that stand at one end need all frames at once; learned queries are there for
    so many frames only.
    """
    if isinstance(compressor, SelectiveScanCompressor):
        is_spread = compressor.query_position == "interleaved" and compressor.learned_queries is None
        return is_spread and len(compressor.layers) == 1
    return isinstance(compressor, PoolingCompressor | NoCompressor)


class GrowingStream:
    """A video that is being compressed while it grows.

    As long as there are at most G groups, all are given. Then, whenever there is one too many, one goes that is neither
    the first nor in the newer half of the budget (`group_to_drop`). So the newest groups are all there, and those
    before them are spread about evenly over the past, as frames of a long video are chosen.

    Args:
        compressor: one for which `can_grow` holds.
        height: H.
        width: W.
        most_groups: G.

    Attributes:
        num_frames: that have come.

    Raises:
        ValueError: the compressor cannot grow, pooling leaves nothing of a frame, or G is below `FEWEST_GROUPS`.
    """

    def __init__(self, compressor: nn.Module, height: int, width: int, most_groups: int) -> None:
        if most_groups < FEWEST_GROUPS:
            raise ValueError(f"a budget holds at least {FEWEST_GROUPS} groups of frames, not {most_groups}.")
        self._groups, self._group_size = _groups(compressor, height, width)
        self._most_groups = most_groups
        self._numbers: list[int] = []
        self._seconds: list[float] = []
        self.num_frames = 0

    @property
    def num_groups(self) -> int:
        """Groups that `finish` gives."""
        return self._groups.num_groups

    @property
    def numbers(self) -> list[int]:
        """Which groups of the video these are, counted from 0."""
        return list(self._numbers)

    @property
    def is_thinned(self) -> bool:
        """Whether there were more groups than the budget has room for."""
        return self.num_frames // self._group_size > self._most_groups

    @property
    def seconds(self) -> list[float]:
        """Times of the frames of the groups that are given, and of those that fill no group yet."""
        return list(self._seconds)

    @torch.no_grad()
    def push(self, tokens: Tensor, seconds: Sequence[float]) -> None:
        """Take the next frames. How they are divided into pieces changes nothing.

        Args:
            tokens: [B, t, H, W, D].
            seconds: their times [t].

        Raises:
            ValueError: there is not one time for each frame.
        """
        if len(seconds) != tokens.shape[1]:
            raise ValueError(f"{tokens.shape[1]} frames came with {len(seconds)} times.")
        first = 0
        while first < tokens.shape[1]:
            # Up to the frame that makes a group too many, so that no more are ever kept.
            waiting = self.num_frames % self._group_size
            end = first + (self._most_groups + 1 - self.num_groups) * self._group_size - waiting
            piece = tokens[:, first:end]
            self._groups.push(piece)
            self._seconds += seconds[first:end]
            before = self.num_frames // self._group_size
            self.num_frames += piece.shape[1]
            self._numbers += range(before, self.num_frames // self._group_size)
            first = end
            if self.num_groups > self._most_groups:
                self._drop(group_to_drop(self._numbers, self._most_groups // 2))

    @torch.no_grad()
    def finish(self) -> Tensor:
        """What the frames so far become [B, T', H', W', D]; more may be pushed afterwards all the same.

        Raises:
            ValueError: no group of frames is whole.
        """
        if not self.num_groups:
            raise ValueError(
                f"{self.num_frames} frames are fewer than the {self._group_size} that are pooled together."
            )
        return self._groups.finish()

    def _drop(self, place: int) -> None:
        self._groups.forget(place)
        del self._numbers[place]
        del self._seconds[place * self._group_size : (place + 1) * self._group_size]


def group_to_drop(numbers: Sequence[int], num_newest: int) -> int:
    """Which of the groups goes: the one without which the gap is smallest; of several the oldest.

    Args:
        numbers: of the groups in the video, rising.
        num_newest: so many at the end stay, and the first.

    Returns:
        its place among them.

    Raises:
        ValueError: all of them stay.
    """
    last = len(numbers) - num_newest
    if last < 2:
        raise ValueError(f"of {len(numbers)} groups the first and the newest {num_newest} stay: none can go.")
    return min(range(1, last), key=lambda place: numbers[place + 1] - numbers[place - 1])


class GrowingScan:
    """BIMBA's scan: groups that change with every frame that follows.

    Args:
        compressor: of one layer, its queries pooled and spread among the tokens.
        height: H.
        width: W.
    """

    def __init__(self, compressor: SelectiveScanCompressor, height: int, width: int) -> None:
        self._group_size = compressor.pool[0]
        _, *self._sides = compressor.output_grid(self._group_size, height, width)
        self._layer: CompressorLayer = compressor.layers[0]  # type: ignore[assignment] # modules are all a list knows
        self._pooled = PooledStream(compressor.pool, compressor.pool_mode)
        self._num_queries = self._sides[0] * self._sides[1]
        self._num_tokens = self._group_size * height * width
        self._places = query_positions(self._num_tokens, self._num_queries, compressor.query_position)
        self._filler = self._layer.filler(self._places, self._num_tokens, is_growing=True)
        self._num_frames, self._begun = 0, 1
        self.num_groups = 0

    def push(self, tokens: Tensor) -> None:
        """Take the next frames' tokens [B, t, H, W, D]."""
        self._num_frames += tokens.shape[1]
        needed = -(-self._num_frames // self._group_size) - self._begun
        if needed > 0:
            length = self._num_tokens + self._num_queries
            shifts = torch.arange(needed)[:, None] * length
            self._filler.extend((shifts + self._places).flatten(), needed * self._num_tokens)
            self._begun += needed
        queries = self._pooled.pool(tokens)
        flat = tokens.flatten(1, 3)
        self._filler.push(flat, flat[:, :0] if queries is None else queries.flatten(1, 3))
        self.num_groups += 0 if queries is None else queries.shape[1]

    def finish(self) -> Tensor:
        """What the groups become if nothing follows [B, T', H', W', D]."""
        filled = self._layer.finish(self._filler)
        return filled.reshape(filled.shape[0], self.num_groups, *self._sides, filled.shape[-1])

    def forget(self, number: int) -> None:
        """Let go of one group."""
        self._filler.forget(number * self._num_queries, self._num_queries)
        self.num_groups -= 1


class GrowingPool:
    """Plain pooling, and no compression at all: groups that nothing changes.

    Args:
        pool: factors (pt, ph, pw).
        mode: how a frame shrinks.
    """

    def __init__(self, pool: tuple[int, int, int], mode: PoolMode) -> None:
        self._pooled = PooledStream(pool, mode)
        self._groups: list[Tensor] = []

    @property
    def num_groups(self) -> int:
        """Groups that are kept."""
        return len(self._groups)

    def push(self, tokens: Tensor) -> None:
        """Take the next frames' tokens [B, t, H, W, D]."""
        pooled = self._pooled.pool(tokens)
        if pooled is not None:
            self._groups += [group.clone() for group in pooled.split(1, dim=1)]

    def finish(self) -> Tensor:
        """The groups [B, T', H', W', D]."""
        return torch.cat(self._groups, dim=1)

    def forget(self, number: int) -> None:
        """Let go of one group."""
        del self._groups[number]


def _groups(compressor: nn.Module, height: int, width: int) -> tuple[GrowingScan | GrowingPool, int]:
    """What holds the groups of a video, and the frames of each."""
    if isinstance(compressor, SelectiveScanCompressor) and can_grow(compressor):
        return GrowingScan(compressor, height, width), compressor.pool[0]
    if isinstance(compressor, PoolingCompressor):
        compressor.output_grid(compressor.pool[0], height, width)  # refuses what pooling leaves nothing of
        return GrowingPool(compressor.pool, compressor.pool_mode), compressor.pool[0]
    if isinstance(compressor, NoCompressor):
        return GrowingPool(compressor.pool, "average"), 1
    raise ValueError(f"{type(compressor).__name__} needs all frames at once, and cannot take a video that grows.")
