"""A data set in, what is in it and what cannot be read of it out: every sample is made as training makes it."""

import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bimba.training.data.example import Example, Failure
from bimba.training.data.example_dataset import ExampleDataset
from bimba.training.data.workers import ask_all


@dataclass(frozen=True)
class Spread:
    """Numbers in short: the smallest, the one in the middle, the largest, and all together."""

    least: int
    median: float
    most: int
    total: int

    @classmethod
    def of(cls, numbers: Sequence[int]) -> "Spread | None":
        """The spread of some numbers, None of none."""
        if not numbers:
            return None
        return cls(min(numbers), statistics.median(numbers), max(numbers), sum(numbers))


@dataclass(frozen=True)
class Report:
    """What a data set holds.

    Attributes:
        num_samples: all of them.
        num_by_kind: of "video", "image" and "text", and "damaged" ones, which are none of those.
        failures: samples that cannot be read, and why.
        tokens: of a sample that can; None if none can.
        learned: tokens of it that are learned.
        frames: of a sample with frames.
    """

    num_samples: int
    num_by_kind: dict[str, int]
    failures: tuple[Failure, ...]
    tokens: Spread | None
    learned: Spread | None
    frames: Spread | None

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class _Found:
    """What is counted of a sample: no pixels."""

    kind: str
    num_tokens: int = 0
    num_learned: int = 0
    num_frames: int = 0
    failure: Failure | None = None


def check_samples(
    dataset: ExampleDataset, *, workers: int, on_progress: Callable[[int, int], None] | None = None
) -> Report:
    """Read every sample fully: probe its files, decode the chosen frames, write and tokenize its conversation.

    Args:
        dataset: of the samples.
        workers: processes that read; 0 reads in this one.
        on_progress: called with how many samples are read and how many there are.
    """
    found = list(ask_all(dataset, _look, workers=workers, on_progress=on_progress))
    good = [item for item in found if item.failure is None]
    return Report(
        num_samples=len(found),
        num_by_kind=dict(Counter(item.kind for item in found)),
        failures=tuple(item.failure for item in found if item.failure is not None),
        tokens=Spread.of([item.num_tokens for item in good]),
        learned=Spread.of([item.num_learned for item in good]),
        frames=Spread.of([item.num_frames for item in good if item.num_frames]),
    )


def _look(dataset: ExampleDataset, index: int) -> _Found:
    kind = dataset.kind(index) or "damaged"
    example = dataset[index]
    if isinstance(example, Example):
        return _Found(kind, len(example.ids), example.num_learned, sum(example.num_frames))
    return _Found(kind, failure=example)
