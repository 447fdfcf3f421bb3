"""Two runs' outcomes of the same questions in, how far their scores are apart and whether that may be chance out."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bimba.evaluation.metrics.official import Metric, Outcome
from bimba.evaluation.metrics.resampling import (
    NUM_DRAWS,
    SEED,
    UnitsByVideo,
    interval,
    mean_of_groups,
    over_draws,
)

_DIGITS = 6
_CHUNK = 250


@dataclass(frozen=True)
class Comparison:
    """How two runs differ on the questions that both answered.

    Attributes:
        first: score of the first run, 0 to 1.
        second: score of the second run.
        difference: second minus first.
        low: of its 95 % interval.
        high: of its 95 % interval.
        p_value: how often runs that do not differ would be as far apart, two-sided.
        count: units that both have.
        num_videos: that these are about.
        only_first: units that only the first run has right.
        only_second: units that only the second run has right.
        both: units that both have right.
        neither: units that neither has right.
    """

    first: float
    second: float
    difference: float
    low: float
    high: float
    p_value: float
    count: int
    num_videos: int
    only_first: int
    only_second: int
    both: int
    neither: int

    def to_dict(self) -> dict[str, Any]:
        """As plain values, ready for JSON."""
        return asdict(self)


def compare(first: Sequence[Outcome], second: Sequence[Outcome], metric: Metric) -> Comparison:
    """Compare two runs question by question.

    The interval comes from drawing whole videos; the p-value from exchanging the two runs' outcomes of whole videos at
    random (a paired permutation test, whose null hypothesis is that it makes no difference which run answered).

    Args:
        first: outcomes of one run.
        second: of the other; questions that only one run answered are left out.
        metric: as of `score`.

    Raises:
        ValueError: they share no question, or do not fit the metric.
    """
    shared = {outcome.id for outcome in first} & {outcome.id for outcome in second}
    runs = [sorted((each for each in run if each.id in shared), key=lambda each: each.id) for run in (first, second)]
    units = [metric.units(run) for run in runs]
    if not units[0]:
        raise ValueError(f"the runs share nothing that {metric.name} counts")
    groups = sorted({unit.group for unit in units[0]})
    videos = sorted({unit.video for unit in units[0]})
    one, two = (UnitsByVideo(each, groups, videos) for each in units)
    scores = [float(mean_of_groups(table.right.sum(0), table.count.sum(0))) for table in (one, two)]
    difference = scores[1] - scores[0]
    draws = over_draws(
        len(videos),
        lambda weights: (
            mean_of_groups(weights @ two.right, weights @ two.count)
            - mean_of_groups(weights @ one.right, weights @ one.count)
        ),
    )
    low, high = interval(draws)
    if low == high != 0:
        low, high = -1.0, 1.0  # videos that all differ alike show no spread, which is not to know that there is none
    pairs = [(a.right, b.right) for a, b in zip(*units, strict=True)]
    return Comparison(
        first=round(scores[0], _DIGITS),
        second=round(scores[1], _DIGITS),
        difference=round(difference, _DIGITS),
        low=round(low, _DIGITS),
        high=round(high, _DIGITS),
        p_value=round(_p_value(one, two, difference), _DIGITS),
        count=len(pairs),
        num_videos=len(videos),
        only_first=pairs.count((True, False)),
        only_second=pairs.count((False, True)),
        both=pairs.count((True, True)),
        neither=pairs.count((False, False)),
    )


def _p_value(one: UnitsByVideo, two: UnitsByVideo, difference: float) -> float:
    """Share of exchanges that are as far apart as the runs, theirs included."""
    generator = np.random.default_rng(SEED)
    apart, count = two.right - one.right, one.count.sum(0)
    as_far = 1
    for start in range(0, NUM_DRAWS, _CHUNK):
        signs = generator.choice([-1.0, 1.0], (min(_CHUNK, NUM_DRAWS - start), len(apart)))
        exchanged = (signs @ apart / count).mean(-1)
        as_far += int((np.abs(exchanged) >= abs(difference) - 1e-12).sum())
    return as_far / (NUM_DRAWS + 1)
