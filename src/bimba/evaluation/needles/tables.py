"""Lines in, the tables of an evaluation out: shares of right answers, in words and by likelihood."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from statistics import fmean
from typing import Any, TypeVar

from bimba.evaluation.needles.asked import UNKNOWN
from bimba.evaluation.needles.lines import Line
from bimba.evaluation.shares import Share

NUM_PLACES = 10
"""Tenths of a video."""
MIXED = "mixed"
"""Variant of a question about needles that are not shown alike."""

K = TypeVar("K", bound=Hashable)
Outcome = tuple[Line, bool]


def tables(lines: Sequence[Line]) -> dict[str, Any]:
    """Count everything.

    Args:
        lines: of all questions that were asked, at least one.

    Returns:
        "open" (in words) and "choice" (the likeliest option), each with "all", "by_kind", "by_frames",
        "by_kind_and_frames", "by_frames_and_place", "by_variant", "by_held_out" and "by_num_needles"; shares as
        `Share.to_dict`. Of "choice" also "chance", what guessing gives; it is None if no question has options. And
        "refusals": to say that one cannot tell, where one could have.
    """
    choice = [(line, line.right_by_likelihood) for line in lines if line.right_by_likelihood is not None]
    answerable = [line for line in lines if line.kind != UNKNOWN]
    by_choice = None
    if choice:
        by_choice = _counted(choice) | {"chance": _chance([line for line, _ in choice])}
    return {
        "open": _counted([(line, line.right) for line in lines]),
        "choice": by_choice,
        "refusals": _refusals(answerable) if answerable else None,
    }


def tenth_of(place: float) -> int:
    """The tenth of a video, 0 to 9, that a place lies in."""
    return min(NUM_PLACES - 1, int(place * NUM_PLACES))


def _counted(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    kinds = _by(outcomes, lambda line: line.kind)
    return {
        "all": {
            "mean_over_kinds": round(fmean(share["accuracy"] for share in kinds.values()), 6),
            "micro": _share(right for _, right in outcomes),
        },
        "by_kind": kinds,
        "by_frames": _by(outcomes, lambda line: line.frames),
        "by_kind_and_frames": _nested(outcomes, lambda line: line.kind, lambda line: line.frames),
        "by_frames_and_place": _nested(outcomes, lambda line: line.frames, _tenth),
        "by_variant": _by(outcomes, _variant),
        "by_held_out": _by(outcomes, _held_out),
        "by_num_needles": _by(outcomes, lambda line: line.num_needles),
    }


def _by(outcomes: Iterable[Outcome], key_of: Callable[[Line], K | None]) -> dict[str, dict[str, float]]:
    """The share of each key; lines without one are left out."""
    groups = _groups(outcomes, key_of)
    return {str(key): _share(right for _, right in groups[key]) for key in sorted(groups)}  # type: ignore[type-var] # all keys of a table are of one kind


def _nested(
    outcomes: Iterable[Outcome], outer: Callable[[Line], K | None], inner: Callable[[Line], int | None]
) -> dict[str, dict[str, dict[str, float]]]:
    """The share of each pair of keys; an outer one without any pair is left out."""
    groups = _groups(outcomes, outer)
    found = {str(key): _by(groups[key], inner) for key in sorted(groups)}  # type: ignore[type-var] # as above
    return {key: shares for key, shares in found.items() if shares}


def _groups(outcomes: Iterable[Outcome], key_of: Callable[[Line], K | None]) -> dict[K, list[Outcome]]:
    groups: dict[K, list[Outcome]] = {}
    for line, right in outcomes:
        key = key_of(line)
        if key is not None:
            groups.setdefault(key, []).append((line, right))
    return groups


def _share(outcomes: Iterable[bool]) -> dict[str, float]:
    return Share.of(outcomes).to_dict()


def _tenth(line: Line) -> int | None:
    """Where what is asked for stands; only a single needle stands in one place."""
    return tenth_of(line.place) if line.place is not None and line.num_evidence == 1 else None


def _variant(line: Line) -> str | None:
    return (line.variant or MIXED) if line.num_evidence else None


def _held_out(line: Line) -> str | None:
    return None if line.held_out is None else "held out" if line.held_out else "not held out"


def _chance(lines: Sequence[Line]) -> dict[str, Any]:
    """What taking any option gives, of each kind and over all."""
    kinds = _groups([(line, False) for line in lines], lambda line: line.kind)
    by_kind = {kind: _guess(line for line, _ in kinds[kind]) for kind in sorted(kinds)}
    return {
        "all": {"mean_over_kinds": round(fmean(by_kind.values()), 6), "micro": _guess(lines)},
        "by_kind": by_kind,
    }


def _refusals(answerable: Sequence[Line]) -> dict[str, float]:
    """How often it was said that one cannot tell, where one could have."""
    share = Share.of(line.refused for line in answerable)
    return {"refused": share.right, "count": share.count, "share": share.accuracy, "low": share.low, "high": share.high}


def _guess(lines: Iterable[Line]) -> float:
    return round(fmean(1 / len(line.options) for line in lines), 6)
