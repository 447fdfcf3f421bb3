"""Tokens [B, S, D] and queries [B, Q, D] in, what the bidirectional block makes of the queries [B, Q, D] out.

Only queries leave the last layer, so the gate, the read-out and the projection out are computed for them alone. And the
sequence is walked through once, from left to right, in chunks; nothing of its whole length and inner width ever exists.

How the backward direction goes along: in each chunk it is scanned from an empty state, which gives each query all but
what comes from beyond the chunk's right end. A state H that enters there has faded to exp(A s) H when it reaches a
query, where s is the sum of the steps in between; so each query adds C . exp(A s) H. The true H are known when the end
of the sequence is reached: H at a chunk's left end is what its own scan left there, plus exp(A s) H of its right end
with s the sum of all its steps. This last walk, from right to left, is itself a selective scan: over the queries alone,
with steps that lead from query to query, no input, and H as its initial state.

With gradients, chunks are recomputed in the backward pass, so that training too holds one chunk at a time.

Shapes: B batch, S tokens, Q queries, L = S + Q, q queries of one chunk, D model width, E inner width, N state, K taps.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from bimba.compressors.mixer import BidirectionalMixer, Scanned
from bimba.ops import interleave, selective_scan
from bimba.ops.selective_scan.checks import check_positions

ENTRIES_A_CHUNK, ENTRIES_ON_CPU = 2**24, 2**22
"""Batch times rows times inner width of a chunk. A GPU wants large ones. On a CPU a tensor of them stays at 16 MB in
float32: memory of more than 32 MB goes back to the system when it is freed, and is fetched anew page by page."""

Prepare = Callable[[Tensor], Tensor]
Result = TypeVar("Result")


@dataclass(frozen=True)
class Chunk:
    """A stretch of the joint sequence.

    Attributes:
        begin: first place of the sequence that is scanned.
        end: the place after the last.
        asked: places of its queries, from `begin` on [q].
        fetched: places of the sequence that are new to it: up to K - 1 places beyond its end, since the convolution of
            the backward direction looks ahead.
        fetched_queries: places of the queries among those, from the first of them on.
    """

    begin: int
    end: int
    asked: Tensor
    fetched: range
    fetched_queries: Tensor

    @property
    def num_fetched(self) -> tuple[int, int]:
        """Tokens and queries to fetch."""
        num_queries = self.fetched_queries.shape[0]
        return len(self.fetched) - num_queries, num_queries


class Reading(NamedTuple):
    """What is kept of a chunk until the walk back.

    Attributes:
        y: of both directions, not gated; the backward one as far as the chunk goes [B, q, E].
        coming: the rest of what the backward direction gave from an empty state at its end, without y; None if there is
            no such direction.
    """

    y: Tensor
    coming: Scanned | None


class Passed(NamedTuple):
    """What a chunk passes on to the next.

    Attributes:
        tail: the rows of x that it needs, up to 2 (K - 1) of them.
        state: of the forward direction at the chunk's end [B, E, N]; None before the first.
    """

    tail: Tensor
    state: Tensor | None


def fill_queries(
    mixer: BidirectionalMixer,
    tokens: Tensor,
    queries: Tensor,
    positions: Tensor,
    *,
    prepare: Prepare,
    chunk_size: int | None = None,
) -> Tensor:
    """The block's outputs at the queries; equal to ``mixer(prepare(interleave(...)))[:, positions]``.

    Args:
        mixer: the block.
        tokens: [B, S, D].
        queries: [B, Q, D].
        positions: of the queries in the joint sequence, rising [Q].
        prepare: what is done to each row first (the norm) [B, n, D] -> [B, n, D].
        chunk_size: rows of the sequence at a time; by default as many as take 16 MB (CPU) or 64 MB a tensor in float32.

    Returns:
        [B, Q, D].

    Raises:
        ValueError: shapes or positions do not fit, or the chunk size is below 1.
    """
    batch, num_queries = queries.shape[:2]
    length = tokens.shape[1] + num_queries
    if chunk_size is None:
        chunk_size = rows_at_a_time(tokens.device, batch, mixer.inner_dim)
    if chunk_size < 1:
        raise ValueError(f"a chunk has at least 1 row, not {chunk_size}.")
    positions = positions.cpu()
    if positions.shape != (num_queries,):
        raise ValueError(f"{num_queries} queries need as many positions, not {tuple(positions.shape)}.")
    check_positions(positions, length)
    reach = mixer.forward_scan.conv_weight.shape[-1] - 1
    chunks = list(_cut(length, positions, chunk_size, reach))
    readings = _walk_right(mixer, chunks, tokens, queries, prepare)
    return _walk_left(mixer, chunks, readings, queries, prepare)


def rows_at_a_time(device: torch.device, batch: int, inner_dim: int) -> int:
    """Rows of the sequence of which B x rows x E entries make a chunk of the usual size."""
    entries = ENTRIES_ON_CPU if device.type == "cpu" else ENTRIES_A_CHUNK
    return max(1, entries // max(1, batch * inner_dim))


def _cut(length: int, positions: Tensor, size: int, reach: int) -> Iterator[Chunk]:
    """Chunks of a sequence whose queries stand at `positions`; `reach` is K - 1."""
    fetched_until = 0
    for begin in range(0, length, size):
        end = min(begin + size, length)
        fetched = range(fetched_until, min(end + reach, length))
        fetched_until = fetched.stop
        yield Chunk(begin, end, within(positions, begin, end), fetched, within(positions, fetched.start, fetched.stop))


def within(positions: Tensor, begin: int, end: int) -> Tensor:
    """Those of the rising positions that lie in begin..end, counted from begin."""
    first, last = torch.searchsorted(positions, torch.tensor([begin, end])).tolist()
    return positions[first:last] - begin


def _walk_right(
    mixer: BidirectionalMixer, chunks: list[Chunk], tokens: Tensor, queries: Tensor, prepare: Prepare
) -> list[Reading]:
    """Read all chunks from left to right."""
    counts = [chunk.num_fetched for chunk in chunks]
    # Split, not sliced: the gradient of a split is put together once, not once a chunk.
    token_pieces = tokens.split([num_tokens for num_tokens, _ in counts], dim=1)
    query_pieces = queries.split([num_queries for _, num_queries in counts], dim=1)
    readings: list[Reading] = []
    passed = Passed(tokens.new_empty(tokens.shape[0], 0, mixer.inner_dim), None)
    for chunk, some_tokens, some_queries in zip(chunks, token_pieces, query_pieces, strict=True):
        inputs = (mixer, prepare, chunk, some_tokens, some_queries, passed)
        reading, passed = _recomputed(read_chunk, *inputs) if len(chunks) > 1 else read_chunk(*inputs)
        readings.append(reading)
    return readings


def _recomputed(function: Callable[..., Result], *inputs: object) -> Result:
    """Call it; if there will be a backward pass, call it again there instead of keeping what is inside."""
    if not torch.is_grad_enabled():
        return function(*inputs)
    result: Result = checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=False)
    return result


def read_chunk(
    mixer: BidirectionalMixer,
    prepare: Prepare,
    chunk: Chunk,
    tokens: Tensor,
    queries: Tensor,
    passed: Passed,
) -> tuple[Reading, Passed]:
    """One chunk: the rows that are new to it and what the chunk before passed on -> the same of this one."""
    rows = mixer.in_proj(prepare(interleave(tokens, queries, chunk.fetched_queries)))
    x = torch.cat([passed.tail.to(rows.dtype), rows], dim=1)
    start = chunk.fetched.stop - x.shape[1]
    before, size = chunk.begin - start, chunk.end - chunk.begin
    reach = mixer.forward_scan.conv_weight.shape[-1] - 1
    # A copy, since a part of x would keep all of it.
    tail = x[:, max(0, chunk.end - reach) - start :].clone()
    asked = chunk.asked.to(x.device)
    past = mixer.forward_scan(
        x[:, : before + size], kept=slice(before, None), positions=asked, initial_state=passed.state
    )
    if mixer.backward_scan is None:
        return Reading(past.y, None), Passed(tail, past.state)
    coming = mixer.backward_scan(x[:, before:], kept=slice(0, size), positions=asked, sum_steps=True)
    return Reading(past.y + coming.y, coming._replace(y=past.y.new_empty(0))), Passed(tail, past.state)


def _walk_left(
    mixer: BidirectionalMixer, chunks: list[Chunk], readings: list[Reading], queries: Tensor, prepare: Prepare
) -> Tensor:
    """Bring the backward direction's true states to the queries, from right to left, and finish the outputs."""
    query_pieces = queries.split([chunk.asked.shape[0] for chunk in chunks], dim=1)
    outputs = []
    entering = None
    for some_queries in reversed(query_pieces):
        # Taken off the list, so that its memory is free for the next.
        inputs = (mixer, prepare, readings.pop(), some_queries, entering)
        output, entering = _recomputed(finish_chunk, *inputs) if len(chunks) > 1 else finish_chunk(*inputs)
        outputs.append(output)
    return torch.cat(outputs[::-1], dim=1)


