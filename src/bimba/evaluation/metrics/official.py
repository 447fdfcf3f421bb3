"""Outcomes in, the units that a metric counts out, each in the group that it is averaged in.

All metrics of the benchmarks here are a mean over groups of the share of right units. They differ in what a unit is (a
question, or an item whose every try must be right), and in the groups (none, tasks, types).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

ALL = "all"
"""The one group of a metric that averages over everything at once."""


@dataclass(frozen=True)
class Outcome:
    """How a question was answered.

    Attributes:
        id: of the question.
        video: that it is about; questions about one video are not independent.
        right: or wrong, which an answer that cannot be read is, too.
        item: what the tries of one question share; its own id where it is asked once.
        tags: what it can be grouped by: {"type": "ret_insert1"}; several groups of one kind are a tuple.
    """

    id: str
    video: str
    right: bool
    item: str = ""
    tags: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)

    def groups(self, tag: str) -> tuple[str, ...]:
        """The groups of one kind that it stands in; none if it lacks the tag."""
        found = self.tags.get(tag, ())
        return (found,) if isinstance(found, str) else found


@dataclass(frozen=True)
class Unit:
    """What is counted once.

    Attributes:
        video: that it is about.
        group: that it is averaged in.
        right: or wrong.
    """

    video: str
    group: str
    right: bool


@dataclass(frozen=True)
class Metric:
    """How a benchmark is scored.

    Attributes:
        name: as in results.
        title: in words.
        tries: how often each item is asked; all must be right.
        over: tag whose groups count equally; None averages over all units at once.
    """

    name: str
    title: str
    tries: int = 1
    over: str | None = None

    def units(self, outcomes: Sequence[Outcome]) -> list[Unit]:
        """Count; an item of which a try is missing is left out (see `incomplete_items`).

        Raises:
            ValueError: an outcome lacks the tag or stands in several groups, the tries of an item differ in group or
                video, or there are too many.
        """
        if self.tries == 1:
            return [Unit(outcome.video, self._group(outcome), outcome.right) for outcome in outcomes]
        units = []
        for name, tries in _items(outcomes, self.tries).items():
            places = {(outcome.video, self._group(outcome)) for outcome in tries}
            if len(places) != 1 or len(tries) > self.tries:
                raise ValueError(f"item {name!r} has {len(tries)} tries, at most {self.tries}, in {sorted(places)}")
            if len(tries) == self.tries:
                [(video, group)] = places
                units.append(Unit(video, group, all(outcome.right for outcome in tries)))
        return units

    def chance(self, guesses: Sequence[tuple[Outcome, float]]) -> float | None:
        """What guessing would score: every try of an item by itself.

        Args:
            guesses: outcomes, of which only what they are about counts, and the share that guessing has right of each.

        Returns:
            0 to 1; None if nothing can be counted.

        Raises:
            ValueError: as `units`.
        """
        shares: dict[str, list[float]] = {}
        by_id = {outcome.id: share for outcome, share in guesses}
        for tries in _items([outcome for outcome, _ in guesses], self.tries).values():
            if len(tries) == self.tries:
                share = math.prod(by_id[outcome.id] for outcome in tries)
                shares.setdefault(self._group(tries[0]), []).append(share)
        return fmean(fmean(group) for group in shares.values()) if shares else None

    def _group(self, outcome: Outcome) -> str:
        if self.over is None:
            return ALL
        groups = outcome.groups(self.over)
        if len(groups) != 1:
            told = "no" if not groups else f"{len(groups)} values of"
            raise ValueError(f"question {outcome.id!r} has {told} {self.over!r}, over which {self.name} averages")
        return groups[0]


def incomplete_items(outcomes: Sequence[Outcome], tries: int) -> list[str]:
    """Items of which fewer tries were answered than there are, in order."""
    return [name for name, found in _items(outcomes, tries).items() if len(found) < tries]


def _items(outcomes: Sequence[Outcome], tries: int) -> dict[str, list[Outcome]]:
    """Outcomes of each item; where there is one try, each is an item by itself."""
    items: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        items.setdefault(outcome.item or outcome.id if tries > 1 else outcome.id, []).append(outcome)
    return items


METRICS = {
    metric.name: metric
    for metric in (
        Metric("accuracy", "accuracy over all questions"),
        Metric("all_tries", "all four tries right, mean over types", tries=4, over="type"),
        Metric("mean_of_tasks", "mean of the tasks' accuracies", over="task"),
    )
}
"""By name, as the benchmarks' files call them. All-tries: VNBench (arXiv 2406.09367), circular evaluation with four
orders of the options. Mean of tasks: MLVU (arXiv 2406.04264), M-Avg; MVBench (arXiv 2311.17005), Avg."""
