"""`benchmarks/nano/shipping.py` and `card.py`: a measured model in, a folder that `bimba.load` opens out."""

import json
from pathlib import Path

import pytest
import yaml
from benchmarks.nano import counting, shipping
from benchmarks.nano.figures import NanoFigures
from benchmarks.nano.measuring import SHIPPED
from benchmarks.nano.shipping import CARD_NAME, MOST_BYTES, PLACE, ship
from benchmarks.nano.stages import STAGES
from benchmarks.nano.weights import WEIGHTS_NAME, Weights
from nano_runs import make_run, measure_all

import bimba
from bimba.errors import CheckpointError
from bimba.evaluation.provenance import model_sha256
from bimba.needles.haystacks.scenes import DRAWN
from bimba.training.recipe.reading import read_recipe


@pytest.fixture
def runs(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that is trained and measured."""
    monkeypatch.setattr(counting, "NUM_COUNTED", 2)
    runs = make_run(tmp_path / "runs", model)
    measure_all(runs)
    return runs


def test_what_was_shipped_loads_and_answers(runs: Path, video: Path, tmp_path: Path) -> None:
    last = runs / STAGES[-1] / "model"
    place = ship(last, NanoFigures.of(runs), tmp_path / "shipped" / "bimba-nano")
    assert isinstance(bimba.load(place, device="cpu").ask(video, "What?", num_frames=2, max_new_tokens=2).text, str)
    assert model_sha256(str(place), None) == model_sha256(str(last), None)
    assert not {path.name for path in place.iterdir()} & {"recipe.yaml", "provenance.json", "counts.json"}
    assert [path.name for path in place.parent.iterdir()] == ["bimba-nano"]


def test_an_earlier_model_is_replaced(runs: Path, tmp_path: Path) -> None:
    place = tmp_path / "bimba-nano"
    place.mkdir()
    (place / "old.txt").write_text("old", encoding="utf-8")
    ship(runs / STAGES[-1] / "model", NanoFigures.of(runs), place)
    assert not (place / "old.txt").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bimba-nano", "runs"]


def test_a_card_tells_what_people_must_know(runs: Path, tmp_path: Path) -> None:
    figures = NanoFigures.of(runs)
    place = ship(runs / STAGES[-1] / "model", figures, tmp_path / "bimba-nano")
    card = (place / CARD_NAME).read_text(encoding="utf-8")
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["license"] == "apache-2.0"
    assert front["datasets"] == []
    assert front["pipeline_tag"] == "video-text-to-text"
    assert figures.weights is not None
    for words in (
        figures.weights.sha256, "CC BY-SA 4.0", "OpenMoji", "`nano/4-answers`", "make nano", "I cannot tell",
        "## Limits",
        "@inproceedings{islam2025bimba", "| retrieval | 90.0 % |", "70 x 70 pixels",
    ):  # fmt: skip
        assert words in card
    assert str(tmp_path) not in card


def test_the_card_is_right_about_the_haystacks() -> None:
    """No recipe of bimba-nano names photos, pictures or videos of somebody, and there are no other drawn haystacks."""
    assert set(DRAWN) == {"drifting_gradient", "moving_blobs", "scrolling_texture", "dead_leaves", "textured_leaves"}
    for name in STAGES:
        recipe = read_recipe(f"nano/{name}")
        streams = [source.stream for source in recipe.data.sources]
        assert all(stream is not None for stream in streams)
        for stream in streams:
            assert stream is not None
            assert not {"haystack", "photos", "pictures"} & stream.options.keys()
            assert stream.options["split"] == "train"


def test_more_than_20_megabytes_are_refused(runs: Path, tmp_path: Path) -> None:
    last = runs / STAGES[-1] / "model"
    with (last / WEIGHTS_NAME).open("r+b") as file:
        file.truncate(MOST_BYTES + 1)  # with a hole, which takes no room
    with pytest.raises(CheckpointError, match="20,000,001 bytes; at most 20,000,000"):
        ship(last, NanoFigures(stages=()), tmp_path / "bimba-nano")
    assert not (tmp_path / "bimba-nano").exists()


def test_a_folder_that_is_no_model_is_refused(runs: Path, tmp_path: Path) -> None:
    figures, last = NanoFigures.of(runs), runs / STAGES[-1] / "model"
    with pytest.raises(CheckpointError, match=r"model\.safetensors, config\.json"):
        ship(tmp_path / "absent", figures, tmp_path / "bimba-nano")
    (last / "config.json").write_text(json.dumps({"model_type": "qwen2"}), encoding="utf-8")
    with pytest.raises(CheckpointError, match="'qwen2' model"):
        ship(last, figures, tmp_path / "bimba-nano")


def test_figures_of_other_weights_are_refused(runs: Path, tmp_path: Path) -> None:
    figures, last = NanoFigures.of(runs), runs / STAGES[-1] / "model"
    place = tmp_path / "bimba-nano"
    with pytest.raises(CheckpointError, match="not of these weights"):
        ship(last, figures.model_copy(update={"measured": {}}), place)
    other = Weights.of(last).model_copy(update={"sha256": "0" * 64})
    with pytest.raises(CheckpointError, match="not of these weights"):
        ship(last, figures.model_copy(update={"weights": other}), place)
    assert SHIPPED in figures.measured


def test_the_shipped_folder_lies_in_the_package() -> None:
    assert PLACE.parent.parent == Path(bimba.__file__).parent
    assert shipping.MOST_BYTES == 20_000_000
