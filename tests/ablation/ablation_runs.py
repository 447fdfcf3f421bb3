"""Ablations that take seconds, for the tests: the shipped recipes with two videos a step."""

from pathlib import Path
from typing import Any

import pytest

from bimba.ablation import plan
from bimba.ablation.estimates import Estimate
from bimba.ablation.plan import Run
from bimba.ablation.settings import checked
from bimba.training.recipe.settings import Recipe

SMALL: dict[str, Any] = {"seeds": 1, "steps": 2, "contenders": ("pooling",), "compressions": (), "videos": 2}
SHARED = {"steps": "400", "start": "0" * 64}
"""What made-up runs have in common."""


def make_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every recipe take two videos a step, and log each."""
    shipped = plan._shipped

    def small(contender: str) -> Recipe:
        recipe = shipped(contender)
        return recipe.model_copy(
            update={
                "schedule": recipe.schedule.model_copy(update={"batch_size": 2}),
                "data": recipe.data.model_copy(update={"workers": 0}),
                "log": recipe.log.model_copy(update={"every": 1}),
            }
        )

    monkeypatch.setattr(plan, "_shipped", small)


def recipes(names: tuple[str, ...], start: str = "model", **changes: Any) -> dict[str, Recipe]:
    """Recipes of contenders, of seed 0, by name."""
    settings = checked(start=start, **changes)
    return {name: plan.recipe_of(Run(name, 16, 0), settings, Path("out")) for name in names}


def result(contender: str, seed: int, within: float, *, compression: int = 16, others: float = 0.5) -> dict[str, Any]:
    """What a run would have written."""
    return {
        "contender": contender,
        "compression": compression,
        "seed": seed,
        "tokens": 512 if contender == "none" else 512 // compression,
        "compressor_parameters": 10,
        "measured": {
            "within_window": within,
            "within_window_by_option": within,
            "all_kinds": others + 0.01 * seed * seed,
            "by_kind": {"colour": others},
            "counts": {"within_window": 320, "all_kinds": 480, "by_kind": {"colour": 40}},
            "intervals": {},
        },
        "training": {"steps": 400, "seconds": 200.0, "curve": [(10, 3.0 + seed), (20, 2.0)]},
        "provenance": {
            "time": "2026-01-01T00:00:00+00:00", "bimba": "0", "code": {"commit": "c" * 40, "is_dirty": False},
            "processor": "one", "num_cores": 2, "num_threads": 2, "system": "none",
            "versions": {"torch": "2", "transformers": "5"},
        },
    }  # fmt: skip


def estimate(*values: float) -> dict[str, Any]:
    """A mean over seeds, as tables hold it."""
    return Estimate.of(values).to_dict()
