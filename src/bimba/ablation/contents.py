"""Results of all finished runs in; the contents of results.json, of which report and pictures are made, out."""

from collections.abc import Mapping, Sequence
from typing import Any

from bimba.ablation.tables import tables
from bimba.ablation.words import conclusions


def contents_of(results: Sequence[Mapping[str, Any]], shared: Mapping[str, str]) -> dict[str, Any]:
    """Everything that is told about an ablation.

    Args:
        results: contents of the result.json of all finished runs, at least one.
        shared: what the runs have in common.
    """
    counted = tables(results)
    return {
        "shared": dict(shared),
        "runs": [f"{result['contender']}-{result['compression']}x-{result['seed']}" for result in results],
        **counted,
        "conclusions": conclusions(counted),
        "made_with": _made_with(results),
        "provenance": [result["provenance"] for result in results],
    }


def _made_with(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Code and machines, each said once."""
    made = [result["provenance"] for result in results]
    seconds = [result["training"]["seconds"] for result in results if result["training"]["seconds"] is not None]
    times = sorted(each["time"] for each in made)
    codes = {
        f"commit {code['commit'][:12]}{' with changes' if code['is_dirty'] else ''}" if code else "no clone"
        for code in (each["code"] for each in made)
    }
    return {
        "bimba": sorted({each["bimba"] for each in made}),
        "code": sorted(codes),
        "machines": sorted({_machine(each) for each in made}),
        "system": sorted({each["system"] for each in made}),
        "versions": {name: sorted({each["versions"][name] for each in made}) for name in ("torch", "transformers")},
        "times": [times[0], times[-1]],
        "seconds": [min(seconds), max(seconds)] if seconds else None,
    }


def _machine(made: Mapping[str, Any]) -> str:
    threads = "one thread" if made["num_threads"] == 1 else f"{made['num_threads']} threads"
    return f"{made['processor']}, {made['num_cores']} cores, {threads}"
