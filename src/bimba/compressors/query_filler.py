"""Tokens and queries of a joint sequence in, piece by piece; what the bidirectional block makes of the queries out.

The same walk as `fill_queries`, for sequences that nobody wants to hold: what was read is forgotten, but for what each
query needs. Between queries nothing is kept, however long the sequence: chunks with few queries are joined, their
states carried to each other as `one_pass` carries them, until a group has as many queries as its state has columns.

Shapes: B batch, n tokens and q queries of a piece, S tokens, Q queries, L = S + Q, D model width, E inner width,
N state.
"""

from collections.abc import Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from bimba.compressors.mixer import BidirectionalMixer, Scanned
from bimba.compressors.one_pass import (
    Chunk,
    Passed,
    Prepare,
    Reading,
    bring,
    finish_chunk,
    read_chunk,
    rows_at_a_time,
    within,
)
from bimba.ops.selective_scan.checks import check_positions

T = TypeVar("T")


class QueryFiller:
    """Fills queries while tokens come; for inference, no gradients are kept.

    Args:
        mixer: the block.
        positions: of the queries in the joint sequence, rising [Q].
        num_tokens: S.
        prepare: what is done to each row first (the norm).
        chunk_size: rows of the sequence that are read at a time, at most.
        is_growing: more than S tokens and Q queries may come, see `extend`.

    Raises:
        ValueError: positions do not rise within the sequence, or the chunk size is below 1.
    """

    def __init__(
        self,
        mixer: BidirectionalMixer,
        positions: Tensor,
        num_tokens: int,
        *,
        prepare: Prepare,
        chunk_size: int | None = None,
        is_growing: bool = False,
    ) -> None:
        self._mixer, self._prepare = mixer, prepare
        self._positions = positions.cpu()
        self._length = num_tokens + len(positions)
        check_positions(self._positions, self._length)
        if chunk_size is not None and chunk_size < 1:
            raise ValueError(f"a chunk has at least 1 row, not {chunk_size}.")
        self._chunk_size, self._is_growing = chunk_size, is_growing
        self._reach = mixer.forward_scan.conv_weight.shape[-1] - 1
        self._num_tokens, self._num_queries = 0, 0
        self._begin = self._fetched = 0
        self._tokens: list[Tensor] = []
        self._waiting: list[Tensor] = []
        self._queries: list[Tensor] = []
        self._passed: Passed | None = None
        self._groups: list[Reading] = []
        self._num_forgotten = 0
        self._tokens_before = self._count_tokens_before()

    @property
    def num_tokens(self) -> int:
        """Tokens that have come."""
        return self._num_tokens

    @property
    def num_queries(self) -> int:
        """Queries that have come."""
        return self._num_queries

    @property
    def queries(self) -> Tensor:
        """Those that have come and were not forgotten [B, q, D], not filled.

        Raises:
            ValueError: nothing has come.
        """
        if not self._queries:
            raise ValueError("no query has come.")
        return torch.cat(self._queries, dim=1)

    def extend(self, positions: Tensor, num_tokens: int) -> None:
        """Let more come: tokens, and queries at these places, counted from the end that the sequence had so far.

        Raises:
            ValueError: the sequence does not grow, or positions do not rise within what is added.
        """
        if not self._is_growing:
            raise ValueError("the sequence has an end: it was not made with is_growing.")
        check_positions(positions, num_tokens + len(positions))
        self._positions = torch.cat([self._positions, positions.cpu() + self._length])
        self._tokens_before = self._count_tokens_before()
        self._length += num_tokens + len(positions)

    @torch.no_grad()
    def forget(self, first: int, count: int) -> None:
        """Let go of some queries: `finish` gives the others, which are what they would be otherwise.

        Their places stay in the sequence, where others have read past them; only their outputs are gone.

        Args:
            first: of those that are kept, which have to be read.
            count: how many, not all.

        Raises:
            ValueError: these are not read yet, or none would stay.
        """
        sizes = [group.y.shape[1] for group in self._groups]
        num_kept = self._num_queries - self._num_forgotten
        if not (0 <= first <= first + count <= sum(sizes) and count < num_kept):
            raise ValueError(
                f"{count} queries from {first} on cannot be forgotten: {num_kept} are kept, {sum(sizes)} of them read."
            )
        self._queries = [
            torch.cat([piece[:, : cut.start], piece[:, cut.stop :]], dim=1) if cut else piece
            for piece, cut in _cuts(self._queries, [piece.shape[1] for piece in self._queries], first, count)
            if len(cut) < piece.shape[1]
        ]
        self._positions = torch.cat([self._positions[:first], self._positions[first + count :]])
        self._num_forgotten += count
        self._tokens_before = self._count_tokens_before()
        self._groups = [
            _without(group, cut) if cut else group for group, cut in _cuts(self._groups, sizes, first, count)
        ]
        self._join_small()

    def _join_small(self) -> None:
        """Join groups that have too few queries left to pay for a state with those behind them."""
        enough, groups = self._mixer.forward_scan.state_dim, self._groups
        number = 0
        while number < len(groups) - 1:
            if groups[number].y.shape[1] < enough:
                pair = groups[number], groups[number + 1]
                groups[number : number + 2] = [join(*pair, self._mixer.forward_scan.scan_implementation)]
            else:
                number += 1

    @torch.no_grad()
    def push(self, tokens: Tensor, queries: Tensor) -> None:
        """Take the next tokens [B, n, D] and the next queries [B, q, D], and read as far as both are there.

        A query may come long before its place in the sequence, or the tokens before it; what has to wait is kept.

        Raises:
            ValueError: more come than there are, or shapes do not fit what came before.
        """
        first = (self._queries or self._tokens or [tokens])[0]
        for pieces, name in ((tokens, "tokens"), (queries, "queries")):
            if pieces.ndim != 3 or pieces.shape[0] != first.shape[0] or pieces.shape[-1] != first.shape[-1]:
                raise ValueError(f"{name} {tuple(pieces.shape)} do not fit {tuple(first.shape)}.")
        self._num_tokens += tokens.shape[1]
        self._num_queries += queries.shape[1]
        most_queries = self._num_forgotten + len(self._positions)
        if self._num_tokens + self._num_queries > self._length or self._num_queries > most_queries:
            raise ValueError(
                f"{self._num_tokens} tokens and {self._num_queries} queries are more than the sequence of "
                f"{self._length} places with {most_queries} queries has."
            )
        queries = queries.clone()  # see `_settled`
        self._tokens.append(tokens)
        self._waiting.append(queries)
        self._queries.append(queries)
        self._read_until(self._available() - self._reach)

    @torch.no_grad()
    def finish(self) -> Tensor:
        """Outputs [B, Q, D] of the queries that have come and were not forgotten, if the sequence ends here.

        More may be pushed afterwards all the same: nothing of what was kept is changed.

        Raises:
            ValueError: a query has come without the tokens before it, or nothing has come.
        """
        before = vars(self).copy()
        self._tokens, self._waiting, self._groups = list(self._tokens), list(self._waiting), list(self._groups)
        try:
            return self._end()
        finally:
            vars(self).update(before)

    def _end(self) -> Tensor:
        """Read the rest and walk back."""
        queries = self.queries
        self._is_growing = False
        self._length = self._num_tokens + self._num_queries
        self._positions = self._positions[: self._num_queries - self._num_forgotten]
        check_positions(self._positions, self._length)
        self._read_until(self._length)
        pieces = queries.split([group.y.shape[1] for group in self._groups], dim=1)
        outputs, entering = [], None
        for piece, group in zip(reversed(pieces), reversed(self._groups), strict=True):
            output, entering = finish_chunk(self._mixer, self._prepare, group, piece, entering)
            outputs.append(output)
        return torch.cat(outputs[::-1], dim=1)

    def _available(self) -> int:
        """Places of the sequence, from the first on, whose rows have all come."""
        if self._num_tokens + self._num_queries == self._length:
            # At the end the convolution has nothing more to look at.
            return self._length + (0 if self._is_growing else self._reach)
        before = int(torch.searchsorted(self._tokens_before, self._num_tokens, right=True))
        next_token = self._num_tokens + self._num_forgotten + before
        number = self._num_queries - self._num_forgotten
        next_query = self._length if number == len(self._positions) else int(self._positions[number])
        return min(next_token, next_query)

    def _count_tokens_before(self) -> Tensor:
        """Tokens before each query that was not read: place of query j less j; of others, that many at most."""
        return self._positions - torch.arange(len(self._positions)) - self._num_forgotten

    def _read_until(self, end: int) -> None:
        """Read whole chunks up to a place."""
        while self._begin < end:
            batch = self._tokens[0].shape[0] if self._tokens else self._queries[0].shape[0]
            size = self._chunk_size or rows_at_a_time(self._queries[0].device, batch, self._mixer.inner_dim)
            self._read(min(self._begin + size, end))

    def _read(self, end: int) -> None:
        """Read the rows from where reading stands up to a place, and as many beyond it as the convolution sees."""
        fetched = range(self._fetched, min(end + self._reach, self._length))
        chunk = Chunk(
            self._begin,
            end,
            within(self._positions, self._begin, end),
            fetched,
            within(self._positions, fetched.start, fetched.stop),
        )
        num_tokens, num_queries = chunk.num_fetched
        tokens, queries = _take(self._tokens, num_tokens), _take(self._waiting, num_queries)
        like = self._queries[0]
        tokens = like.new_empty(like.shape[0], 0, like.shape[-1]) if tokens is None else tokens
        queries = like.new_empty(like.shape[0], 0, like.shape[-1]) if queries is None else queries
        passed = self._passed or Passed(tokens.new_empty(tokens.shape[0], 0, self._mixer.inner_dim), None)
        reading, passed = read_chunk(self._mixer, self._prepare, chunk, tokens, queries, passed)
        self._passed = Passed(passed.tail.clone(), None if passed.state is None else passed.state.clone())
        self._begin, self._fetched = end, fetched.stop
        self._keep(_settled(reading))

    def _keep(self, reading: Reading) -> None:
        """Join a reading to the last group, unless that has queries enough to pay for a state of its own."""
        enough = self._mixer.forward_scan.state_dim
        if self._groups and self._groups[-1].y.shape[1] < enough:
            self._groups[-1] = join(self._groups[-1], reading, self._mixer.forward_scan.scan_implementation)
            return
        if self._groups and reading.coming is not None and self._groups[0].coming is not None:
            # The same for all; one copy is enough.
            reading = reading._replace(coming=reading.coming._replace(rates=self._groups[0].coming.rates))
        self._groups.append(reading)


