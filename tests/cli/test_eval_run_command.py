"""`bimba eval run BENCHMARK` and `bimba eval show` as users meet them, with the tiny model."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bimba.cli import app
from bimba.errors import InputError
from bimba.evaluation.benchmarks import find_benchmark, prepare

NUM_QUESTIONS = 6


@pytest.fixture
def folder(tmp_path: Path, video: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A prepared benchmark of three videos, of which the last is missing."""
    monkeypatch.setenv("BIMBA_BENCHMARKS", str(tmp_path / "benchmarks"))
    monkeypatch.setenv("COLUMNS", "120")
    (tmp_path / "videos").mkdir()
    for name in ("one", "two"):
        shutil.copy(video, tmp_path / f"videos/{name}.mp4")
    records = [
        {
            "id": number,
            "video": f"{('one', 'two', 'three')[number // 2]}.mp4",
            "question": "What is it?",
            "question_type": "action",
            "candidates": ["A. a dog", "B. a cat"],
            "answer": "AB"[number % 2],
        }
        for number in range(NUM_QUESTIONS)
    ]
    (tmp_path / "short.json").write_text(json.dumps(records))
    for name in ("tempcompass", "egoschema"):
        prepare(find_benchmark(name), tmp_path / "short.json", tmp_path / "benchmarks" / name, any_count=True)
    return tmp_path


def run(*words: object) -> Result:
    return CliRunner().invoke(app, ["eval", *map(str, words)])


def test_a_benchmark_is_run_and_shown(folder: Path, model: Path) -> None:
    words = ("run", "tempcompass", "--model", model, "--videos", folder / "videos", "--frames", 4)
    done = run(*words, "--score", "likelihood", "--out", folder / "out")
    assert done.exit_code == 0, done.stderr
    assert "accuracy over all questions" in done.stdout
    assert "4 of 6 questions answered; 2 about 1 video that cannot be read" in done.stdout
    assert "action" in done.stdout
    shown = run("show", folder / "out")
    assert shown.stdout in done.stdout
    results = json.loads(run("show", folder / "out", "--json").stdout)
    assert results["scores"]["accuracy"]["count"] == 4
    again = json.loads(run(*words, "--score", "likelihood", "--out", folder / "out", "--json").stdout)
    assert (again["num_asked"], again["num_there"]) == (0, 4)
    assert again["results"] == results
    assert run(*words, "--out", folder / "words", "--quiet").stdout == ""
    said = [json.loads(line) for line in (folder / "words/answers.jsonl").read_text().splitlines()]
    assert len(said) == NUM_QUESTIONS
    assert json.loads((folder / "words/results.json").read_text())["unparsed"]["count"] == 4


def test_answers_with_times_and_another_wording_are_another_run(folder: Path, model: Path) -> None:
    words = ("run", "benchmark", "tempcompass", "--model", model, "--videos", folder / "videos", "--frames", 4)
    first = run(*words, "--out", folder / "out", "--prompt", "official", "--time-sentence", "--limit", 2)
    assert first.exit_code == 0
    assert "prompt official 1" in first.stdout
    refused = run(*words, "--out", folder / "out", "--prompt", "official", "--limit", 2)
    assert isinstance(refused.exception, InputError)
    assert "settings.time_sentence: True there, False now" in str(refused.exception)


def test_dry_run_looks_into_videos_and_asks_nothing(folder: Path, model: Path) -> None:
    words = (
        "run",
        "tempcompass",
        "--model",
        model,
        "--videos",
        folder / "videos",
        "--out",
        folder / "out",
        "--dry-run",
    )
    done = run(*words)
    assert done.exit_code == 1
    assert "4 of 6 questions can be asked" in done.stdout
    assert "2 can be read, 1 are missing, 0 are unreadable" in done.stdout
    assert json.loads(run(*words, "--json").stdout)["missing"] == ["three.mp4"]
    shutil.copy(folder / "videos/one.mp4", folder / "videos/three.mp4")
    assert run(*words).exit_code == 0
    assert not (folder / "out").exists()


def test_what_is_unknown_is_refused(folder: Path, model: Path) -> None:
    common = ("--model", model, "--videos", folder / "videos", "--out", folder / "out")
    for words, problem in (
        (("run", "tempcomp", *common), "no benchmark 'tempcomp'"),
        (("run", "tempcompass", *common, "--prompt", "short"), "prompt = 'short'"),
        (("run", "tempcompass", *common, "--frames", 0), "frames = 0"),
        (("run", "vnbench", *common), "VNBench is not prepared"),
        (("show", folder), "it holds no evaluation"),
    ):
        done = run(*words)
        assert isinstance(done.exception, InputError), done.output
        assert problem in str(done.exception)
    assert not (folder / "out").exists()


def test_runs_are_scored_again_compared_and_not_submitted(folder: Path, model: Path) -> None:
    words = ("run", "tempcompass", "--model", model, "--videos", folder / "videos", "--frames", 4, "--quiet")
    for out, score in (("first", "likelihood"), ("second", "generate")):
        run(*words, "--score", score, "--out", folder / out)
    first = json.loads(run("show", folder / "first", "--json").stdout)
    again = run("score", "tempcompass", folder / "first", "--out", folder / "again")
    assert "report.md, results.json and accuracy.png are in" in again.stdout
    assert json.loads((folder / "again/results.json").read_text())["scores"] == first["scores"]
    released = json.loads(run("score", "tempcompass", folder / "first", "--extract", "released", "--json").stdout)
    assert released["settings"]["extract"] == "released"
    given = json.loads(run("score", "tempcompass", folder / "first/answers.jsonl", "--name", "ours", "--json").stdout)
    assert given["scores"] == first["scores"]
    assert given["settings"]["model"] == "ours"
    shown = run("compare", folder / "first", folder / "second").stdout
    assert "TempCompass MC: 4 questions that both answered" in shown
    assert "accuracy over" in shown
    same = run("compare", folder / "first", folder / "first")
    assert "they may be equally good" in same.stdout
    assert json.loads(run("compare", folder / "first", folder / "second", "--json").stdout)["shared"] == 4
    for refused, problem in (
        (run("submit", "egoschema", folder / "first"), "is a run of tempcompass, not egoschema"),
        (run("submit", "tempcompass", folder / "first"), "has no server that scores it"),
        (run("score", "egoschema", folder / "first"), "is a run of tempcompass"),
        (run("score", "tempcompass", folder / "first", "--extract", "mine"), "--extract is 'mine'"),
    ):
        assert isinstance(refused.exception, InputError)
        assert problem in str(refused.exception)
