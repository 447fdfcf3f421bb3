"""Outcomes and a metric in, the score with its 95 % interval out; of all of them, or by a tag."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from bimba.evaluation.metrics.official import ALL, Metric, Outcome, Unit
from bimba.evaluation.metrics.resampling import Array, UnitsByVideo, interval, mean_of_groups, over_draws
from bimba.evaluation.shares import wilson_interval

_DIGITS = 6


@dataclass(frozen=True)
class Score:
    """A score and how sure it is.

    Attributes:
        value: 0 to 1.
        low: of the 95 % interval.
        high: of the 95 % interval.
        right: units that are right.
        count: units: questions, or items whose every try must be right.
        num_videos: that they are about.
    """

    value: float
    low: float
    high: float
    right: int
    count: int
    num_videos: int

    def to_dict(self) -> dict[str, float]:
        """As plain values, ready for JSON."""
        return asdict(self)


def score(outcomes: Sequence[Outcome], metric: Metric) -> Score:
    """Score outcomes as a benchmark's authors do.

    The interval comes from drawing whole videos (`resampling`). Where the videos do not differ (everything is right,
    say), draws do not either; then it is Wilson's, with the videos as the sample.

    Raises:
        ValueError: there is nothing to count, or the outcomes do not fit the metric.
    """
    units = metric.units(outcomes)
    if not units:
        raise ValueError(f"{metric.name} has nothing to count in {len(outcomes)} outcomes")
    groups = sorted({unit.group for unit in units})
    videos = sorted({unit.video for unit in units})
    table = UnitsByVideo(units, groups, videos)
    value = float(mean_of_groups(table.right.sum(0), table.count.sum(0)))
    draws = over_draws(len(videos), lambda weights: mean_of_groups(weights @ table.right, weights @ table.count))
    return _score(units, value, draws)


def scores_by(outcomes: Sequence[Outcome], tag: str, metric: Metric) -> dict[str, Score]:
    """Score each group of a tag by itself, every unit alike; questions without the tag are left out.

    A question that stands in several groups is counted in each, as LVBench's authors do.

    Args:
        outcomes: of all groups.
        tag: what to group by.
        metric: says what a unit is; that it averages over groups plays no part here.
    """
    tagged = [replace(outcome, tags={tag: group}) for outcome in outcomes for group in outcome.groups(tag)]
    units = Metric(metric.name, metric.title, tries=metric.tries, over=tag).units(tagged)
    if not units:
        return {}
    groups = sorted({unit.group for unit in units})
    videos = sorted({unit.video for unit in units})
    table = UnitsByVideo(units, groups, videos)

    def shares(weights: Array) -> Array:
        right, count = weights @ table.right, weights @ table.count
        return np.divide(right, count, out=np.full_like(right, np.nan), where=count > 0)

    draws = over_draws(len(videos), shares)
    found = {}
    for column, group in enumerate(groups):
        mine = [Unit(unit.video, ALL, unit.right) for unit in units if unit.group == group]
        found[group] = _score(mine, sum(unit.right for unit in mine) / len(mine), draws[:, column])
    return found


def _score(units: Sequence[Unit], value: float, draws: Array) -> Score:
    right, num_videos = sum(unit.right for unit in units), len({unit.video for unit in units})
    low, high = interval(draws)
    if low == high:
        low, high = wilson_interval(min(value, 1.0) * num_videos, num_videos)
    return Score(round(value, _DIGITS), round(low, _DIGITS), round(high, _DIGITS), right, len(units), num_videos)
