"""What bimba-nano shall be able to do, as a table; measured shares in, whether each of its lines holds out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks.nano.measuring import HAYSTACK, LONGER, SHIPPED, Measured, Way
from bimba.evaluation.shares import Share, wilson_interval

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Bar:
    """A least share of right answers.

    Attributes:
        words: what is asked, for people.
        least: the share; with `than` "times" and "less" in relation to all kinds at the shipped setting.
        kinds: of question, counted together; all of them if empty.
        way: answers in words, or the likeliest option.
        of: name of the measurement.
        than: "itself" (the share as it is), "times" (so many times the shipped setting's) or "less" (at most so much
            below it).
    """

    words: str
    least: float
    kinds: tuple[str, ...] = ()
    way: Literal["open", "choice"] = "open"
    of: str = SHIPPED
    than: Literal["itself", "times", "less"] = "itself"


BARS = (
    Bar("what appears (retrieval)", 0.95, ("retrieval",)),
    Bar("colours", 0.90, ("colour",)),
    Bar("digits and letters (glyph)", 0.90, ("glyph",)),
    Bar("what comes first or last", 0.85, ("first", "last")),
    Bar("beginning, middle or end (position)", 0.80, ("position",)),
    Bar("how many (count)", 0.75, ("count",)),
    Bar("order of two to four", 0.60, ("order",)),
    Bar("options, by likelihood", 0.85, way="choice"),
    Bar("all kinds", 0.80),
    Bar("all kinds, 256 frames", 0.85, of=LONGER, than="times"),
    Bar("all kinds, in videos never seen in training", 0.05, of=HAYSTACK.name, than="less"),
)
"""Answers in words at 64 frames and the shipped compression, where nothing else is said."""


@dataclass(frozen=True)
class Judged:
    """A bar and what was measured.

    Attributes:
        bar: what is asked.
        needed: the least share; None where it depends on what is not measured.
        share: that was measured; None if it was not.
    """

    bar: Bar
    needed: float | None
    share: Share | None

    @property
    def holds(self) -> bool | None:
        """Whether enough is right; None if nobody knows."""
        if self.share is None or self.needed is None:
            return None
        return self.share.right / self.share.count >= self.needed - _ROUNDING

    @property
    def verdict(self) -> str:
        """In words."""
        return {True: "holds", False: "does not hold", None: "not measured"}[self.holds]


def judge(measured: Mapping[str, Measured]) -> list[Judged]:
    """Every bar in order."""
    return [Judged(bar, _needed(bar, measured), _share(bar, measured)) for bar in BARS]


def pooled(shares: Sequence[Share]) -> Share | None:
    """Several shares counted as one; None of none."""
    right, count = sum(share.right for share in shares), sum(share.count for share in shares)
    if not count:
        return None
    low, high = wilson_interval(right, count)
    return Share(right, count, round(right / count, 6), round(low, 6), round(high, 6))


def _needed(bar: Bar, measured: Mapping[str, Measured]) -> float | None:
    if bar.than == "itself":
        return bar.least
    if SHIPPED not in measured:
        return None
    base = measured[SHIPPED].open.all
    share = base.right / base.count
    return bar.least * share if bar.than == "times" else share - bar.least


def _share(bar: Bar, measured: Mapping[str, Measured]) -> Share | None:
    if bar.of not in measured:
        return None
    found = measured[bar.of]
    way: Way | None = found.open if bar.way == "open" else found.choice
    if way is None:
        return None
    return pooled([way.by_kind[kind] for kind in bar.kinds if kind in way.by_kind]) if bar.kinds else way.all
