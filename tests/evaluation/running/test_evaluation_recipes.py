"""A YAML file of evaluations in, the settings of each out."""

from pathlib import Path

import pytest

from bimba.errors import InputError
from bimba.evaluation.running import read_evaluations
from bimba.shipped_recipes import shipped_evaluations


def test_the_released_evaluation_is_that_of_the_paper() -> None:
    found = read_evaluations(Path("recipes/eval/released.yaml"))
    assert list(found) == [
        "egoschema", "vnbench", "videomme", "mlvu", "longvideobench", "nextqa", "perceptiontest"
    ]  # fmt: skip
    assert {name: one.frames for name, one in found.items() if one.frames != 64} == {"vnbench": 128}
    assert {one.model for one in found.values()} == {"mmiemon/BIMBA-LLaVA-Qwen2-7B"}
    assert {(one.prompt, one.time_sentence, one.score) for one in found.values()} == {("released", False, "generate")}


@pytest.mark.parametrize("name", shipped_evaluations())
def test_every_shipped_recipe_holds_from_anywhere(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_evaluations(Path(f"eval/{name}.yaml"), model="mine")["mlvu"].model == "mine"


def test_settings_of_a_benchmark_go_before_shared_ones(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text("model: m\nframes: 8\nbenchmarks: {mlvu: {}, vnbench: {frames: 16}, nextqa: }\n")
    assert {name: one.frames for name, one in read_evaluations(file).items()} == {"mlvu": 8, "vnbench": 16, "nextqa": 8}


MISTAKES = {
    "model: [": "is no YAML",
    "model: m": "names no benchmarks",
    "model: m\nbenchmarks: {}": "names no benchmarks",
    "model: m\nbenchmarks: {mlvu: 3}": "benchmarks.mlvu is 3",
    "model: m\nbenchmarks: {mlvuu: {}}": "no benchmark 'mlvuu'",
    "model: m\nframe: 3\nbenchmarks: {mlvu: {}}": "no setting 'frame'",
    "model: m\nbenchmarks: {mlvu: {frames: 0}}": "frames = 0",
    "benchmarks: {mlvu: {}}": "model",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_mistakes_are_told(text: str, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(InputError, match=MISTAKES[text]):
        read_evaluations(tmp_path / "r.yaml")


def test_missing_recipe_names_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not there") as error:
        read_evaluations(tmp_path / "none.yaml")
    assert "eval/released.yaml" in error.value.fix
