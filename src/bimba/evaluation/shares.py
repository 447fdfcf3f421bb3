"""Outcomes in, shares with their 95 % intervals out."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

Z = 1.959963984540054
"""Of a normal distribution, 95 % lie so many standard deviations around the mean."""


def wilson_interval(right: float, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share.

    Source: E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 22 (1927). Unlike
    the usual plus-minus it stays inside 0 and 1, and it is not empty where nothing or everything is right.

    Args:
        right: how many are right; a part of one where each counts as several.
        count: of how many, at least one.

    Raises:
        ValueError: there are none, or more are right than there are.
    """
    if not 0 <= right <= count or count == 0:
        raise ValueError(f"{right} of {count} is no share")
    share, shrink = right / count, 1 + Z**2 / count
    middle = (share + Z**2 / (2 * count)) / shrink
    half = Z / shrink * math.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
    # Rounding would put the ends of 0 and of everything next to where they are.
    return (0.0 if right == 0 else middle - half, 1.0 if right == count else middle + half)


@dataclass(frozen=True)
class Share:
    """How many questions were answered rightly.

    Attributes:
        right: of them.
        count: all of them.
        accuracy: the one over the other.
        low: of the 95 % interval (Wilson).
        high: of the 95 % interval.
    """

    right: int
    count: int
    accuracy: float
    low: float
    high: float

    @classmethod
    def of(cls, outcomes: Iterable[bool]) -> "Share":
        """Count.

        Raises:
            ValueError: there are none.
        """
        counted: Sequence[bool] = list(outcomes)
        right, count = sum(counted), len(counted)
        low, high = wilson_interval(right, count)
        return cls(right, count, round(right / count, 6), round(low, 6), round(high, 6))

    def to_dict(self) -> dict[str, float]:
        """As plain values, ready for JSON."""
        return asdict(self)