def join(left: Reading, right: Reading, implementation: str) -> Reading:
    """Two neighbouring stretches as one: what the right one's end leaves is brought to the left one's queries.

    Args:
        left: of the earlier stretch.
        right: of the later one.
        implementation: of the scan.
    """
    if left.coming is None or right.coming is None:
        return Reading(torch.cat([left.y, right.y], dim=1), None)
    added, state = bring(right.coming.state, left.coming, left.y, implementation)
    ours, theirs = left.coming.step_sums, right.coming.step_sums
    if ours is None or theirs is None:
        raise ValueError("a stretch was scanned without sums of its steps.")
    step_sums = torch.cat([ours[:, :-1], ours[:, -1:] + theirs[:, :1], theirs[:, 1:]], dim=1)
    reads = torch.cat([left.coming.reads, right.coming.reads], dim=1)
    coming = Scanned(left.coming.y, state, reads, left.coming.rates, step_sums)
    return Reading(torch.cat([left.y + added, right.y], dim=1), coming)


def _settled(reading: Reading) -> Reading:
    """A copy of what stays of a chunk, made when all else that reading took is free again.

    So it lies together. Where it was made it would stand between large pieces of memory that come and go, and leave
    holes that fit none of the next ones: the process would grow although nothing more is in use.
    """
    coming = reading.coming
    if coming is not None:
        step_sums = None if coming.step_sums is None else coming.step_sums.clone()
        coming = coming._replace(state=coming.state.clone(), reads=coming.reads.clone(), step_sums=step_sums)
    return Reading(reading.y.clone(), coming)


