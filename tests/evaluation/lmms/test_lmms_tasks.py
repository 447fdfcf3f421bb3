"""A prepared benchmark becomes a task of lmms-eval, which asks and scores as `bimba eval run` does."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from benchmark_runs import make_benchmark, questions_of
from bimba.errors import InputError
from bimba.evaluation.benchmarks import Question, find_benchmark, write_question
from bimba.evaluation.lmms import functions
from bimba.evaluation.lmms.tasks import write_task
from bimba.evaluation.metrics import METRICS

TEMPCOMPASS = find_benchmark("tempcompass")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_benchmark(tmp_path_factory.mktemp("benchmark"))


def records_of(task: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in task.with_suffix(".jsonl").read_text(encoding="utf-8").splitlines()]


def test_every_question_is_a_record_with_its_video_and_prompt(folder: Path, tmp_path: Path) -> None:
    task = write_task(TEMPCOMPASS, folder / "videos", tmp_path / "tasks", prepared=folder / "prepared")
    assert task.name == "bimba_tempcompass.yaml"
    questions = questions_of(folder)
    records = records_of(task)
    assert [record["id"] for record in records] == [question.id for question in questions]
    for record, question in zip(records, questions, strict=True):
        assert Path(functions.doc_to_visual(record)[0]) == (folder / "videos" / question.video).resolve()
        assert "<image>" + functions.doc_to_text(record) == write_question(TEMPCOMPASS, question, "released")
        assert functions.doc_to_target(record) == question.answer
        assert Question.model_validate_json(record["question"]) == question
        assert all(isinstance(value, str) for value in record.values())
    assert sorted(path.name for path in task.parent.iterdir()) == ["bimba_tempcompass.jsonl", "bimba_tempcompass.yaml"]


def test_the_wording_of_the_benchmark_is_there_too(folder: Path, tmp_path: Path) -> None:
    given = {"prepared": folder / "prepared", "prompt": "official"}
    task = write_task(TEMPCOMPASS, folder / "videos", tmp_path, **given)  # type: ignore[arg-type] # of two types
    prompt = write_question(TEMPCOMPASS, questions_of(folder)[0], "official")
    assert "<image>" + records_of(task)[0]["prompt"] == prompt
    assert "prompt official" in task.read_text(encoding="utf-8")


def test_functions_of_the_file_are_there(folder: Path, tmp_path: Path) -> None:
    text = write_task(TEMPCOMPASS, folder / "videos", tmp_path, prepared=folder / "prepared").read_text(
        encoding="utf-8"
    )
    named = [
        line.rpartition(f"!function {functions.__name__}.")[2] for line in text.splitlines() if "!function" in line
    ]
    assert named == ["doc_to_visual", "doc_to_text", "doc_to_target", "process_results", "accuracy"]
    assert all(callable(getattr(functions, name)) for name in (*named, *METRICS))


def test_missing_videos_and_secret_answers_are_told(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "some").mkdir()
    shutil.copy(folder / "videos/video_00000.mp4", tmp_path / "some")
    with pytest.raises(InputError, match=r"5 of 6 videos are not in .*: video_00001\.mp4, video_00002\.mp4"):
        write_task(TEMPCOMPASS, tmp_path / "some", tmp_path / "tasks", prepared=folder / "prepared")
    assert not (tmp_path / "tasks").exists()


def vnbench(item: int, attempt: int, answer: str, kind: str = "ret_edit") -> dict[str, str]:
    question = Question(
        id=f"{item}-{attempt}", video=f"{item}.mp4", question="Which?", options=("a", "b", "c", "d"), answer=answer,
        item=str(item), tags={"type": kind},
    )  # fmt: skip
    return {"id": question.id, "benchmark": "vnbench", "target": answer, "question": question.model_dump_json()}


def test_vnbench_is_right_only_if_all_four_tries_are() -> None:
    records = [
        vnbench(item, attempt, "ABCD"[attempt], ("ret_edit", "cnt_edit1")[item // 2])
        for item in range(4)
        for attempt in range(4)
    ]
    said = [record["target"] for record in records]
    said[3] = "none of these"  # a try of the first item
    told: dict[str, list[Any]] = {"all_tries": [], "accuracy": []}
    for record, answer in zip(records, said, strict=True):
        for name, value in functions.process_results(record, [answer]).items():
            told[name].append(value)
    assert functions.all_tries(told["all_tries"]) == 75  # one of two, and both
    assert functions.accuracy(told["accuracy"]) == pytest.approx(100 * 15 / 16)
    assert math.isnan(functions.all_tries(told["all_tries"][:3]))


def test_a_question_whose_answer_is_secret_counts_nowhere() -> None:
    assert functions.process_results(vnbench(0, 0, "A") | {"target": ""}, ["A"]) == {}
