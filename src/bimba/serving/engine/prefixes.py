"""Prompts that were read in, what the next prompt about the same video begins with out: it is not read again.

Shapes: L tokens of a prompt, H heads, D width of a head.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from torch import Tensor
from transformers import DynamicCache


@dataclass(frozen=True)
class _Read:
    """A prompt that was read: its ids [L], and keys and values [1, H, L, D] of each layer."""

    ids: tuple[int, ...]
    layers: tuple[tuple[Tensor, Tensor], ...]

    @property
    def num_bytes(self) -> int:
        return sum(keys.nbytes + values.nbytes for keys, values in self.layers)


class Prefixes:
    """The newest prompt about each video, as it was read; those of the video that was asked about longest ago go first.

    Args:
        most_bytes: of all together, where the model is.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._read: OrderedDict[str, _Read] = OrderedDict()

    def fill(self, cache: DynamicCache, video: str | None, ids: Sequence[int]) -> int:
        """Put into an empty cache what is known of a prompt; how many tokens that are, never all.

        Args:
            cache: of the language model.
            video: which video the prompt is about, and how it was looked at; None without one.
            ids: of the prompt [L].
        """
        known = None if video is None else self._read.get(video)
        if video is None or known is None:
            return 0
        self._read.move_to_end(video)
        pairs = zip(known.ids, ids, strict=False)
        shared = min(sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs)), len(ids) - 1)
        for number, (keys, values) in enumerate(known.layers):
            cache.update(keys[..., :shared, :], values[..., :shared, :], number)
        return shared

    def keep(self, cache: DynamicCache, video: str | None, ids: Sequence[int]) -> None:
        """Keep a prompt that has been read, and nothing more; the cache goes on with tensors of its own.

        Args:
            cache: that holds it.
            video: as in `fill`.
            ids: as in `fill`.
        """
        if video is None:
            return
        layers: list[Any] = cache.layers
        read = _Read(tuple(ids), tuple((layer.keys, layer.values) for layer in layers))
        if read.num_bytes > self._most_bytes:
            return
        self._read[video] = read
        self._read.move_to_end(video)
        while sum(one.num_bytes for one in self._read.values()) > self._most_bytes:
            self._read.popitem(last=False)