def _cuts(pieces: Sequence[T], sizes: Sequence[int], first: int, count: int) -> Iterator[tuple[T, range]]:
    """Each piece with the rows of it that belong to a stretch of all their rows."""
    begin = 0
    for piece, size in zip(pieces, sizes, strict=True):
        start, stop = (min(max(place - begin, 0), size) for place in (first, first + count))
        yield piece, range(start, stop)
        begin += size


def _without(reading: Reading, cut: range) -> Reading:
    """A stretch without some of its queries: the way from the one before them to the one behind becomes one step."""

    def rest(rows: Tensor) -> Tensor:
        return torch.cat([rows[:, : cut.start], rows[:, cut.stop :]], dim=1)

    coming = reading.coming
    if coming is not None:
        if coming.step_sums is None:
            raise ValueError("a stretch was scanned without sums of its steps.")
        before, gone, behind = coming.step_sums.tensor_split([cut.start, cut.stop + 1], dim=1)
        step_sums = torch.cat([before, gone.sum(dim=1, keepdim=True), behind], dim=1)
        coming = coming._replace(reads=rest(coming.reads), step_sums=step_sums)
    return Reading(rest(reading.y), coming)


def _take(pieces: list[Tensor], count: int) -> Tensor | None:
    """The first rows of some pieces [B, n, D], which are taken off; None if there shall be none."""
    taken: list[Tensor] = []
    while count:
        piece = pieces.pop(0)
        if piece.shape[1] > count:
            pieces.insert(0, piece[:, count:])
            piece = piece[:, :count]
        count -= piece.shape[1]
        taken.append(piece)
    if not taken:
        return None
    return taken[0] if len(taken) == 1 else torch.cat(taken, dim=1)
