"""`bimba eval list` and `bimba eval prepare` as users meet them."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bimba.cli import app
from bimba.errors import InputError

TRIES = [
    {"id": number, "video": f"clip {number // 4}.mp4", "question": "What is it?", "question_type": "ret_insert1",
     "candidates": ["A. dog", "B. cat", "C. cow", "D. hen"], "answer": "B"}
    for number in range(8)
]  # fmt: skip


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BIMBA_BENCHMARKS", str(tmp_path / "benchmarks"))
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path / "benchmarks"


@pytest.fixture
def annotations(tmp_path: Path) -> Path:
    folder = tmp_path / "annotations"
    folder.mkdir()
    (folder / "tries.json").write_text(json.dumps(TRIES))
    return folder


def run(*words: object) -> Result:
    return CliRunner().invoke(app, ["eval", *map(str, words)])


def test_list_shows_all_and_what_is_prepared(annotations: Path) -> None:
    assert "yes" not in run("list").stdout
    run("prepare", "vnbench", "--from", annotations, "--any-count")
    shown = run("list")
    assert next(line for line in shown.stdout.splitlines() if "yes" in line).split()[1] == "vnbench"
    listed = json.loads(run("list", "--json").stdout)["benchmarks"]
    assert len(listed) == 17
    assert all(name["name"] in shown.stdout for name in listed)


def test_list_of_one_tells_where_it_is_from_and_what_is_reported() -> None:
    shown = run("list", "vnbench").stdout
    assert "https://github.com/joez17/VideoNIAH" in shown
    assert "BIMBA 77.88 % (accuracy; over 5,400 tries, 128 frames)" in shown
    assert "all four tries right, mean over types" in shown
    assert json.loads(run("list", "vnbench", "--json").stdout)["num_questions"] == 5400


def test_sizes_that_nobody_published_are_told_as_such() -> None:
    line = next(line for line in run("list").stdout.splitlines() if " houreval " in line)
    assert line.count("unknown") == 2
    assert "an unpublished number of questions about an unpublished number of videos" in run("list", "houreval").stdout
    shown = run("list", "mvbench").stdout
    assert "4,000 questions (4,000 with public answers) about an unpublished number of videos" in shown
    assert "Vamba 60.40 % (mean_of_tasks; its paper, table 5; the number of frames is not told)" in shown


def test_prepare_tells_what_was_read_and_which_videos_are_missing(
    annotations: Path, place: Path, video: Path, tmp_path: Path
) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    words = ("prepare", "vnbench", "--from", annotations, "--videos", videos, "--any-count")
    missing = run(*words)
    assert missing.exit_code == 1
    assert "VNBench: 8 questions (8 with public answers) about 2 videos, from tries.json (simplified)" in missing.stdout
    assert "not as published: 8 questions, not 5,400" in missing.stdout
    assert "2 missing:\n    clip 0.mp4\n    clip 1.mp4" in missing.stdout
    shutil.copyfile(video, videos / "clip 0.mp4")
    (videos / "clip 1.mp4").write_bytes(b"no video")
    told = json.loads(run(*words, "--json").stdout)
    assert told["videos"]["found"] == 1
    assert list(told["videos"]["unreadable"]) == ["clip 1.mp4"]
    shutil.copyfile(video, videos / "clip 1.mp4")
    whole = run(*words)
    assert whole.exit_code == 0
    assert "videos: 2 can be read" in whole.stdout
    assert "next: bimba eval run vnbench --model MODEL --videos DIR --out DIR" in whole.stdout
    assert (place / "vnbench" / "questions.jsonl").is_file()
    assert run(*words, "--quiet").stdout == ""


def test_prepare_refuses_before_anything_is_written(annotations: Path, place: Path, tmp_path: Path) -> None:
    for words, problem in (
        (("prepare", "vnbnch", "--from", annotations), "no benchmark 'vnbnch'"),
        (("prepare", "vnbench", "--from", tmp_path / "none"), "is not there"),
        (("prepare", "vnbench", "--from", annotations), "is not all of VNBench"),
        (("prepare", "vnbench", "--from", annotations, "--videos", tmp_path / "none"), "is no folder of videos"),
    ):
        done = run(*words)
        assert isinstance(done.exception, InputError)
        assert problem in str(done.exception)
    assert not place.exists()


def test_a_file_in_the_place_of_a_folder_is_refused(annotations: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    lines = "".join(json.dumps({"id": str(number), "prediction": "B"}) + "\n" for number in range(8))
    (tmp_path / "answers.jsonl").write_text(lines)
    assert run("prepare", "vnbench", "--from", annotations, "--any-count").exit_code == 0
    for words in (
        ("prepare", "vnbench", "--from", annotations, "--any-count", "--out", tmp_path / "file"),
        ("score", "vnbench", tmp_path / "answers.jsonl", "--out", tmp_path / "file"),
    ):
        done = run(*words)
        assert isinstance(done.exception, InputError)
        assert "cannot be made a folder" in str(done.exception)


@pytest.mark.parametrize("options", [("--videos", "V", "--out", "O"), ("--quiet", "--videos=V", "--out", "O"), ("-q",)])
def test_options_may_stand_in_front_of_the_name(options: tuple[str, ...], tmp_path: Path) -> None:
    for name in ("vnbench", "benchmark", tmp_path / "recipe.yaml", "several", "needles"):
        before, behind = run("run", *options, name), run("run", name, *options)
        assert before.output == behind.output
        assert repr(before.exception) == repr(behind.exception)
        assert "No such option: --videos" not in before.output


def test_a_variable_replaces_no_model_that_a_recipe_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, object]] = []

    def told(_: Path, **changes: object) -> None:
        seen.append(changes)
        raise InputError("enough", fix="none")

    monkeypatch.setattr("bimba.evaluation.running.read_evaluations", told)
    monkeypatch.setenv("BIMBA_MODEL", "other")
    for words in ((), ("--model", "mine")):
        run("run", tmp_path / "recipe.yaml", "--videos", tmp_path, "--out", tmp_path / "out", *words)
    assert seen == [{}, {"model": "mine"}]


def test_options_without_a_name_are_refused_and_help_is_help() -> None:
    assert "No benchmark is named" in run("run", "--videos", "V").output
    assert "No benchmark is named" in run("run", "--videos").output
    shown = run("run", "--help").output
    assert "Ask a model the questions of a benchmark." in shown
    assert run("run", "--videos", "V", "--help").output == shown
    assert run("run", "--help", "vnbench").output == shown
    assert "bimba eval run benchmark" in run("run", "--videos", "V", "vnbench", "--help").output
    assert "No such option: --vidoes" in run("run", "--vidoes", "V", "vnbench").output
