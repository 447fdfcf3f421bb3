"""The rivals of the scan train from recipes alone, and settings that do not fit are refused before anything runs."""

from pathlib import Path
from typing import Any

import pytest

import bimba
from bimba.errors import InputError
from bimba.training.model.start import read_outline_of, start_model
from bimba.training.recipe.known import known_keys
from bimba.training.recipe.reading import read_recipe
from bimba.training.run import train
from small_runs import small_recipe, small_settings

RIVALS: dict[str, dict[str, Any]] = {
    "self_attention": {"num_heads": 4, "num_layers": 2},
    "perceiver": {"num_layers": 2},
    "none": {},
}


@pytest.mark.parametrize("kind", RIVALS)
def test_each_rival_trains_and_answers(kind: str, needles: Path, tmp_path: Path) -> None:
    settings = small_settings(tmp_path / "run", needles)
    settings["model"]["config"]["compressor"] = {"type": kind, **RIVALS[kind]}
    settings["model"]["config"]["spatial_pooling"] = 1 if kind == "none" else 2
    outcome = train(small_recipe(tmp_path / "run", needles, model=settings["model"], schedule__max_steps=30))
    assert outcome.losses[1] < 0.9 * outcome.losses[0]
    qa = bimba.load(outcome.folder)
    assert qa.model.config.compressor.items() >= {"type": kind, **RIVALS[kind]}.items()
    side = 5 if kind == "none" else 3
    answer = qa.ask(needles / "video_00000.mp4", "What?", num_frames=4, max_new_tokens=2)
    assert answer.num_video_tokens == 4 * side * (side + 1)


@pytest.mark.parametrize("kind", ["self_attention", "perceiver"])
def test_a_checkpoint_gets_a_fresh_rival(kind: str, model: Path, needles: Path, tmp_path: Path) -> None:
    start = {"start": "checkpoint", "path": str(model), "compressor": {"type": kind}}
    recipe = small_recipe(tmp_path / "run", needles, model=start)
    config, _ = read_outline_of(recipe)
    started, _ = start_model(recipe)
    assert started.config.compressor == config.compressor
    assert type(started.compressor).__name__.lower().startswith(kind.replace("_", ""))


def test_a_checkpoint_that_pools_is_not_left_uncompressed(model: Path, needles: Path, tmp_path: Path) -> None:
    start = {"start": "checkpoint", "path": str(model), "compressor": {"type": "none"}}
    recipe = small_recipe(tmp_path / "run", needles, model=start)
    for read in (read_outline_of, start_model):
        with pytest.raises(InputError, match="spatial_pooling is 2 and temporal_pooling is 1; both must be 1"):
            read(recipe)
    fitting = small_recipe(tmp_path / "run", needles, model=start | {"settings": {"spatial_pooling": 1}})
    assert start_model(fitting)[0].config.pool == (1, 1, 1)


def test_a_command_line_may_set_what_a_rival_has_and_nothing_else() -> None:
    recipe = read_recipe("paper_ablation", ["model.compressor.type=self_attention", "model.compressor.num_heads=8"])
    assert recipe.model.compressor["num_heads"] == 8  # type: ignore[union-attr, index]
    with pytest.raises(InputError, match=r"model\.compressor\.state_dim"):
        read_recipe("paper_ablation", ["model.compressor.type=perceiver", "model.compressor.state_dim=8"])
    known = known_keys({"model": {"start": "parts", "compressor": {"type": "perceiver"}}})
    assert "model.compressor.learned_grid" in known
    assert "model.compressor.expand" not in known
