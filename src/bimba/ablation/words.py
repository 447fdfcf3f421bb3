"""Tables in, sentences that claim no more than the numbers do out.

Two levels are told apart: the intervals of two contenders do not touch, or only the interval of their difference by
seed leaves out zero. Whatever is less is called not separated.
"""

from collections.abc import Mapping
from typing import Any

from bimba.ablation.contenders import BASELINE, CONTENDERS
from bimba.ablation.estimates import FEWEST, Estimate
from bimba.evaluation.shares import wilson_interval

MEASURE_WORDS = {"within_window": "order within one window", "all_kinds": "all kinds of questions"}
"""Measures that are spoken about, as people read them."""
CHANCE = 0.5
"""Of the question which of two came first, for whoever always says one of the two."""

COVERS = (
    "An interval is Student's t over seeds, at 95 %: how far the mean would move if other seeds had been drawn. All "
    "runs answer the same questions, so that it does not cover the choice of questions, nor other sizes, data or "
    "lengths of training. Each comparison stands for itself; of many, one in twenty is expected to look separated "
    "where nothing is."
)


def estimate_of(row: dict[str, Any] | None) -> Estimate | None:
    """An estimate that was read from JSON."""
    if row is None:
        return None
    return Estimate(row["mean"], row["low"], row["high"], tuple(row["values"]))


def conclusions(tables: Mapping[str, Any]) -> dict[str, list[str]]:
    """What may be said, by measure: one sentence for each contender beside the selective scan."""
    rows = tables["contenders"]
    if BASELINE not in rows:
        return {
            measure: ["There is no finished run of the selective scan to compare with."] for measure in MEASURE_WORDS
        }
    return {
        measure: [_sentence(name, rows[name], rows[BASELINE], measure) for name in rows if name != BASELINE]
        for measure in MEASURE_WORDS
    }


def against_chance(tables: Mapping[str, Any]) -> list[str]:
    """Who tells the order within a window better than one who knows both needles and guesses.

    All runs answer the same questions, which does no harm where runs are compared with each other. Chance is no run: it
    has to lie outside of the interval over seeds, and outside of that of so many questions.
    """
    sentences = []
    count = tables["counts"]["within_window"]
    for name, row in tables["contenders"].items():
        found = estimate_of(row["within_window"])
        if found is None:
            continue
        label = CONTENDERS[name].label
        low, high = wilson_interval(found.mean * count, count)
        beyond = f"beyond its interval and that of {count:,} questions ({_shown(found)})"
        if found.low is None or found.high is None:
            sentences.append(f"{label}: {found.mean:.3f}; {_why_none(found)}, so that nothing is said about chance.")
        elif min(found.low, low) > CHANCE:
            sentences.append(f"{label} is above {CHANCE} {beyond}.")
        elif max(found.high, high) < CHANCE:
            sentences.append(f"{label} is below {CHANCE} {beyond}: it errs otherwise, too.")
        else:
            sentences.append(f"{label} is not told from {CHANCE} ({_shown(found)}).")
    return sentences


def _sentence(name: str, row: dict[str, Any], baseline: dict[str, Any], measure: str) -> str:
    label = CONTENDERS[name].label
    difference = estimate_of((row["differences"] or {}).get(measure))
    if difference is None:
        return f"{label} shares no seed with the selective scan; they are not compared."
    if difference.low is None:
        return (
            f"{label} differs from the selective scan by {difference.mean:+.3f}; {_why_none(difference)}, so that "
            f"nothing is claimed."
        )
    theirs, ours = estimate_of(row[measure]), estimate_of(baseline[measure])
    side = "below" if difference.mean < 0 else "above"
    by = f"by seed {_shown(difference, sign='+')}"
    excludes = difference.excludes(0.0)
    if theirs is not None and ours is not None and theirs.is_apart_from(ours) and excludes:
        return f"{label} lies {side} the selective scan beyond the intervals ({_shown(theirs)}; {by})."
    if excludes:
        alone = [each for each in (theirs, ours) if each is None or each.low is None]
        why = (
            "one of the two has no interval, as its seeds are all equal" if alone else "the intervals of the two touch"
        )
        return f"{label} lies {side} the selective scan where runs of one seed are compared ({by}), but {why}."
    return f"{label} is not separated from the selective scan ({by})."


def _why_none(found: Estimate) -> str:
    """Why there is no interval."""
    count = len(found.values)
    if count < FEWEST:
        return f"an interval needs {FEWEST} seeds, of which {'one is' if count == 1 else f'{count} are'} there"
    return f"all {count} seeds say the same"


def _shown(found: Estimate, sign: str = "") -> str:
    """Mean and interval: "0.712, 0.690 to 0.734"."""
    if found.low is None or found.high is None:
        return f"{found.mean:{sign}.3f}"
    return f"{found.mean:{sign}.3f}, {found.low:{sign}.3f} to {found.high:{sign}.3f}"
