"""An evaluation on needle videos from end to end, with the tiny model: folders, restarts, refusals."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluation_runs import small
from PIL import Image

from bimba.errors import CheckpointError, InputError
from bimba.evaluation.folder import alone_in
from bimba.evaluation.needles import NeedleEvaluation, Progress, evaluate_needles, read_lines, read_results
from bimba.evaluation.needles import run as module
from bimba.evaluation.needles.asked import UNKNOWN, asked_videos
from bimba.evaluation.needles.lines import LINES_NAME
from bimba.evaluation.needles.settings import SEED, parse_frames
from bimba.evaluation.needles.tables import tables
from bimba.evaluation.pictures.heat_map import CELL_HEIGHT, CELL_WIDTH
from bimba.evaluation.provenance import model_sha256
from bimba.inference import VideoQA
from bimba.needles import make_needles


@pytest.fixture(scope="module")
def finished(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that is through; tests do not change it."""
    out = tmp_path_factory.mktemp("evaluation") / "results"
    evaluate_needles(small(model), out, device="cpu")
    return out


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


def test_a_run_leaves_lines_tables_pictures_and_provenance(finished: Path, model: Path) -> None:
    assert set(contents(finished)) == {
        "run.json", "questions.jsonl", "results.json", "places_open.png", "places_choice.png", "kinds.png",
    }  # fmt: skip
    lines = read_lines(finished / LINES_NAME)
    assert [entry.id for entry in lines] == [q.id for video in asked_videos(small(model)) for q in video.questions]
    results = read_results(finished)
    assert results["num_questions"] == len(lines) == results["open"]["all"]["micro"]["count"]
    assert {name: results[name] for name in tables(lines)} == json.loads(json.dumps(tables(lines)))
    [session] = results["sessions"]
    assert session["versions"]["torch"]
    assert session["device"] == "cpu"
    assert results["settings"]["seed"] == SEED
    assert len(results["model_sha256"]) == 64


def test_every_line_holds_what_the_tables_count_by(finished: Path) -> None:
    lines = read_lines(finished / LINES_NAME)
    for entry in lines:
        assert entry.frames in (16, 24)
        assert entry.size == (128, 72)
        assert (entry.kind == UNKNOWN) == (not entry.options) == (entry.chosen is None)
        assert len(entry.scores) == len(entry.options)
        assert (entry.place is None) == (entry.num_evidence == 0)
        assert 2 <= entry.num_needles <= 3
    assert {entry.frames for entry in lines} == {16, 24}


def test_heat_map_has_a_row_for_each_length_and_ten_places(finished: Path) -> None:
    with Image.open(finished / "places_open.png") as picture:
        assert picture.width > 10 * CELL_WIDTH
        assert picture.height > 2 * CELL_HEIGHT


def test_answers_are_those_of_the_model_alone(finished: Path, tiny: VideoQA, model: Path) -> None:
    asked = next(asked_videos(small(model)))
    lines = {entry.id: entry for entry in read_lines(finished / LINES_NAME)}
    frames = np.stack(list(asked.video.frames()))
    assert len(frames) == 16
    for question in asked.questions:
        answer = tiny.ask(frames, f"<image>\n{question.question}", max_new_tokens=24)
        assert lines[question.id].said == answer.text


@pytest.mark.parametrize("torn", [b"", b'{"id": "16-00'])
@pytest.mark.parametrize("kept", [0, 3, 6])
def test_a_run_that_was_killed_goes_on_to_the_same_files(
    finished: Path, model: Path, tmp_path: Path, kept: int, torn: bytes
) -> None:
    whole = contents(finished)
    lines = whole[LINES_NAME].splitlines(keepends=True)
    (tmp_path / "run.json").write_bytes(whole["run.json"])
    (tmp_path / LINES_NAME).write_bytes(b"".join(lines[:kept]) + torn)
    outcome = evaluate_needles(small(model), tmp_path, device="cpu")
    assert contents(tmp_path) == whole
    assert (outcome.num_there, outcome.num_asked) == (kept, len(lines) - kept)


def test_a_finished_run_asks_nothing_again(finished: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "load", lambda *_, **__: pytest.fail("the model is not needed"))
    before = contents(finished)
    assert evaluate_needles(small(model), finished, device="cpu").num_asked == 0
    assert contents(finished) == before


def test_batches_do_not_change_the_answers(finished: Path, model: Path, tmp_path: Path) -> None:
    evaluate_needles(small(model), tmp_path, device="cpu", batch_size=3)
    for ours, theirs in zip(read_lines(tmp_path / LINES_NAME), read_lines(finished / LINES_NAME), strict=True):
        assert ours.scores == pytest.approx(theirs.scores, abs=1e-4)
        assert ours.model_copy(update={"scores": theirs.scores}) == theirs


