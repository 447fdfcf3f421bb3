"""Models that come with the package, by name."""

import shutil
from pathlib import Path

import pytest

import bimba
from bimba.checkpoints import shipped
from bimba.checkpoints.source import find_source
from bimba.errors import CheckpointError
from bimba.models.bimba.tiny import tiny_model


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where an installation has one model, called bimba-nano."""
    for part in tiny_model(seed=0):
        part.save_pretrained(tmp_path / "shipped" / "bimba-nano")
    monkeypatch.setattr(shipped, "_PLACE", tmp_path / "shipped")
    return tmp_path / "shipped"


def test_a_shipped_model_is_loaded_by_its_name(place: Path) -> None:
    assert shipped.shipped_models() == {"bimba-nano": place / "bimba-nano"}
    assert find_source("bimba-nano").folder == place / "bimba-nano"
    assert bimba.load("bimba-nano", device="cpu").ask(None, "What?", max_new_tokens=2).token_ids


def test_a_folder_of_that_name_does_not_change_what_the_name_means(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(place / "bimba-nano", tmp_path / "here" / "bimba-nano")
    monkeypatch.chdir(tmp_path / "here")
    assert find_source("bimba-nano").folder == place / "bimba-nano"
    assert find_source("./bimba-nano").folder == Path("bimba-nano")
    assert find_source(Path("bimba-nano")).folder == Path("bimba-nano")


@pytest.mark.usefixtures("place")
def test_an_unknown_name_lists_what_is_shipped() -> None:
    with pytest.raises(CheckpointError, match="nor bimba-nano"):
        find_source("bimba-nana")


def test_nothing_else_in_the_package_is_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "notes").mkdir()
    monkeypatch.setattr(shipped, "_PLACE", tmp_path)
    assert shipped.shipped_models() == {}
