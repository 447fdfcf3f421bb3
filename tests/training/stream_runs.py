"""Recipes of runs on a few streamed needle videos, for the tests."""

from pathlib import Path
from typing import Any

import pytest

from bimba.needles import StreamedVideo
from bimba.training.data.dataset import TrainingDataset
from bimba.training.recipe.settings import Recipe
from small_runs import small_recipe

STREAM = {
    "videos": 6,
    "options": {
        "seed": 4, "seconds": 4, "fps": 1, "size": "64x64", "needles": 2, "needle_seconds": 1, "split": "train",
        "kinds": ["shape", "digit"], "questions": 5,
    },
    "unknown": 1,
}  # fmt: skip


def recipe_of(tmp_path: Path, **changes: Any) -> Recipe:
    """The small recipe on streamed videos, with a token a word."""
    recipe = small_recipe(tmp_path / "run", tmp_path / "needles", data__sources=[{"stream": STREAM}], **changes)
    model = recipe.model.model_copy(update={"tokenizer": "needles", "config": bigger_table(recipe)})
    return recipe.model_copy(update={"model": model})


def bigger_table(recipe: Recipe) -> dict[str, Any]:
    """The tiny model with room for every word."""
    config: dict[str, Any] = dict(recipe.model.config)  # type: ignore[union-attr] # it starts from scratch
    config["text_config"] = {**config["text_config"], "vocab_size": 1024}
    return config


def seeds_drawn(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Seeds of the videos that are drawn from now on, once each time."""
    seeds: list[int] = []
    draw = TrainingDataset.stream_pixels

    def counted(dataset: TrainingDataset, video: StreamedVideo) -> Any:
        seeds.append(video.plan.seed)
        return draw(dataset, video)

    monkeypatch.setattr(TrainingDataset, "stream_pixels", counted)
    return seeds
