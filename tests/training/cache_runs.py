"""Recipes of runs with a feature cache, and what they left, for the tests."""

import json
from pathlib import Path
from typing import Any

from bimba.training.features.caching import cache_features
from bimba.training.features.filling import Filled
from bimba.training.recipe.settings import Recipe
from mixed_samples import IMAGE, TEXT, VIDEO, write_samples
from small_runs import small_recipe

KINDS = [VIDEO, IMAGE, TEXT, VIDEO, VIDEO, VIDEO, IMAGE, TEXT]
NUM_CLIPS = 5
"""Three videos, one of them in two samples, and two images."""
TRAIN = {
    "vision_tower": {"mode": "frozen"},
    "separators": {"mode": "full"},
    "language_model": {"mode": "lora"},
    "lora": {"rank": 2, "alpha": 4, "dropout": 0.3, "targets": ["q_proj"]},
}


class Told:
    """A watcher that remembers."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, int, int]] = []
        self.said: list[str] = []

    def stage(self, name: str, done: int, total: int) -> None:
        self.stages.append((name, done, total))

    def say(self, message: str) -> None:
        self.said.append(message)

    def report(self, report: Any) -> None:
        del report


def recipe_of(run: Path, media: Path, kinds: list[str] = KINDS, **changes: Any) -> Recipe:
    """Three epochs in batches of two or four, in a folder beside the run's cache."""
    run.parent.mkdir(parents=True, exist_ok=True)
    source = write_samples(run.with_suffix(".json"), media, kinds)
    settings: dict[str, Any] = {
        "train": TRAIN,
        "data__sources": [source],
        "schedule__max_steps": None,
        "schedule__epochs": 3,
        "save__every": 100,
    }
    return small_recipe(run, media, **(settings | changes))


def losses(run: Path) -> list[tuple[float, float]]:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [(line["loss"], line["grad_norm"]) for line in lines]


def files_of(cache: Path) -> list[Path]:
    return sorted(cache.glob("features/*/*/*.safetensors"))


def filled(recipe: Recipe) -> tuple[Filled, Told]:
    told = Told()
    return cache_features(recipe, told), told
