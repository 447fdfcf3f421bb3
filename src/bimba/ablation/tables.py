"""Results of runs in; for each contender, and each compression, means over seeds and what they differ by, out."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from bimba.ablation.contenders import BASELINE, COMPRESSED, COMPRESSION, CONTENDERS, SHAPES
from bimba.ablation.estimates import Estimate, paired
from bimba.ablation.measuring import MEASURES

SCORES = (*MEASURES, "within_window_by_option")
"""Measures that have one number a run."""

Results = Sequence[Mapping[str, Any]]


def tables(results: Results) -> dict[str, Any]:
    """Count over the seeds.

    Args:
        results: contents of the result.json of all finished runs, at least one.

    Returns:
        "contenders": by name, at the compression at which all are compared, each with "compression", "tokens",
        "compressor_parameters", "seeds", an `Estimate` of each measure, "by_kind" with one of each kind of question,
        and "differences": of each measure, to the selective scan by seed (None of the scan itself);
        "compressions": by contender and factor, estimates of each measure, and "tokens";
        "curves": by contender, step and mean loss over seeds;
        "counts": of questions.
    """
    at_one = [result for result in results if result["compression"] == COMPRESSION]
    groups = {name: _seeds_of(at_one, name) for name in CONTENDERS}
    ours = groups[BASELINE]
    return {
        "contenders": {name: _row(name, group, ours) for name, group in groups.items() if group},
        "compressions": {name: found for name in COMPRESSED if (found := _by_factor(results, name))},
        "curves": {name: _curve(list(group.values())) for name, group in groups.items() if group},
        "counts": results[0]["measured"]["counts"],
    }


def _seeds_of(results: Results, contender: str) -> dict[int, Mapping[str, Any]]:
    """Results of a contender by seed, the lowest first."""
    found = {result["seed"]: result for result in results if result["contender"] == contender}
    return dict(sorted(found.items()))


def _row(name: str, group: Mapping[int, Mapping[str, Any]], ours: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    first = next(iter(group.values()))
    row: dict[str, Any] = {key: first[key] for key in ("compression", "tokens", "compressor_parameters")}
    row["seeds"] = list(group)
    row |= _estimates(group)
    kinds = sorted({kind for result in group.values() for kind in result["measured"]["by_kind"]})
    row["by_kind"] = {
        kind: Estimate.of([result["measured"]["by_kind"][kind] for result in group.values()]).to_dict()
        for kind in kinds
    }
    row["differences"] = None
    if name != BASELINE:
        row["differences"] = {measure: _difference(ours, group, measure) for measure in SCORES}
    return row


def _estimates(group: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    return {
        measure: Estimate.of([result["measured"][measure] for result in group.values()]).to_dict() for measure in SCORES
    }


def _difference(
    ours: Mapping[int, Mapping[str, Any]], theirs: Mapping[int, Mapping[str, Any]], measure: str
) -> dict[str, Any] | None:
    """Of a contender to the baseline, by seed."""
    both = [{seed: result["measured"][measure] for seed, result in group.items()} for group in (ours, theirs)]
    found = paired(*both)
    return None if found is None else found.to_dict()


def _by_factor(results: Results, contender: str) -> dict[str, Any]:
    """Estimates of a contender at each compression that it was run at."""
    rows: dict[str, Any] = {}
    for factor in SHAPES:
        group = _seeds_of([result for result in results if result["compression"] == factor], contender)
        if group:
            first = next(iter(group.values()))
            rows[str(factor)] = {"tokens": first["tokens"], "seeds": list(group)} | _estimates(group)
    return rows


def _curve(group: Results) -> list[tuple[int, float]]:
    """Mean loss of the steps that all seeds logged."""
    curves = [dict(map(tuple, result["training"]["curve"])) for result in group]
    steps = sorted(set.intersection(*(set(curve) for curve in curves)))
    return [(step, round(fmean(curve[step] for curve in curves), 6)) for step in steps]
