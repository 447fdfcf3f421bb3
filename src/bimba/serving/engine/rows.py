"""Keys and values of several answers in, one cache that a step of all of them reads out; rows come and go.

transformers' own cache has one length for all rows, and is copied whole at each token. Here each row has a length, new
keys and values are written behind its last ones, and a mask hides what lies behind them in shorter rows.

Shapes: R rows that are taken, H heads, C places of a row, D width of a head; L tokens of a prompt, M of the longest.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import Cache, DynamicLayer

_GROWS_BY = 256
"""Places that a row gets at least, when it gets more."""


class Rows:
    """A cache of plain keys and values for answers of different lengths.

    Attributes:
        lengths: tokens of each row that is taken [R].
    """

    def __init__(self) -> None:
        self.lengths: list[int] = []
        self._layers: list[_RowsLayer] = []

    def join(self, cache: DynamicCache) -> None:
        """Take a row more, behind the others: what was read of one prompt, keys and values [1, H, L, D] a layer."""
        row = len(self.lengths)
        layers: list[Any] = cache.layers
        if not self._layers:
            self._layers = [_RowsLayer() for _ in layers]
        for mine, its in zip(self._layers, layers, strict=True):
            if its.keys is None or its.values is None:
                raise ValueError("a layer of the cache holds nothing.")
            mine.join(row, its.keys, its.values)
        self.lengths.append(cache.get_seq_length())

    def leave(self, row: int) -> None:
        """Give a row up; the last one moves to its place."""
        last = len(self.lengths) - 1
        for layer in self._layers:
            layer.move(last, row)
        self.lengths[row] = self.lengths[last]
        self.lengths.pop()
        if not self.lengths:
            self._layers = []

    def step(self, device: torch.device) -> tuple[Cache, Tensor, Tensor]:
        """What a step of all rows, one new token each, is read with.

        Returns:
            the cache, the mask [R, M + 1] of what each row sees, and the place of each new token [R, 1].
        """
        places = torch.tensor(self.lengths, device=device)
        most = max(self.lengths) + 1
        for layer in self._layers:
            layer.point(places, most)
        mask = torch.arange(most, device=device)[None] <= places[:, None]
        return Cache(layers=list(self._layers)), mask.long(), places[:, None]

    def stepped(self) -> None:
        """Each row has become longer by the token that was read."""
        self.lengths = [length + 1 for length in self.lengths]


class _RowsLayer(DynamicLayer):
    """Keys and values of one layer, in buffers [rows, H, C, D] that grow when they have to."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # untyped there
        self._kept: tuple[Tensor, Tensor] | None = None
        self._places: Tensor | None = None
        self._most = 0

    def join(self, row: int, keys: Tensor, values: Tensor) -> None:
        """Copy keys and values [1, H, L, D] into a row."""
        self._make_room(row + 1, keys.shape[2], (keys, values))
        for kept, its in zip(self._buffers(), (keys, values), strict=True):
            kept[row, :, : its.shape[2]] = its[0]

    def move(self, source: int, target: int) -> None:
        """Copy a row over another."""
        if source != target:
            for kept in self._buffers():
                kept[target] = kept[source]

    def point(self, places: Tensor, most: int) -> None:
        """Say where the next keys and values go [R], and how many places are read then."""
        keys, values = self._buffers()
        self._make_room(len(places), most, (keys[:1], values[:1]))
        self._places, self._most = places.to(keys.device), most

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Write new keys and values [R, H, 1, D] behind each row's last; all [R, H, M + 1, D] out."""
        del args, kwargs
        if self._places is None:
            raise ValueError("nobody said where the new keys and values go.")
        rows = torch.arange(len(key_states), device=key_states.device)
        read = []
        for kept, its in zip(self._buffers(), (key_states, value_states), strict=True):
            kept[rows, :, self._places] = its[:, :, 0]
            read.append(kept[: len(rows), :, : self._most])
        return read[0], read[1]

    def get_seq_length(self) -> int:
        """Tokens of the longest row before the step."""
        return max(self._most - 1, 0)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Places that a step reads, from the first on."""
        return self.get_seq_length() + query_length, 0

    def _buffers(self) -> tuple[Tensor, Tensor]:
        if self._kept is None:
            raise ValueError("no row has joined.")
        return self._kept

    def _make_room(self, num_rows: int, length: int, like: tuple[Tensor, Tensor]) -> None:
        """Larger buffers, if so many rows of such a length do not fit."""
        rows, places = (0, 0) if self._kept is None else (self._kept[0].shape[0], self._kept[0].shape[2])
        if num_rows <= rows and length <= places:
            return
        rows = rows if num_rows <= rows else max(num_rows, 2 * rows)
        places = places if length <= places else length + max(_GROWS_BY, length // 8)
        grown = []
        for index, its in enumerate(like):
            larger = its.new_zeros(rows, its.shape[1], places, its.shape[3])
            if self._kept is not None:
                old = self._kept[index]
                larger[: old.shape[0], :, : old.shape[2]] = old
            grown.append(larger)
        self._kept = grown[0], grown[1]
