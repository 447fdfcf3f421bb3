"""What the language model has read of a conversation in, so much of it as the next prompt begins with out.

A conversation grows at its end: the video and all earlier turns are the same in each prompt. Their keys and values are
kept, so that the second question costs what it adds.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from typing import Any

from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer


class Prefix:
    """Keys and values of a conversation, and which ids they are of.

    Language models without plain ones (recurrent, or with a sliding window) read each prompt anew.

    Args:
        text_model: whose they are.
    """

    def __init__(self, text_model: Any) -> None:
        self._text_model = text_model
        self._ids: list[int] = []
        self._cache: DynamicCache | None = None

    @property
    def num_kept(self) -> int:
        """Tokens whose keys and values are there."""
        return len(self._ids)

    @contextmanager
    def reading(self, ids: Sequence[int]) -> Iterator[DynamicCache | None]:
        """Hand out a cache that holds what a prompt begins with; what is read with it is kept for the next.

        Whatever ends the block, the prompt is kept as far as it was read, and nothing behind it.

        Args:
            ids: of the whole prompt [L].

        Yields:
            the cache; None if the language model has no plain one.
        """
        known = zip(self._ids, ids, strict=False)
        # Something has to be read for there to be a next token.
        shared = min(sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], known)), len(ids) - 1)
        cache = self._cache if shared else empty_cache(self._text_model)
        self._ids, self._cache = [], None
        if cache is None:
            yield None
            return
        _cut(cache, shared)
        try:
            yield cache
        finally:
            length = min(cache.get_seq_length(), len(ids))
            _cut(cache, length)
            self._ids, self._cache = list(ids[:length]), cache


def empty_cache(text_model: Any) -> DynamicCache | None:
    """A cache of plain keys and values for a language model; None if it has no such."""
    if text_model._is_stateful:  # noqa: SLF001 - transformers' own name
        return None
    cache = DynamicCache(config=text_model.config)
    return cache if is_plain(cache) else None


def is_plain(cache: Any) -> bool:
    """Whether a cache holds the keys and values of every token, so that it can be cut anywhere."""
    return isinstance(cache, DynamicCache) and all(type(layer) is DynamicLayer for layer in cache.layers)


def _cut(cache: DynamicCache, length: int) -> None:
    """Keep so many tokens; transformers' own `crop` takes other numbers from version to version."""
    if length < cache.get_seq_length():
        layers: list[Any] = cache.layers
        for layer in layers:
            layer.keys, layer.values = layer.keys[..., :length, :], layer.values[..., :length, :]
