"""What happens in a video: its needles go in, what can be asked about them comes out."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np

from bimba.needles.contents import Picture
from bimba.needles.records import Needle

T = TypeVar("T")


@dataclass(frozen=True)
class Story:
    """What happens in a video: its needles in order of time, its length, and the pictures that could be shown."""

    needles: tuple[Needle, ...]
    seconds: float
    pictures: tuple[Picture, ...] = ()
    pair: tuple[int, int] | None = None
    """Indices of two needles that share one window of frames."""

    @cached_property
    def times(self) -> Counter[str]:
        """How many times each description appears."""
        return Counter(needle.description for needle in self.needles)

    @cached_property
    def unique(self) -> list[int]:
        """Indices of the needles whose description no other needle has."""
        return [i for i, needle in enumerate(self.needles) if self.times[needle.description] == 1]

    def of_kind(self, *kinds: str) -> list[int]:
        """Indices of the needles of some kinds."""
        return [i for i, needle in enumerate(self.needles) if needle.kind in kinds]

    def only(self, indices: Iterable[int], attribute: str) -> list[int]:
        """Those of the needles whose attribute no other of them has."""
        given = [i for i in indices if attribute in self.needles[i].attributes]
        counts = Counter(self.needles[i].attributes[attribute] for i in given)
        return [i for i in given if counts[self.needles[i].attributes[attribute]] == 1]


@dataclass(frozen=True)
class Draft:
    """A question before its options are shuffled; `evidence` are indices of needles."""

    question: str
    answer: str
    wrong: Sequence[str]
    evidence: Sequence[int]


def one(values: Sequence[T], rng: np.random.Generator) -> T:
    """Return one of the values, uniformly."""
    return values[int(rng.integers(len(values)))]


def some(values: Iterable[T], count: int, rng: np.random.Generator, besides: object = None) -> list[T]:
    """Return `count` different values in random order, uniformly, leaving out `besides`."""
    left = [value for value in values if value != besides]
    return [left[int(place)] for place in rng.permutation(len(left))[:count]]
