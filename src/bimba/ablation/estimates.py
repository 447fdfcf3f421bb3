"""Numbers of several seeds in; their mean, with an interval that says how far seeds scatter, out."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, stdev
from typing import Any

FEWEST = 3
"""Seeds below which there is no interval: of two it would be thirteen standard errors wide to each side."""
_LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds.

    Attributes:
        mean: of the values.
        low: of the 95 % interval of the mean (Student's t over seeds); None with fewer than three, and where all are
            equal: that shares of so many questions fall together says nothing of how far other seeds would lie.
        high: of that interval.
        values: one a seed, in the order of seeds.
    """

    mean: float
    low: float | None
    high: float | None
    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float], least: float = 0.0, most: float = 1.0) -> "Estimate":
        """The mean of values, none of which can be outside of some bounds.

        Args:
            values: one a seed.
            least: that a mean can be; the interval ends there.
            most: that a mean can be.

        Raises:
            ValueError: there are none.
        """
        if not values:
            raise ValueError("there are no values to take the mean of")
        mean = fmean(values)
        if len(values) < FEWEST or len(set(values)) == 1:
            return cls(round(mean, 6), None, None, tuple(values))
        half = t_quantile(len(values) - 1) * stdev(values) / math.sqrt(len(values))
        low, high = max(least, mean - half), min(most, mean + half)
        return cls(round(mean, 6), round(low, 6), round(high, 6), tuple(values))

    def excludes(self, value: float) -> bool:
        """Whether there is an interval, and the value lies outside of it."""
        return self.low is not None and self.high is not None and not self.low <= value <= self.high

    def is_apart_from(self, other: "Estimate") -> bool:
        """Whether both have intervals, which do not touch."""
        if self.low is None or self.high is None or other.low is None or other.high is None:
            return False
        return self.low > other.high or self.high < other.low

    def to_dict(self) -> dict[str, Any]:
        """As plain values, ready for JSON."""
        return asdict(self)


def paired(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Estimate | None:
    """Differences theirs - ours of the seeds that both have; None if they share none.

    Runs of one seed see the same videos in the same order, so that what is left of the difference is the contender.
    """
    seeds = sorted(ours.keys() & theirs.keys())
    if not seeds:
        return None
    return Estimate.of([round(theirs[seed] - ours[seed], 6) for seed in seeds], least=-1.0)


def t_quantile(degrees: int, level: float = _LEVEL) -> float:
    """The number within whose negative and positive so much of Student's t distribution lies.

    Args:
        degrees: of freedom, at least 1.
        level: 0 to 1.
    """
    low, high = 0.0, 1e6
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if t_share(middle, degrees) < level else (low, middle)
    return high


def t_share(t: float, degrees: int) -> float:
    """How much of Student's t distribution lies between -t and t.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.

    Args:
        t: at least 0.
        degrees: of freedom, at least 1.
    """
    angle = math.atan(t / math.sqrt(degrees))
    sine, cosine = math.sin(angle), math.cos(angle)
    is_odd = degrees % 2
    term = total = cosine if is_odd else 1.0
    if degrees == 1:
        total = 0.0
    for step in range(3 if is_odd else 2, degrees - 1, 2):
        term *= cosine**2 * (step - 1) / step
        total += term
    return 2 / math.pi * (angle + sine * total) if is_odd else sine * total
