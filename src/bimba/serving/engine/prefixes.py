"""Prompts that were read in, what the next prompt about the same video begins with out: it is not read again.

Shapes: L tokens of a prompt, H heads, D width of a head.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from torch import Tensor

from bimba.serving.engine.rows import Layers

_WORTH_KEEPING = 64
"""Tokens more than what is kept of a video already; fewer are read again sooner than all is copied."""


@dataclass(frozen=True)
class _Read:
    """A prompt that was read: its ids [L], and keys and values [1, H, L, D] of each layer."""

    ids: tuple[int, ...]
    layers: tuple[tuple[Tensor, Tensor], ...]

    @property
    def num_bytes(self) -> int:
        return sum(keys.nbytes + values.nbytes for keys, values in self.layers)


class Prefixes:
    """A prompt about each video, as it was read; those of the video that was asked about longest ago go first.

    Args:
        most_bytes: of all together, where the model is.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._read: OrderedDict[str, _Read] = OrderedDict()

    def known(self, video: str | None, ids: Sequence[int]) -> Layers:
        """What is known of the beginning of a prompt, never all of it; empty if nothing is.

        Args:
            video: which video the prompt is about, and how it was looked at; None without one.
            ids: of the prompt [L].
        """
        known = None if video is None else self._read.get(video)
        if video is None or known is None:
            return ()
        self._read.move_to_end(video)
        shared = _shared(known.ids, ids)
        return [(keys[..., :shared, :], values[..., :shared, :]) for keys, values in known.layers] if shared else ()

    def keep(self, video: str | None, ids: Sequence[int], layers: Layers) -> None:
        """Keep a prompt that has been read, if it says enough more of its video than what is kept.

        Args:
            video: as in `known`.
            ids: as in `known`.
            layers: of the prompt; they are copied.
        """
        if video is None or sum(keys.nbytes + values.nbytes for keys, values in layers) > self._most_bytes:
            return
        kept = self._read.get(video)
        if kept is not None and len(ids) - 1 - _shared(kept.ids, ids) < _WORTH_KEEPING:
            return
        self._read[video] = _Read(tuple(ids), tuple((keys.clone(), values.clone()) for keys, values in layers))
        self._read.move_to_end(video)
        while sum(one.num_bytes for one in self._read.values()) > self._most_bytes:
            self._read.popitem(last=False)


def _shared(known: Sequence[int], ids: Sequence[int]) -> int:
    """Tokens with which both begin, never all of the second: something has to be read for there to be a next one."""
    alike = takewhile(lambda pair: pair[0] == pair[1], zip(known, ids, strict=False))
    return min(sum(1 for _ in alike), len(ids) - 1)