def test_a_limit_asks_the_first_questions_and_a_later_run_the_rest(finished: Path, model: Path, tmp_path: Path) -> None:
    whole = contents(finished)[LINES_NAME].splitlines()
    seen: list[Progress] = []
    outcome = evaluate_needles(small(model), tmp_path, device="cpu", limit=7, on_progress=seen.append)
    assert outcome.results["num_questions"] == outcome.num_asked == 7
    assert seen[-1] == Progress(7, 7, 7)
    assert (tmp_path / LINES_NAME).read_bytes().splitlines() == whole[:7]
    outcome = evaluate_needles(small(model), tmp_path, device="cpu", on_progress=seen.append)
    assert (outcome.num_there, outcome.num_asked) == (7, len(whole) - 7)
    assert (tmp_path / LINES_NAME).read_bytes().splitlines() == whole
    assert (seen[-1].done, seen[-1].total) == (80, 80)


def test_another_runs_folder_is_refused_with_what_differs(finished: Path, model: Path) -> None:
    before = contents(finished)
    with pytest.raises(InputError) as raised:
        evaluate_needles(small(model, seed=3, temporal_pooling=2), finished, device="cpu")
    assert f"settings.seed: {SEED} there, 3 now" in raised.value.problem
    assert "settings.temporal_pooling: None there, 2 now" in raised.value.problem
    assert "--out" in raised.value.fix
    assert contents(finished) == before


def test_a_run_that_failed_before_its_first_answer_leaves_its_folder_free(model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="reads 32,768 at most"):
        evaluate_needles(small(model, frames=(16, 5000)), tmp_path, device="cpu")
    assert evaluate_needles(small(model), tmp_path, device="cpu", limit=1).num_asked == 1


