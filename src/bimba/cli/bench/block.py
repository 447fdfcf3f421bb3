"""The size of a compressor in, its Mamba block with tokens and queries and the two ways to call it out.

Shapes: B batch (1), S video tokens, Q queries, L = S + Q, D model width, E inner width, N state, R rank of dt.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from bimba.cli.bench.sizes import CompressSize
from bimba.compressors.mixer import BidirectionalMixer
from bimba.compressors.one_pass import fill_queries
from bimba.ops import interleave, pooled_shape, query_positions

STATE_DIM, CONV_WIDTH, EXPAND = 16, 4, 2
"""Of the released compressor."""

PLAIN, ONE_PASS = "plain", "one pass"

_SEED = 21


@dataclass(frozen=True)
class Block:
    """What is called.

    Attributes:
        mixer: with random weights.
        tokens: random [B, S, D].
        queries: random [B, Q, D].
        positions: of the queries in the joint sequence, int64 [Q] on the CPU.
    """

    mixer: BidirectionalMixer
    tokens: Tensor
    queries: Tensor
    positions: Tensor

    def with_part(self, size: CompressSize) -> "Block":
        """The same weights and other tokens, of a smaller size."""
        return _with_tokens(self.mixer, size)

    def in_float64(self) -> "Block":
        """The same values in float64."""
        return Block(copy.deepcopy(self.mixer).double(), self.tokens.double(), self.queries.double(), self.positions)

    def flops(self, name: str) -> int:
        """Operations of the matrix products of a call, by formula."""
        mixer, num_queries = self.mixer, self.queries.shape[1]
        length = self.tokens.shape[1] + num_queries
        width, inner, rank = mixer.dim, mixer.inner_dim, mixer.dt_rank
        asked = length if name == PLAIN else num_queries
        directions = 1 if mixer.backward_scan is None else 2
        everywhere = width * inner + directions * (inner * (rank + STATE_DIM) + rank * inner)
        where_asked = 2 * width * inner + directions * inner * STATE_DIM
        return 2 * (length * everywhere + asked * where_asked)


BlockCall = Callable[[Block], Tensor]
"""A block -> what becomes of its queries [B, Q, D]."""


def _plain(block: Block) -> Tensor:
    """Every output is computed, and the queries' are picked."""
    outputs: Tensor = block.mixer(interleave(block.tokens, block.queries, block.positions))
    return outputs.index_select(1, block.positions.to(outputs.device))


def _one_pass(block: Block) -> Tensor:
    """Only the queries' outputs are computed, in one walk over the sequence."""
    return fill_queries(block.mixer, block.tokens, block.queries, block.positions, prepare=_as_it_is)


def _as_it_is(rows: Tensor) -> Tensor:
    """No norm."""
    return rows


CALLS: dict[str, BlockCall] = {PLAIN: _plain, ONE_PASS: _one_pass}
"""The two ways to call it."""


def counts_of(size: CompressSize) -> tuple[int, int]:
    """S video tokens and Q queries."""
    frames, height, width = size.grid
    pooled = pooled_shape(frames, height, width, size.pool, "bilinear")
    return frames * height * width, pooled[0] * pooled[1] * pooled[2]


def first_frames(size: CompressSize, groups: int, *, most_patches: int | None = None) -> CompressSize:
    """The size of a part: so many groups of frames that are pooled into one, and at most so many patches a side."""
    frames, height, width = size.grid
    most = max(height, width) if most_patches is None else most_patches
    grid = min(frames, groups * size.pool[0]), min(height, most), min(width, most)
    return replace(size, grid=grid)


def make_block(size: CompressSize, device: torch.device, dtype: torch.dtype) -> Block:
    """A block with random weights, random tokens and queries; the seed is always the same."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(_SEED)
        with device:
            mixer = BidirectionalMixer(
                size.dim, state_dim=STATE_DIM, conv_width=CONV_WIDTH, expand=EXPAND, bidirectional=True
            )
        # A fresh one gives zeros, which any call would get right.
        nn.init.normal_(mixer.out_proj.weight, std=mixer.inner_dim**-0.5)
    return _with_tokens(mixer.requires_grad_(False).to(dtype), size)


def _with_tokens(mixer: BidirectionalMixer, size: CompressSize) -> Block:
    num_tokens, num_queries = counts_of(size)
    weight = mixer.in_proj.weight
    generator = torch.Generator(weight.device).manual_seed(_SEED)
    tokens, queries = (
        torch.empty(1, count, size.dim, device=weight.device, dtype=weight.dtype).normal_(generator=generator)
        for count in (num_tokens, num_queries)
    )
    return Block(mixer, tokens, queries, query_positions(num_tokens, num_queries))
