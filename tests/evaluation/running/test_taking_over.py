"""Processes that work on one folder: what one of them leaves behind, the others see, take over and do not lose."""

import json
import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from benchmark_runs import PER_VIDEO, make_benchmark, questions_of, ran
from bimba.errors import InputError
from bimba.evaluation.running.claims import Claim, claims
from bimba.evaluation.running.pieces import Answer, Pieces
from bimba.evaluation.running.units import Unit, units_of

FORK = multiprocessing.get_context("fork") if hasattr(os, "fork") else None
forks = pytest.mark.skipif(FORK is None, reason="processes are forked here, which this system cannot")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_benchmark(tmp_path_factory.mktemp("benchmark"))


def said(name: str, prediction: str | None = "A") -> Answer:
    return Answer(id=name, prediction=prediction, failed=None if prediction else "damaged")


def hold(out: Path, unit: Unit, is_held: "multiprocessing.synchronize.Event") -> None:
    for claim in claims(out, [unit], lambda _: True):
        assert isinstance(claim, Claim)
        is_held.set()
        time.sleep(60)


@forks
def test_what_a_killed_process_held_is_taken_over(folder: Path, tmp_path: Path) -> None:
    assert FORK is not None
    units = units_of(questions_of(folder))[:2]
    is_held = FORK.Event()
    other = FORK.Process(target=hold, args=(tmp_path, units[0], is_held))
    other.start()
    assert is_held.wait(60)
    answered: set[int] = set()
    taken: list[int] = []
    for claim in claims(tmp_path, units, lambda unit: unit.number not in answered):
        if claim is None:
            # Only what the other holds is left.
            assert taken == [1]
            if other.is_alive():
                assert other.pid is not None
                os.kill(other.pid, signal.SIGKILL)
                other.join(60)
            continue
        taken.append(claim.unit.number)
        answered.add(claim.unit.number)
        claim.release()
    assert taken == [1, 0]


def test_who_waits_goes_when_the_holder_is_done(folder: Path, tmp_path: Path) -> None:
    [unit, *_] = units_of(questions_of(folder))
    mine = next(claims(tmp_path, [unit], lambda _: True))
    assert isinstance(mine, Claim)
    is_open = [True]

    def answer() -> None:
        time.sleep(0.3)
        is_open[0] = False
        mine.release()

    thread = threading.Thread(target=answer)
    thread.start()
    assert set(claims(tmp_path, [unit], lambda _: is_open[0])) <= {None}
    thread.join()


def test_pieces_may_be_merged_while_another_process_reads_them(tmp_path: Path) -> None:
    names = [f"q{number}" for number in range(40)]
    one, two = Pieces(tmp_path), Pieces(tmp_path)
    for start in range(0, 40, 4):
        one.append([said(name) for name in names[start : start + 2]])
        two.append([said(name) for name in names[start + 2 : start + 4]])
        one.refresh()
        two.merge(names)
        one.refresh()
        assert one.answers.keys() == two.answers.keys() == set(names[: start + 4])
    lines = (tmp_path / "answers.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["id"] for line in lines] == names
    assert one.merge(names) is False
    assert not (tmp_path / "pieces").exists()


def test_a_merged_file_that_was_mended_since_is_read_anew(tmp_path: Path) -> None:
    """An answer takes less room than the failure before it: places in the old file mean nothing in the new one."""
    one = Pieces(tmp_path)
    one.append([Answer(id="a", prediction=None, failed="x" * 500), said("b")])
    one.merge(["a", "b"])
    two = Pieces(tmp_path)
    assert two.answers["a"].failed
    one.append([said("a"), said("c")])
    one.merge(["a", "b", "c"])
    two.refresh()
    assert {name: answer.prediction for name, answer in two.answers.items()} == {"a": "A", "b": "A", "c": "A"}


def test_a_piece_that_grew_since_it_was_read_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = Pieces(tmp_path), Pieces(tmp_path)
    one.append([said("a")])
    two.refresh()
    one.append([said("b")])
    monkeypatch.setattr(two, "refresh", lambda: None)
    two.merge(["a", "b"])
    assert Pieces(tmp_path).answers.keys() == {"a", "b"}


def test_the_report_of_several_processes_is_written_once(folder: Path, model: Path, tmp_path: Path) -> None:
    first = ran(folder, model, tmp_path / "out")
    written = (tmp_path / "out/report.md").stat().st_mtime_ns
    again = ran(folder, model, tmp_path / "out")
    assert again.results == first.results
    assert (tmp_path / "out/report.md").stat().st_mtime_ns == written


def with_subtitles(folder: Path, tmp_path: Path) -> Path:
    """The benchmark with a file of subtitles for each of its videos, as a benchmark that tells them."""
    place = tmp_path / "prepared"
    place.mkdir()
    lines = (folder / "prepared/questions.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    text = "".join(json.dumps(each | {"subtitles": f"{each['video']}.srt"}) + "\n" for each in records)
    (place / "questions.jsonl").write_text(text, encoding="utf-8")
    return place


def test_subtitles_are_looked_into_before_anything_is_asked(
    folder: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bimba.evaluation.benchmarks import find_benchmark, prepared_questions, read_questions
    from bimba.evaluation.running import checking

    place = with_subtitles(folder, tmp_path)
    source, _ = prepared_questions(find_benchmark("tempcompass"), folder / "prepared")
    told = find_benchmark("tempcompass").model_copy(update={"subtitles": "{video}.srt"})
    monkeypatch.setattr(checking, "find_benchmark", lambda _: told)
    questions = read_questions(place / "questions.jsonl")
    monkeypatch.setattr(checking, "prepared_questions", lambda *_: (source, questions))
    with pytest.raises(InputError, match="needs a folder of subtitles"):
        ran(folder, model, tmp_path / "out")
    (tmp_path / "lines").mkdir()
    with pytest.raises(InputError, match="holds none of the subtitles"):
        ran(folder, model, tmp_path / "out", subtitles=tmp_path / "lines")
    file = tmp_path / "lines/video_00000.mp4.srt"
    file.write_text("no time is here", encoding="utf-8")
    with pytest.raises(InputError, match="holds no subtitles that can be read"):
        ran(folder, model, tmp_path / "out", subtitles=tmp_path / "lines")
    file.write_text("1\n00:00:00,000 --> 00:00:09,000\nLook here.\n", encoding="utf-8")
    done = ran(folder, model, tmp_path / "out", subtitles=tmp_path / "lines")
    assert done.results is not None
    assert done.results["questions_with_subtitles"] == PER_VIDEO
    assert f"; {PER_VIDEO} of 18 questions have subtitles" in (tmp_path / "out/report.md").read_text(encoding="utf-8")