def test_a_model_that_was_moved_is_the_same_and_one_that_was_changed_is_not(
    finished: Path, model: Path, tmp_path: Path
) -> None:
    moved = shutil.copytree(model, tmp_path / "moved")
    assert evaluate_needles(small(moved), finished, device="cpu").num_asked == 0
    weights = bytearray((moved / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (moved / "model.safetensors").write_bytes(weights)
    with pytest.raises(InputError, match="model_sha256"):
        evaluate_needles(small(moved), finished, device="cpu")


def test_the_base_of_an_adapter_is_part_of_the_model(golden: Path, pair: Path) -> None:
    before = model_sha256(str(golden / "tiny_lora"), str(golden / "tiny_base"))
    assert model_sha256(str(pair / "tiny_lora"), str(pair / "tiny_base")) == before
    (pair / "tiny_base" / "config.json").write_text((pair / "tiny_base" / "config.json").read_text() + "\n")
    assert model_sha256(str(pair / "tiny_lora"), str(pair / "tiny_base")) != before


def test_a_folder_of_something_else_is_refused(model: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"is no evaluation: notes\.txt"):
        evaluate_needles(small(model), tmp_path)
    assert contents(tmp_path) == {"notes.txt": b"mine"}


def test_two_runs_at_a_time_keep_out_of_each_others_folder(model: Path, tmp_path: Path) -> None:
    with alone_in(tmp_path), pytest.raises(InputError, match="another process"):
        evaluate_needles(small(model), tmp_path)


def test_a_model_that_is_not_there_is_told_before_anything_is_asked(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        evaluate_needles(small(tmp_path / "none"), tmp_path / "out")


def test_pooling_of_ones_own_changes_what_the_model_sees(model: Path, finished: Path, tmp_path: Path) -> None:
    outcome = evaluate_needles(small(model, temporal_pooling=4, spatial_pooling=5), tmp_path, device="cpu", limit=4)
    assert outcome.results["settings"]["temporal_pooling"] == 4
    pooled, own = read_lines(tmp_path / LINES_NAME), read_lines(finished / LINES_NAME)[:4]
    assert [entry.question for entry in pooled] == [entry.question for entry in own]
    assert [entry.scores for entry in pooled] != [entry.scores for entry in own]


def test_needles_hide_in_ones_own_videos(model: Path, tmp_path: Path) -> None:
    make_needles(tmp_path / "own", seconds=2, size="96x64", fps=4, needles=1, needle_seconds=0.5)
    settings = small(model, haystack=tmp_path / "own", frames=(16,), videos=1)
    assert settings.scenes == (1, 1)
    outcome = evaluate_needles(settings, tmp_path / "out", device="cpu", limit=2)
    assert outcome.results["names_and_sizes_sha256"].keys() == {"haystack"}
    make_needles(tmp_path / "more", seconds=3, size="96x64", fps=4, needles=1, needle_seconds=0.5)
    (tmp_path / "more" / "video_00000.mp4").rename(tmp_path / "own" / "second.mp4")
    with pytest.raises(InputError, match=r"names_and_sizes_sha256\.haystack"):
        evaluate_needles(settings, tmp_path / "out", device="cpu")


def test_a_line_that_is_none_of_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / LINES_NAME).write_text('{"id": "16-0000"}\n')
    with pytest.raises(InputError, match=r"line 1 of .*: kind: Field required"):
        read_lines(tmp_path / LINES_NAME)


def test_results_that_are_not_there_are_told(tmp_path: Path, finished: Path) -> None:
    with pytest.raises(InputError, match="holds no evaluation"):
        read_results(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(InputError, match="not finished"):
        read_results(tmp_path)
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        read_results(tmp_path)
    (tmp_path / "results.json").write_text("[]")
    with pytest.raises(InputError, match="none of ours"):
        read_results(tmp_path)
    other = json.loads((finished / "results.json").read_text()) | {"benchmark_version": 99}
    (tmp_path / "results.json").write_text(json.dumps(other))
    with pytest.raises(InputError, match="version 99; this bimba reads needles version 1"):
        read_results(tmp_path)


@pytest.mark.parametrize("numbers", [{"limit": 0}, {"batch_size": 0}])
def test_numbers_below_one_are_refused(model: Path, tmp_path: Path, numbers: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="is 0"):
        evaluate_needles(small(model), tmp_path / "out", **numbers)
    assert not (tmp_path / "out").exists()


def test_questions_that_no_video_allows_are_told(model: Path, tmp_path: Path) -> None:
    settings = small(model, kinds=("pair",), unknown=0.0)
    with pytest.raises(InputError, match="none of the questions"):
        evaluate_needles(settings, tmp_path, device="cpu")


def test_lengths_come_in_turns_and_have_videos_of_their_own() -> None:
    videos = list(asked_videos(small(sizes=("128x72", "96x96"), videos=3)))
    assert [video.video.record.num_frames for video in videos] == [16, 24] * 3
    assert [video.video.record.width for video in videos] == [128, 128, 96, 96, 128, 128]
    assert len({video.video.record.seed for video in videos}) == 6
    ids = [question.id for video in videos for question in video.questions]
    assert len(set(ids)) == len(ids)


def test_more_lengths_leave_the_videos_of_the_others_as_they_are() -> None:
    few = [video.questions for video in asked_videos(small(frames=(24,)))]
    many = [video.questions for video in asked_videos(small(frames=(16, 24, 32)))]
    assert few == many[1::3]


def test_a_needle_is_seen_in_one_to_three_frames_whatever_the_length() -> None:
    settings = NeedleEvaluation.checked({"model": "m", "videos": 2})
    lengths = {
        needle.last_frame - needle.first_frame + 1
        for video in asked_videos(settings)
        for needle in video.video.record.needles
    }
    assert lengths == {1, 2, 3}
    assert settings.frames == (64, 128, 256, 512)
    assert settings.split == "test"


def test_a_place_is_the_middle_of_the_evidence() -> None:
    for video in asked_videos(small()):
        by_text = {question.question: question for question in video.questions}
        for question in video.video.record.questions:
            first = min((e.first_frame for e in question.evidence), default=None)
            last = max((e.last_frame for e in question.evidence), default=None)
            place = by_text[question.question].place
            if first is None or last is None:
                assert place is None
            else:
                assert place == pytest.approx((first + last + 1) / 2 / video.video.record.num_frames, abs=1e-6)


def test_pictures_tell_whether_their_place_is_held_out() -> None:
    videos = list(asked_videos(small(needle_kinds=("picture",), videos=20, questions=None)))
    found = {question.held_out for video in videos for question in video.questions}
    assert found == {True, False, None}
    for video in videos:
        held_out = any(needle.held_out for needle in video.video.record.needles)
        assert held_out or not any(question.held_out for question in video.questions)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sead": 1}, "use 'seed'"),
        ({"frames": (64, 64)}, "names one of 64, 64 twice"),
        ({"frames": (0,)}, "frames are 1 to"),
        ({"videos": 0}, "videos = 0"),
        ({"kinds": ("color",)}, "use 'colour'"),
        ({"needles": "2-9"}, "at most that many needles"),
        ({"sizes": ("128",)}, "128x72|WIDTHxHEIGHT"),
        ({"unknown": -1.0}, "unknown = -1.0"),
        ({"haystack": "own", "scenes": 2}, "uncut"),
    ],
)
def test_settings_that_do_not_hold_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        small(**changes)


@pytest.mark.parametrize(("text", "frames"), [("64", (64,)), ("64, 128", (64, 128))])
def test_lengths_are_read_from_a_text(text: str, frames: tuple[int, ...]) -> None:
    assert parse_frames(text) == frames


@pytest.mark.parametrize("text", ["", "64,", "6.5", "many"])
def test_lengths_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="--frames"):
        parse_frames(text)
