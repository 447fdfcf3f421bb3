"""A whole ablation at its smallest: trained, measured, resumed, and kept apart from other settings."""

import json
from pathlib import Path
from typing import Any

import pytest
from ablation_runs import SMALL, make_small

from bimba.ablation import Outcome, Progress, run_ablation
from bimba.ablation import running as running_module
from bimba.ablation import settings as settings_module
from bimba.errors import InputError
from needle_model import make_needle_model


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_needle_model(tmp_path_factory.mktemp("start") / "model")


@pytest.fixture(scope="module")
def told() -> list[Progress]:
    return []


@pytest.fixture(scope="module")
def finished(start: Path, told: list[Progress], tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    out = tmp_path_factory.mktemp("ablation") / "out"
    with pytest.MonkeyPatch.context() as patch:
        make_small(patch)
        return run_ablation(out, start=str(start), **SMALL, on_progress=told.append)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    make_small(monkeypatch)


def contents(folder: Path) -> dict[str, bytes]:
    """Everything that runs left."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted((folder / "runs").rglob("*"))
        if path.is_file()
    }


def never(*_: object, **__: object) -> None:
    raise AssertionError("nothing was to be trained")


def test_each_run_says_what_it_was(finished: Outcome) -> None:
    assert (finished.num_trained, finished.num_there) == (2, 0)
    for name in ("selective_scan", "pooling"):
        result = json.loads((finished.folder / "runs" / f"{name}-16x-0" / "result.json").read_text())
        assert result["tokens"] == 32
        assert result["training"]["steps"] == 2
        assert len(result["training"]["curve"]) == 2
        assert result["measured"]["counts"]["within_window"] == 2
        assert {"code", "processor", "versions", "num_threads"} <= result["provenance"].keys()
        assert "max_steps: 2" in result["recipe"]
    assert finished.results["runs"] == ["selective_scan-16x-0", "pooling-16x-0"]
    assert "nothing is claimed" in finished.results["conclusions"]["within_window"][0]
    assert (finished.folder / "report.md").read_text().startswith("# Ablation")


def test_checkpoints_of_finished_runs_are_gone(finished: Outcome) -> None:
    assert not list(finished.folder.glob("runs/*/checkpoint-*"))


def test_runs_of_a_seed_share_what_the_tower_sees_until_they_are_finished(
    told: list[Progress], finished: Outcome
) -> None:
    assert [progress.number for progress in told if progress.stage == "drawing"] == [1, 1, 1, 1]
    assert list((finished.folder / "features").iterdir()) == []


def test_progress_grows_to_its_end(told: list[Progress], finished: Outcome) -> None:  # noqa: ARG001 # it tells
    shares = [progress.share for progress in told]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert [progress.stage for progress in told if progress.stage == "done"] == ["done", "done"]
    assert {progress.num_runs for progress in told} == {2}


@pytest.mark.usefixtures("small")
def test_the_same_command_runs_nothing_again(finished: Outcome, start: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(finished.folder)
    report = (finished.folder / "report.md").read_bytes()
    monkeypatch.setattr(running_module, "train", never)
    again = run_ablation(finished.folder, start=str(start), **SMALL)
    assert (again.num_trained, again.num_there) == (0, 2)
    assert contents(finished.folder) == before
    assert (finished.folder / "report.md").read_bytes() == report
    assert again.results == finished.results


@pytest.mark.usefixtures("small")
def test_a_run_that_was_stopped_while_it_was_measured_goes_on(
    finished: Outcome, start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: dict[str, Any] = SMALL | {"contenders": ("selective_scan",)}

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(running_module, "measure", stop)
        with pytest.raises(KeyboardInterrupt):
            run_ablation(tmp_path, start=str(start), **changes)
    assert not list(tmp_path.rglob("result.json"))
    run_ablation(tmp_path, start=str(start), **changes)
    one, other = (
        json.loads((folder / "runs/selective_scan-16x-0/result.json").read_text())
        for folder in (tmp_path, finished.folder)
    )
    assert one["training"]["curve"] == other["training"]["curve"]
    assert one["measured"] == other["measured"]
    assert one["fingerprint"] == other["fingerprint"]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("changes", "problem"), [({"steps": 3}, "steps: 2 there, 3 now"), ({"videos": 3}, "videos: 2 there, 3 now")]
)
def test_other_settings_do_not_mix(changes: dict[str, Any], problem: str, finished: Outcome, start: Path) -> None:
    before = contents(finished.folder)
    with pytest.raises(InputError, match=problem):
        run_ablation(finished.folder, start=str(start), **(SMALL | changes))
    assert contents(finished.folder) == before


@pytest.mark.usefixtures("small")
def test_another_model_to_start_from_does_not_mix(finished: Outcome, start: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for path in start.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    moved = run_ablation(finished.folder, start=str(other), **SMALL)
    assert moved.num_trained == 0, "where a model lies makes no difference"
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config, indent=1) + "\n\n")
    with pytest.raises(InputError, match="start: "):
        run_ablation(finished.folder, start=str(other), **SMALL)


def test_a_recipe_that_changed_does_not_mix(finished: Outcome, start: Path) -> None:
    # The recipes as they are shipped take eight videos a step.
    with pytest.raises(InputError, match=r"recipe\.schedule\.batch_size: 2 there, 8 now"):
        run_ablation(finished.folder, start=str(start), **SMALL)


@pytest.mark.usefixtures("small")
def test_a_damaged_file_of_the_folder_is_written_again(
    finished: Outcome, start: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = (finished.folder / "ablation.json").read_bytes()
    (finished.folder / "ablation.json").write_text('{"start": ')
    monkeypatch.setattr(running_module, "train", never)
    with pytest.raises(InputError, match="steps: 2 there, 3 now"):
        run_ablation(finished.folder, start=str(start), **(SMALL | {"steps": 3}))
    assert run_ablation(finished.folder, start=str(start), **SMALL).num_there == 2
    assert (finished.folder / "ablation.json").read_bytes() == whole


@pytest.mark.usefixtures("small")
def test_what_an_interruption_behind_a_result_left_is_removed(
    finished: Outcome, start: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = finished.folder / "runs" / "pooling-16x-0" / "checkpoint-2"
    features, other = (finished.folder / "features" / seed for seed in ("0", "1"))
    for folder in (checkpoint, features, other):
        folder.mkdir()
    monkeypatch.setattr(running_module, "train", never)
    run_ablation(finished.folder, start=str(start), **SMALL)
    assert not checkpoint.exists()
    assert not features.exists()
    assert other.exists(), "its runs are no part of this command"
    other.rmdir()


def test_somebody_elses_file_is_not_written_over(start: Path, tmp_path: Path) -> None:
    (tmp_path / "runs" / "one").mkdir(parents=True)
    for text, problem in (("mine", "is damaged"), ("[1]", "is none of ours")):
        (tmp_path / "ablation.json").write_text(text)
        with pytest.raises(InputError, match=rf"ablation\.json {problem}"):
            run_ablation(tmp_path, start=str(start), **SMALL)
        assert (tmp_path / "ablation.json").read_text() == text


def test_a_folder_of_something_else_is_refused(start: Path, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match=r"is no ablation: letter\.txt"):
        run_ablation(tmp_path, start=str(start), **SMALL)


def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings_module, "_NEEDED", {"no_such_module": "no-such"})
    with pytest.raises(InputError, match="no-such is not installed"):
        run_ablation(tmp_path)