def finish_chunk(
    mixer: BidirectionalMixer, prepare: Prepare, reading: Reading, queries: Tensor, entering: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Outputs [B, q, D] of a chunk's queries and the state at its left end, from the state entering at its right."""
    y, coming, leaving = reading.y, reading.coming, None
    if coming is not None:
        leaving = coming.state
        if entering is not None:
            added, leaving = bring(entering, coming, y, mixer.forward_scan.scan_implementation)
            y = y + added
    exact = torch.promote_types(y.dtype, torch.float32)
    gate = mixer.gate_proj(prepare(queries))
    gated = y.to(exact) * functional.silu(gate.to(exact))
    return mixer.out_proj(gated.to(gate.dtype)), leaving


def bring(entering: Tensor, coming: Scanned, like: Tensor, implementation: str) -> tuple[Tensor, Tensor]:
    """What a state [B, E, N] entering at the right end adds to the outputs [B, q, E], and the state at the left end."""
    if coming.step_sums is None:
        raise ValueError("the backward direction was scanned without sums of its steps.")
    nothing = torch.zeros_like(like), torch.zeros_like(coming.reads)
    added, faded = selective_scan(
        nothing[0], coming.step_sums[:, 1:], coming.rates, nothing[1], coming.reads,
        reverse=True, initial_state=entering, return_final_state=True, implementation=implementation,
    )  # fmt: skip
    decay = torch.exp(coming.step_sums[:, 0].unsqueeze(-1) * coming.rates)
    return added, coming.state + decay * faded
