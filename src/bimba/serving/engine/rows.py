"""Keys and values of several answers in, one cache that a step of all of them reads out; rows come and go.

transformers' own cache has one length for all rows, and is copied whole at each token. Here each row has a length, new
keys and values are written behind its last ones, and a mask hides what lies behind them in shorter rows.

Shapes: R rows that are taken, H heads, C places of a row, D width of a head; L tokens of a row, N new ones of the row
that has most of them, M places that are read.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

Layers = Sequence[tuple[Tensor, Tensor]]
"""Keys and values [1, H, L, D] of each layer."""

_GROWS_BY = 256
"""Places that a row gets at least, when it gets more."""

_IDLE_BYTES = 1 << 26
"""Kept while there is no row, so that the next ones find room."""


class Rows:
    """A cache of plain keys and values for prompts or answers of different lengths.

    Args:
        num_layers: of the language model.

    Attributes:
        lengths: tokens of each row that is taken [R].
    """

    def __init__(self, num_layers: int) -> None:
        self.lengths: list[int] = []
        self._layers = [_RowsLayer() for _ in range(num_layers)]

    def join(self, layers: Layers = ()) -> None:
        """Take a row more, behind the others: what was read of one prompt; an empty row if that is nothing."""
        for number, mine in enumerate(self._layers):
            mine.join(len(self.lengths), layers[number] if layers else None)
        self.lengths.append(layers[0][0].shape[2] if layers else 0)

    def leave(self, row: int) -> None:
        """Give a row up; the last one moves to its place."""
        last = len(self.lengths) - 1
        for layer in self._layers:
            layer.move(last, row)
        self.lengths[row] = self.lengths[last]
        self.lengths.pop()
        if not self.lengths and sum(layer.num_bytes for layer in self._layers) > _IDLE_BYTES:
            self._layers = [_RowsLayer() for _ in self._layers]

    def row(self, row: int) -> Layers:
        """What a row holds; it changes with the rows."""
        return [layer.row(row, self.lengths[row]) for layer in self._layers]

    def step(self, device: torch.device, counts: Sequence[int] | None = None) -> tuple[Cache, Tensor, Tensor]:
        """What a step of all rows is read with.

        Args:
            device: of the model.
            counts: new tokens of each row [R], one or more; one of each if not given. Rows with fewer than others have
                them at the end of N.

        Returns:
            the cache; the mask of what is seen, [R, M] (behind each other's tokens nothing is) or, of several rows with
            several tokens, bool [R, 1, N, M]; and the place of each new token [R, N].
        """
        lengths = torch.tensor(self.lengths, device=device)
        news = torch.ones_like(lengths) if counts is None else torch.tensor(counts, device=device)
        num_new = max(counts or [1])
        most = max(length + new for length, new in zip(self.lengths, counts or [1] * len(self.lengths), strict=True))
        ahead = torch.arange(num_new, device=device)[None] - (num_new - news)[:, None]
        places = lengths[:, None] + ahead.clamp(min=0)
        # What stands in front of a row's own tokens is written behind them, where nothing sees it.
        written = torch.where(ahead >= 0, places, lengths[:, None] + num_new + ahead)
        for layer in self._layers:
            layer.point(written, most, max(self.lengths) + num_new)
        return Cache(layers=list(self._layers)), _seen(lengths, places, most), places

    def stepped(self, counts: Sequence[int] | None = None) -> None:
        """Each row has become longer by the tokens that were read."""
        self.lengths = [a + b for a, b in zip(self.lengths, counts or [1] * len(self.lengths), strict=True)]


def _seen(lengths: Tensor, places: Tensor, most: int) -> Tensor:
    """The mask of a step."""
    every = torch.arange(most, device=places.device)
    if places.shape[1] == 1 or len(lengths) == 1:
        return (every[None] <= places[:, -1:]).long()
    return every[None, None, None] <= places[:, None, :, None]


class _RowsLayer(DynamicLayer):
    """Keys and values of one layer, in buffers [rows, H, C, D] that grow when they have to."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # untyped there
        self._kept: tuple[Tensor, Tensor] | None = None
        self._places: Tensor | None = None
        self._most = self._room = 0

    def join(self, row: int, its: tuple[Tensor, Tensor] | None) -> None:
        """Copy keys and values [1, H, L, D] into a row; nothing is left of a row that was there before."""
        if its is not None:
            self._with_room(row + 1, its[0].shape[2], its)
        if self._kept is None or row >= len(self._kept[0]):
            return
        for number, kept in enumerate(self._kept):
            length = 0 if its is None else its[number].shape[2]
            kept[row, :, length:] = 0  # where it was no number, not seeing it would not be enough
            if its is not None:
                kept[row, :, :length] = its[number][0]

    @property
    def num_bytes(self) -> int:
        """Of the buffers."""
        return sum(kept.nbytes for kept in self._kept or ())

    def move(self, source: int, target: int) -> None:
        """Copy a row over another."""
        if source != target and self._kept is not None:
            for kept in self._kept:
                if source < len(kept):
                    kept[target] = kept[source]
                elif target < len(kept):  # an empty row, for which there was no need of room yet
                    kept[target] = 0

    def row(self, row: int, length: int) -> tuple[Tensor, Tensor]:
        """Keys and values of a row [1, H, L, D]."""
        if self._kept is None:
            raise ValueError("no row has joined.")
        keys, values = self._kept
        return keys[row : row + 1, :, :length], values[row : row + 1, :, :length]

    def point(self, places: Tensor, most: int, room: int) -> None:
        """Say where the next keys and values go [R, N], how many places are read then, and how many may be written."""
        self._places, self._most, self._room = places, most, room

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Write new keys and values [R, H, N, D] behind each row's last; all [R, H, M, D] out."""
        del args, kwargs
        if self._places is None:
            raise ValueError("nobody said where the new keys and values go.")
        places = self._places.to(key_states.device)
        rows = torch.arange(len(key_states), device=key_states.device)[:, None]
        read = []
        states = key_states, value_states
        for kept, its in zip(self._with_room(len(rows), self._room, states), states, strict=True):
            kept[rows, :, places] = its.transpose(1, 2)
            read.append(kept[: len(rows), :, : self._most])
        return read[0], read[1]

    def get_seq_length(self) -> int:
        """Tokens of the longest row before the step."""
        return max(self._most - (0 if self._places is None else self._places.shape[1]), 0)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Places that a step reads, from the first on."""
        return self.get_seq_length() + query_length, 0

    def _with_room(self, num_rows: int, length: int, like: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """The buffers; larger ones, if so many rows of such a length do not fit."""
        rows, places = (0, 0) if self._kept is None else (self._kept[0].shape[0], self._kept[0].shape[2])
        if self._kept is None or num_rows > rows or length > places:
            rows = rows if num_rows <= rows else max(num_rows, 2 * rows)
            places = places if length <= places else length + max(_GROWS_BY, length // 8)
            grown: list[Any] = []
            for index, its in enumerate(like):
                larger = its.new_zeros(rows, its.shape[1], places, its.shape[3])
                if self._kept is not None:
                    old = self._kept[index]
                    larger[: old.shape[0], :, : old.shape[2]] = old
                grown.append(larger)
            self._kept = grown[0], grown[1]
        return self._kept
