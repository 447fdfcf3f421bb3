"""Several processes fill one cache: they share the work, or do not disturb each other."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from bimba.training.features import filling
from bimba.training.features.caching import cache_features
from bimba.training.model.start import start_bimba
from bimba.training.recipe.settings import Recipe
from bimba.training.run import train
from bimba.video.source import Video
from cache_runs import KINDS, NUM_CLIPS, TRAIN, files_of, filled, losses, recipe_of
from mixed_samples import BROKEN
from processes import Together, outcomes


def fill_alone(recipe: Recipe) -> tuple[int, int]:
    done = cache_features(recipe)
    return done.num_made, done.num_bytes


def test_two_runs_that_fill_at_once_do_not_disturb_each_other(media: Path, tmp_path: Path) -> None:
    recipes = [recipe_of(tmp_path / run, media, data__cache=tmp_path / "cache") for run in ("one", "two")]
    both = [Together(1, fill_alone, recipe) for recipe in recipes]
    for ending in [together.endings()[0] for together in both]:
        assert ending.error is None, ending.trace
        assert ending.found[0] <= NUM_CLIPS
    assert len(files_of(tmp_path / "cache")) == NUM_CLIPS
    assert not list((tmp_path / "cache" / "unfinished").iterdir())
    assert filled(recipes[0])[0].num_made == 0


def train_and_count(recipe: Recipe) -> tuple[int, list[str]]:
    """Clips that this process decodes, and names of samples that failed."""
    count = 0
    original = Video.frames

    def frames(self: Video, indices: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        return original(self, indices, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Video, "frames", frames)
        patch.setattr(filling, "_IN_STEP", 2)
        outcome = train(recipe)
    return count, list(outcome.failed)


def test_processes_that_train_together_share_the_work(media: Path, tmp_path: Path) -> None:
    kinds = [*KINDS, BROKEN]
    changes: dict[str, Any] = {
        "schedule__epochs": 1,
        "schedule__global_batch_size": 4,
        "data__max_failed": 0.5,
        "train": TRAIN | {"lora": TRAIN["lora"] | {"dropout": 0}},  # type: ignore[operator] # a dictionary
    }
    alone = recipe_of(tmp_path / "alone", media, kinds, **changes, schedule__batch_size=4)
    train(alone)
    recipe = recipe_of(tmp_path / "run", media, kinds, **changes, data__cache=tmp_path / "cache")
    found = outcomes(2, train_and_count, recipe)
    assert sorted(count for count, _ in found) == [NUM_CLIPS // 2, NUM_CLIPS - NUM_CLIPS // 2]
    assert all(failed == ["run.json[8] (id broken-8)"] for _, failed in found)
    for ours, theirs in zip(losses(tmp_path / "run"), losses(tmp_path / "alone"), strict=True):
        assert ours[0] == pytest.approx(theirs[0], rel=1e-4)
        assert ours[1] == pytest.approx(theirs[1], rel=1e-2)


def fill_with_an_empty_tower(recipe: Recipe) -> int:
    """As FSDP starts: the first process alone has the weights."""
    if os.environ["RANK"] != "0":
        original = start_bimba

        def without_weights(recipe: Recipe) -> Any:
            model, processor = original(recipe)
            with torch.no_grad():
                for parameter in model.vision_tower.parameters():
                    parameter.fill_(float("nan"))
            return model, processor

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("bimba.training.features.caching.start_bimba", without_weights)
            return cache_features(recipe).num_made
    return cache_features(recipe).num_made


def test_a_process_without_the_towers_weights_makes_no_features(media: Path, tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path / "run", media, data__cache=tmp_path / "cache")
    assert outcomes(2, fill_with_an_empty_tower, recipe) == [NUM_CLIPS, NUM_CLIPS]
    assert all(load_file(file)["features"].isfinite().all() for file in files_of(tmp_path / "cache"))
    assert filled(recipe)[0].num_made == 0


def fill_a_folder_of_its_own(recipe: Recipe) -> None:
    rank = os.environ["RANK"]
    data = recipe.data.model_copy(update={"cache": Path(f"{recipe.data.cache}-{rank}")})
    cache_features(recipe.model_copy(update={"data": data}))


def test_a_folder_that_machines_do_not_share_is_named(media: Path, tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path / "run", media, data__cache=tmp_path / "cache")
    for ending in Together(2, fill_a_folder_of_its_own, recipe).endings():
        assert ending.error == "InputError", ending.trace
        assert "that all machines of the run share" in ending.message
