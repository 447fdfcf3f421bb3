"""The page on recipes names every key and every shipped recipe, and its examples hold."""

import re
import shlex
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from bimba.models.bimba.configuration import SELECTIVE_SCAN
from bimba.shipped_recipes import shipped_accelerate_configs, shipped_recipes
from bimba.training.recipe import data_settings, settings
from bimba.training.recipe.reading import read_recipe
from bimba.training.recipe.section import Settings

PAGE = (Path(__file__).resolve().parents[3] / "docs/how-to/train-from-a-recipe.md").read_text(encoding="utf-8")
SECTIONS = [
    section
    for section in {**vars(data_settings), **vars(settings)}.values()
    if isinstance(section, type) and issubclass(section, Settings) and section is not Settings
]


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_every_key_is_named(section: type[BaseModel]) -> None:
    table = PAGE.partition("## All keys")[2]
    assert [name for name in section.model_fields if f"`{name}`" not in table] == []


def test_every_section_is_a_part_of_the_recipe() -> None:
    assert settings.Recipe in SECTIONS
    assert len(get_args(settings.Recipe.model_fields["model"].annotation)) == 3


def test_every_setting_of_the_compressor_is_named() -> None:
    assert [name for name in SELECTIVE_SCAN if f"`{name}`" not in PAGE] == []


def test_everything_that_is_shipped_is_named() -> None:
    assert [name for name in shipped_recipes() if f"`{name}`" not in PAGE] == []
    assert [name for name in shipped_accelerate_configs() if name not in PAGE] == []


def test_its_examples_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number, example in enumerate(re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)):
        path = tmp_path / f"example{number}.yaml"
        path.write_text(example, encoding="utf-8")
        read_recipe(path)
    path.rename("my.yaml")
    commands = re.findall(r"^\$ bimba train (.+)$", PAGE, re.MULTILINE)
    assert len(commands) > 4
    for command in commands:
        recipe, *overrides = shlex.split(command)
        read_recipe(recipe, overrides)
