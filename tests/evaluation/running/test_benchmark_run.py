"""Every question is asked once, whoever asks and whatever is killed; the score says what it covers."""

import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from benchmark_runs import NUM_VIDEOS, PER_VIDEO, Parrot, make_benchmark, questions_of, ran, settings
from bimba.errors import InputError
from bimba.evaluation.benchmarks import find_benchmark
from bimba.evaluation.running import Progress, run_benchmark

TOTAL = NUM_VIDEOS * PER_VIDEO
FORK = multiprocessing.get_context("fork") if hasattr(os, "fork") else None
forks = pytest.mark.skipif(FORK is None, reason="processes are forked here, which this system cannot")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_benchmark(tmp_path_factory.mktemp("benchmark"))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough videos for twenty interruptions."""
    return make_benchmark(tmp_path_factory.mktemp("large"), videos=80)


def answers(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "answers.jsonl").read_text(encoding="utf-8").splitlines()]


def on_disk(out: Path) -> set[str]:
    """Questions whose answers are whole, in the pieces of a running evaluation or in its result."""
    lines = [line for path in out.glob("pieces/*.jsonl") for line in path.read_bytes().split(b"\n")[:-1]]
    merged = answers(out) if (out / "answers.jsonl").is_file() else []
    return {each["id"] for each in (*map(json.loads, lines), *merged)}


def scores(out: Path) -> dict[str, Any]:
    """Results without what tells of the machine."""
    results: dict[str, Any] = json.loads((out / "results.json").read_text(encoding="utf-8"))
    results.pop("sessions")
    return results


def one_process(folder: Path, model: Path, out: Path, rank: int, world_size: int, seconds: float) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(world_size)}
    ran(folder, model, out, seconds=seconds)


def start(folder: Path, model: Path, out: Path, world_size: int, seconds: float) -> list[Any]:
    assert FORK is not None
    processes = [
        FORK.Process(target=one_process, args=(folder, model, out, rank, world_size, seconds))
        for rank in range(world_size)
    ]
    for process in processes:
        process.start()
    return processes


def test_every_question_is_answered_once_in_order_and_scored(folder: Path, model: Path, tmp_path: Path) -> None:
    told: list[Progress] = []
    done = ran(folder, model, tmp_path / "out", on_progress=told.append)
    assert (done.num_asked, done.num_there) == (TOTAL, 0)
    assert [each["id"] for each in answers(tmp_path / "out")] == [each.id for each in questions_of(folder)]
    assert told[0] == Progress(0, TOTAL, 0)
    assert told[-1] == Progress(TOTAL, TOTAL, 0)
    results = scores(tmp_path / "out")
    right = {question.id: question.answer for question in questions_of(folder)}
    by_hand = sum(each["prediction"] == f"({right[each['id']]})" for each in answers(tmp_path / "out"))
    assert results["scores"]["accuracy"]["right"] == by_hand
    assert results["unparsed"]["count"] == sum(each["prediction"] == "(X)" for each in answers(tmp_path / "out"))
    assert results["covers"]["answered"] == TOTAL
    assert set(results["by"]["type"]) == {"action", "speed"}
    assert results["annotations"]["deviations"][0] == f"{TOTAL} questions, not 1,580"
    assert (tmp_path / "out" / "accuracy.png").is_file()
    assert "reported" not in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    again = ran(folder, model, tmp_path / "out")
    assert (again.num_asked, again.num_there) == (0, TOTAL)
    assert again.results == done.results


@forks
@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_any_number_of_processes_writes_the_same(large: Path, model: Path, tmp_path: Path, world_size: int) -> None:
    ran(large, model, tmp_path / "alone")
    processes = start(large, model, tmp_path / "out", world_size, 0.005)
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert (tmp_path / "out/answers.jsonl").read_bytes() == (tmp_path / "alone/answers.jsonl").read_bytes()
    assert scores(tmp_path / "out") == scores(tmp_path / "alone")
    assert not (tmp_path / "out/pieces").exists()


@forks
def test_killed_twenty_times_nothing_is_lost_and_nothing_is_there_twice(
    large: Path, model: Path, tmp_path: Path
) -> None:
    ran(large, model, tmp_path / "alone")
    generator, out, most = random.Random(3), tmp_path / "out", 0
    for number in range(20):
        processes = start(large, model, out, 1 + number % 2, 0.06)
        more, until = generator.randrange(5), time.monotonic() + 60
        while len(on_disk(out)) < most + more and time.monotonic() < until:
            time.sleep(0.005)
        time.sleep(generator.uniform(0, 0.3))
        for process in processes:
            os.kill(process.pid, signal.SIGKILL)
            process.join(60)
        there = on_disk(out)
        assert len(there) >= most + more  # nothing that was written is lost
        most = len(there)
    assert 0 < most < 80 * PER_VIDEO  # the last interruption was one, too
    ran(large, model, out)
    assert (out / "answers.jsonl").read_bytes() == (tmp_path / "alone/answers.jsonl").read_bytes()
    assert scores(out) == scores(tmp_path / "alone")


def test_torn_line_is_asked_again(folder: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ran(folder, model, out)
    whole = (out / "answers.jsonl").read_bytes()
    (out / "pieces").mkdir()
    (out / "answers.jsonl").unlink()
    (out / "pieces" / "1-x.jsonl").write_bytes(whole[:-20])
    assert ran(folder, model, out).num_asked == 1
    assert (out / "answers.jsonl").read_bytes() == whole


def test_run_that_stops_at_a_limit_goes_on(folder: Path, model: Path, tmp_path: Path) -> None:
    some = ran(folder, model, tmp_path / "out", limit=5)
    assert some.num_asked == 5
    assert some.results is not None
    assert some.results["covers"]["missing"] == TOTAL - 5
    assert ran(folder, model, tmp_path / "out").num_asked == TOTAL - 5
    ran(folder, model, tmp_path / "alone")
    assert scores(tmp_path / "out") == scores(tmp_path / "alone")


def test_unreadable_videos_are_counted_and_asked_about_once_they_are_mended(
    folder: Path, model: Path, tmp_path: Path
) -> None:
    videos = tmp_path / "videos"
    shutil.copytree(folder / "videos", videos)
    whole = (videos / "video_00001.mp4").read_bytes()
    (videos / "video_00001.mp4").write_bytes(whole[:400])
    (videos / "video_00002.mp4").unlink()
    out = tmp_path / "out"
    done = ran(folder, model, out, videos=videos)
    assert done.num_asked == TOTAL - 2 * PER_VIDEO
    assert done.results is not None
    assert done.results["covers"]["failed"] == 2 * PER_VIDEO
    assert set(done.results["failed_videos"]) == {"video_00001.mp4", "video_00002.mp4"}
    assert "12 of 18 questions answered; 6 about 2 videos that cannot be read" in (out / "report.md").read_text()
    assert ran(folder, model, out, videos=videos).num_asked == 0  # nothing changed
    (videos / "video_00001.mp4").write_bytes(whole)
    shutil.copy(folder / "videos/video_00002.mp4", videos)
    assert ran(folder, model, out, videos=videos).num_asked == 2 * PER_VIDEO
    ran(folder, model, tmp_path / "alone")
    assert scores(out) == scores(tmp_path / "alone")


def test_video_that_breaks_off_is_counted(folder: Path, model: Path, tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    shutil.copytree(folder / "videos", videos)
    file = videos / "video_00003.mp4"
    content = bytearray(file.read_bytes())
    place = content.index(b"mdat") + 8
    content[place : place + 4000] = bytes(4000)
    file.write_bytes(content)
    done = ran(folder, model, tmp_path / "out", videos=videos)
    assert done.results is not None
    assert list(done.results["failed_videos"]) == ["video_00003.mp4"]


def test_likelihoods_are_kept_and_the_likeliest_letter_counts(folder: Path, model: Path, tmp_path: Path) -> None:
    ran(folder, model, tmp_path / "out", score="likelihood")
    for each in answers(tmp_path / "out"):
        assert len(each["scores"]) == 3
        assert each["prediction"] == "ABC"[each["scores"].index(max(each["scores"]))]
    assert scores(tmp_path / "out")["unparsed"]["count"] == 0


def test_another_run_in_the_same_folder_is_refused(folder: Path, model: Path, tmp_path: Path) -> None:
    ran(folder, model, tmp_path / "out")
    with pytest.raises(InputError, match=r"settings.prompt: released there, official now"):
        ran(folder, model, tmp_path / "out", prompt="official")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/thesis.txt").touch()
    with pytest.raises(InputError, match=r"is no evaluation: thesis\.txt"):
        ran(folder, model, tmp_path / "other")


def test_what_cannot_run_is_refused_before_a_model_is_loaded(folder: Path, model: Path, tmp_path: Path) -> None:
    def never() -> Parrot:
        raise AssertionError

    def run(**options: Any) -> None:
        chosen = {"videos": folder / "videos", "prepared": folder / "prepared"} | options
        videos = chosen.pop("videos")
        run_benchmark(settings(model), tmp_path / "out", videos, answerer=never, **chosen)

    with pytest.raises(InputError, match="is no folder of videos"):
        run(videos=tmp_path / "none")
    with pytest.raises(InputError, match="holds none of the videos of TempCompass MC"):
        run(videos=tmp_path)
    with pytest.raises(InputError, match="is not prepared"):
        run(prepared=tmp_path)
    with pytest.raises(InputError, match="limit is 0"):
        run(limit=0)
    with pytest.raises(InputError, match="no benchmark 'tempcompas'"):
        settings(model, benchmark="tempcompas")
    with pytest.raises(InputError, match="no setting 'frame'"):
        settings(model, frame=3)
    assert find_benchmark("tempcompass").name == "tempcompass"
    assert not (tmp_path / "out").exists()
