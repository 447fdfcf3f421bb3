"""`bimba data cache`: what it tells, before and after it fills."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bimba.cli import app
from bimba.errors import InputError
from bimba.training.features.caching import plan_features
from bimba.training.recipe.reading import recipe_as_yaml
from cache_runs import KINDS, NUM_CLIPS, files_of, recipe_of
from mixed_samples import BROKEN, IMAGE, VIDEO


def bimba(*words: object) -> Result:
    return CliRunner().invoke(app, ["data", *map(str, words)])


@pytest.fixture
def recipe_file(media: Path, tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    recipe = recipe_of(tmp_path / "run", media, [*KINDS, BROKEN], data__cache=tmp_path / "cache")
    path.write_text(recipe_as_yaml(recipe))
    return path


def test_the_command_tells_the_size_first_and_fills(recipe_file: Path, tmp_path: Path) -> None:
    dry = bimba("cache", recipe_file, "--dry-run")
    assert dry.exit_code == 0, dry.output
    assert "clips   5, 0 of them were there; 5 to be made: 67.2 kB" in dry.stdout
    assert "missing-8.mp4 does not exist" in dry.stdout
    assert not files_of(tmp_path / "cache")
    done = bimba("cache", recipe_file)
    assert done.exit_code == 0, done.output
    assert f"folder  {tmp_path / 'cache'}, " in done.stdout
    assert "clips   5, 0 of them were there; 5 made: " in done.stdout
    assert len(files_of(tmp_path / "cache")) == NUM_CLIPS
    assert not (tmp_path / "run").exists()
    told = json.loads(bimba("cache", recipe_file, "frames.count=2", "--json").stdout)
    assert (told["num_clips"], told["num_cached"], told["num_made"], told["dry_run"]) == (5, 2, 3, False)
    assert told["expected_bytes"] == 3 * 2 * 25 * 48 * 4
    assert [failure["name"] for failure in told["failures"]] == ["run.json[8] (id broken-8)"]
    told = json.loads(bimba("cache", recipe_file, "--json", "--dry-run").stdout)
    assert (told["num_cached"], told["num_missing"], told["expected_bytes"], told["dry_run"]) == (5, 0, 0, True)


def test_a_recipe_without_a_cache_is_refused(recipe_file: Path) -> None:
    done = bimba("cache", recipe_file, "data.cache=null")
    assert isinstance(done.exception, InputError)
    assert "data.cache=DIR" in done.exception.fix


def test_a_check_reads_the_pixels_all_the_same(recipe_file: Path, decoded: list[str]) -> None:
    assert bimba("cache", recipe_file).exit_code == 0
    decoded.clear()
    assert bimba("check", recipe_file, "--json").exit_code == 1  # for the broken sample
    assert len(decoded) == sum(kind in (VIDEO, IMAGE) for kind in KINDS)


def test_planning_writes_no_features(media: Path, tmp_path: Path) -> None:
    plan = plan_features(recipe_of(tmp_path / "run", media, data__cache=tmp_path / "cache"))
    assert (plan.num_clips, len(plan.missing)) == (NUM_CLIPS, NUM_CLIPS)
    assert not files_of(tmp_path / "cache")
