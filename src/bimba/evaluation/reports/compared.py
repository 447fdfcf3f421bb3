"""Two runs of one benchmark in, their paired difference out: over all, and by every group."""

from collections.abc import Sequence
from typing import Any

from bimba.errors import InputError
from bimba.evaluation.benchmarks import Benchmark
from bimba.evaluation.metrics import METRICS, Metric, Outcome, compare
from bimba.evaluation.reports.results import MICRO


def compared(benchmark: Benchmark, first: Sequence[Outcome], second: Sequence[Outcome]) -> dict[str, Any]:
    """Compare two runs on the questions that both answered.

    Args:
        benchmark: that both are of.
        first: outcomes of the one.
        second: of the other; differences are second minus first.

    Returns:
        "shared" (questions), "scores" (by metric, as `Comparison.to_dict`), "by" (tag, group).

    Raises:
        InputError: they share no question with a public answer.
    """
    shared = {outcome.id for outcome in first} & {outcome.id for outcome in second}
    if not shared:
        raise InputError(
            "the runs share no question whose answer is public.", fix="compare runs of the same benchmark and limit."
        )
    names = dict.fromkeys((benchmark.metric, MICRO))
    metrics = [METRICS[name] for name in names]
    return {
        "shared": len(shared),
        "scores": {
            metric.name: {"title": metric.title} | compare(first, second, metric).to_dict()
            for metric in metrics
            if _counts(metric, first, shared) and _counts(metric, second, shared)
        },
        "by": {tag: _by(tag, METRICS[benchmark.metric], first, second) for tag in benchmark.breakdowns},
    }


def _counts(metric: Metric, outcomes: Sequence[Outcome], shared: set[str]) -> bool:
    """Whether a metric has something to count, and what it averages over."""
    mine = [outcome for outcome in outcomes if outcome.id in shared]
    has_groups = metric.over is None or all(metric.over in outcome.tags for outcome in mine)
    return has_groups and bool(metric.units(mine))


def _by(tag: str, metric: Metric, first: Sequence[Outcome], second: Sequence[Outcome]) -> dict[str, dict[str, Any]]:
    """Each group by itself, every unit alike."""
    each_alike = Metric(metric.name, metric.title, tries=metric.tries)
    groups = sorted({group for outcome in first for group in outcome.groups(tag)})
    found = {}
    for group in groups:
        mine = [[each for each in run if group in each.groups(tag)] for run in (first, second)]
        shared = {each.id for each in mine[0]} & {each.id for each in mine[1]}
        if shared and all(_counts(each_alike, run, shared) for run in mine):
            found[group] = compare(mine[0], mine[1], each_alike).to_dict()
    return found
