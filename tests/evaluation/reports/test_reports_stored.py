"""Stored answers in; scores, comparisons and submissions out."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from bimba.errors import InputError
from bimba.evaluation.benchmarks import Question, find_benchmark, prepare
from bimba.evaluation.reports import results_of, write_report
from bimba.evaluation.reports.compared import compared
from bimba.evaluation.reports.given import Given, read_given
from bimba.evaluation.reports.markdown import report_text
from bimba.evaluation.reports.outcomes import outcomes_of, read_answers
from bimba.evaluation.reports.stored import read_answers_file, read_run
from bimba.evaluation.reports.submission import write_submission

VNBENCH, MLVU, EGOSCHEMA = map(find_benchmark, ("vnbench", "mlvu", "egoschema"))


def tries(item: str, kind: str) -> list[Question]:
    return [
        Question(
            id=f"{item}.{number}",
            video=f"{item}.mp4",
            question="What?",
            options=("dog", "cat", "cow", "hen"),
            answer="ABCD"[number],
            item=item,
            tags={"type": kind},
        )
        for number in range(4)
    ]


QUESTIONS = [*tries("one", "ret"), *tries("two", "ret"), *tries("three", "ord")]
RIGHT = {question.id: question.answer for question in QUESTIONS}
SETTINGS = {"extract": "option", "model": "m"}


TOLD = {
    "benchmark_version": 1, "questions_sha256": "x", "prompt_version": "p", "settings": SETTINGS,
    "answers_from": {"file": "f", "sha256": "s"}, "scored_with": {"bimba": "0", "code": None},
}  # fmt: skip


def say(**changes: str | None) -> list[Given]:
    """The right answers, but for some."""
    said = RIGHT | {name.replace("_", "."): words for name, words in changes.items()}
    return [
        Given(name, words) if words is not None else Given(name, None, "it is cut short")
        for name, words in said.items()
    ]


def test_vnbench_is_scored_as_its_authors_do_beside_what_the_paper_reports() -> None:
    results = results_of(VNBENCH, QUESTIONS, say(two_3="the cow or the hen"), SETTINGS)
    assert list(results["scores"]) == ["all_tries", "accuracy"]
    assert results["scores"]["all_tries"]["value"] == 0.75  # types: 1/2 and 1/1
    assert results["scores"]["accuracy"]["value"] == round(11 / 12, 6)
    assert results["by"]["type"]["ret"]["value"] == 0.5
    assert results["unparsed"] == {
        "count": 1, "examples": [{"id": "two.3", "prediction": "the cow or the hen"}]
    }  # fmt: skip
    text = report_text(results | TOLD)
    official, micro = text.index("all four tries right"), text.index("accuracy over all questions")
    assert official < micro < text.index("reported: BIMBA (over 5,400 tries, 128 frames) | 77.88 %")
    assert "1 answer names no option, which counts as wrong" in text


def test_what_guessing_gives_is_told_of_each_score() -> None:
    scores = results_of(VNBENCH, QUESTIONS, say(), SETTINGS)["scores"]
    assert scores["accuracy"]["chance"] == 0.25
    assert scores["all_tries"]["chance"] == round(0.25**4, 6)
    text = report_text(results_of(VNBENCH, QUESTIONS, say(), SETTINGS) | TOLD)
    assert "| guessing | 0.39 % |" in text
    assert "| guessing | 25.00 % |" in text


def test_a_mean_over_types_says_of_how_many_it_is() -> None:
    whole = results_of(VNBENCH, QUESTIONS, say(), SETTINGS)["scores"]["all_tries"]
    assert (whole["groups"], whole["all_groups"]) == (2, 2)
    assert "over 2 of" not in whole["title"]
    part = results_of(VNBENCH, QUESTIONS, say()[:8], SETTINGS)["scores"]["all_tries"]
    assert part["title"].endswith(", over 1 of 2")


def test_questions_of_several_types_stand_in_the_breakdown_of_each() -> None:
    lvbench = find_benchmark("lvbench")
    asked = [
        QUESTIONS[0].model_copy(update={"id": str(number), "tags": {"type": types, "category": "tv"}})
        for number, types in enumerate([("reasoning", "summarization"), ("reasoning",), ("summarization",)])
    ]
    answers = [Given("0", "A"), Given("1", "B"), Given("2", "B")]
    results = results_of(lvbench, asked, answers, SETTINGS)
    assert results["scores"]["accuracy"]["count"] == 3
    by_type = results["by"]["type"]
    assert {name: (found["right"], found["count"]) for name, found in by_type.items()} == {
        "reasoning": (1, 2), "summarization": (1, 2)
    }  # fmt: skip
    assert "| reported: Vamba (its paper, table 4" in report_text(results | TOLD)
    better = outcomes_of(asked, [Given("0", "A"), Given("1", "A"), Given("2", "B")], "option")
    found = compared(lvbench, outcomes_of(asked, answers, "option"), better)
    assert {name: each["difference"] for name, each in found["by"]["type"].items()} == {
        "reasoning": 0.5, "summarization": 0.0
    }  # fmt: skip


def test_ties_are_counted() -> None:
    answers = [Given("one.0", "A", tied=True), *say()[1:]]
    results = results_of(VNBENCH, QUESTIONS, answers, SETTINGS)
    assert results["tied"] == 1
    assert "1 times several letters were the likeliest" in report_text(results | TOLD)


def test_why_there_is_no_score_is_told() -> None:
    failed = [Given(question.id, None, "it is damaged") for question in QUESTIONS]
    assert "No question whose answer is public was answered" in report_text(
        results_of(VNBENCH, QUESTIONS, failed, SETTINGS) | TOLD
    )
    secret = [question.model_copy(update={"answer": None}) for question in QUESTIONS]
    assert "a server scores them" in report_text(results_of(VNBENCH, secret, say(), SETTINGS) | TOLD)


def test_figures_of_another_score_are_not_set_beside_these() -> None:
    questions = [question.model_copy(update={"item": None}) for question in QUESTIONS]
    text = report_text(results_of(find_benchmark("egoschema"), questions, say(), SETTINGS) | TOLD)
    table, _, rest = text.partition("Reported of another score")
    assert "71.14" not in table
    assert "BIMBA 71.14 % (kaggle: all 5,031 questions, scored by Kaggle)" in rest


def test_failed_and_missing_answers_leave_their_items_out_and_are_told() -> None:
    results = results_of(VNBENCH, QUESTIONS, say(one_0=None, one_1=None, one_2=None, one_3=None)[:-1], SETTINGS)
    assert results["covers"] == {
        "questions": 12, "answered": 7, "failed": 4, "missing": 1, "scored": 7, "public": 12, "incomplete_items": 1
    }  # fmt: skip
    assert results["failed_videos"] == {"one.mp4": "it is cut short"}
    assert results["scores"]["all_tries"]["count"] == 1
    assert results["scores"]["all_tries"]["value"] == 1.0


def test_what_cannot_be_told_from_the_annotations_is_none() -> None:
    untagged = [question.model_copy(update={"tags": {}}) for question in QUESTIONS]
    results = results_of(MLVU, untagged, say(), SETTINGS)
    assert results["scores"]["mean_of_tasks"] is None
    assert results["scores"]["accuracy"]["value"] == 1.0
    assert results["by"] == {"task": {}, "duration": {}}


def test_answers_may_be_read_by_the_released_rule() -> None:
    said = [Given("one.0", "(A)"), Given("one.1", "B. cat"), Given("one.2", "c"), Given("one.3", "E")]
    assert [each.letter for each in read_answers(QUESTIONS, said, "released")] == [None, "B", "C", None]
    assert [each.letter for each in read_answers(QUESTIONS, said, "option")] == ["A", "B", "C", None]
    assert [each.right for each in outcomes_of(QUESTIONS, said, "option")] == [True, True, True, False]


def test_two_runs_are_compared_on_what_both_answered() -> None:
    first, second = (outcomes_of(QUESTIONS, said, "option") for said in (say(one_0="B", two_0="B"), say(two_1="A")))
    found = compared(VNBENCH, first, second)
    assert found["shared"] == 12
    assert found["scores"]["accuracy"]["difference"] == round(1 / 12, 6)
    assert found["scores"]["all_tries"]["difference"] == 0.25
    assert (found["scores"]["all_tries"]["only_first"], found["scores"]["all_tries"]["only_second"]) == (0, 1)
    assert found["by"]["type"]["ord"]["difference"] == 0
    with pytest.raises(InputError, match="share no question"):
        compared(VNBENCH, first[:4], second[4:])


GIVEN = {
    "no json": ("{", "line 1 of .* is no JSON"),
    "no prediction": ('{"id": "one.0"}', "line 1 of .* lacks id or prediction"),
    "a list": ("[1]", "lacks id or prediction"),
    "a number": ('{"id": "one.0", "prediction": 3}', "are texts, not 'one.0' and 3"),
    "an unknown question": ('{"id": "x", "prediction": "A"}', "answers 'x', which is no question"),
    "twice": ('{"id": "one.0", "prediction": "A"}\n\n' * 2, "line 3 of .* answers 'one.0' a second time"),
}


@pytest.mark.parametrize("case", GIVEN)
def test_files_of_other_things_are_refused_with_the_line(case: str, tmp_path: Path) -> None:
    text, problem = GIVEN[case]
    (tmp_path / "a.jsonl").write_text(text)
    with pytest.raises(InputError, match=problem):
        read_given(tmp_path / "a.jsonl", RIGHT.keys())


def test_given_answers_may_be_missing_or_carry_more(tmp_path: Path) -> None:
    lines = [{"id": "one.0", "prediction": "A", "seconds": 3}, {"id": "one.1", "prediction": None}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert read_given(tmp_path / "a.jsonl", RIGHT.keys()) == [
        Given("one.0", "A"), Given("one.1", None, "no answer was given")
    ]  # fmt: skip
    with pytest.raises(InputError, match="is not there"):
        read_given(tmp_path / "b.jsonl", RIGHT.keys())


def short_form(folder: Path) -> Path:
    record = {"video": "a.mp4", "question": "?", "candidates": ["A. x", "B. y", "C. z"], "answer": "A"}
    (folder / "short.json").write_text(json.dumps([{"id": number} | record for number in range(3)]))
    prepare(find_benchmark("tempcompass"), folder / "short.json", folder / "prepared", any_count=True)
    return folder / "prepared"


def test_answers_made_elsewhere_get_a_report(tmp_path: Path) -> None:
    prepared = short_form(tmp_path)
    (tmp_path / "answers.jsonl").write_text('{"id": 0, "prediction": "A."}\n{"id": "1", "prediction": "b"}\n')
    stored = read_answers_file(
        find_benchmark("tempcompass"), tmp_path / "answers.jsonl", name="them", extract="option", prepared=prepared
    )
    results = write_report(tmp_path, stored.run, stored.benchmark, stored.questions, stored.answers)
    assert results["scores"]["accuracy"]["value"] == 0.5
    report = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "# TempCompass MC: them" in report
    assert "Answers made elsewhere (answers.jsonl, sha256" in report
    assert "2 of 3 questions answered" in report


def test_run_of_other_questions_is_refused(tmp_path: Path) -> None:
    prepared = short_form(tmp_path)
    run: dict[str, Any] = {"benchmark": "tempcompass", "questions_sha256": "other"}
    with pytest.raises(InputError, match=r"it has no run\.json"):
        read_run(tmp_path, prepared)
    (tmp_path / "run.json").write_text(json.dumps(run))
    with pytest.raises(InputError, match="asked other questions"):
        read_run(tmp_path, prepared)
    run["questions_sha256"] = json.loads((prepared / "prepared.json").read_text())["questions_sha256"]
    (tmp_path / "run.json").write_text(json.dumps(run))
    with pytest.raises(InputError, match="is not finished"):
        read_run(tmp_path, prepared)


def egoschema(count: int, first: list[str]) -> list[Question]:
    names = first + [f"q{number}" for number in range(count - len(first))]
    options = tuple(f"C does thing {number}." for number in range(5))
    return [Question(id=name, video=f"{name}.mp4", question="?", options=options, answer=None) for name in names]


def test_submission_is_the_public_codes_where_that_reads_the_answer(golden: Path, tmp_path: Path) -> None:
    told = json.loads((golden / "eval/es_submission_inputs.json").read_text(encoding="utf-8"))
    said = {each["id"]: each["prediction"] for each in told["predictions"]}
    questions = egoschema(5031, list(said))
    answers = [Given(question.id, said.get(question.id, "E")) for question in questions]
    written = write_submission(EGOSCHEMA, questions, answers, "option", tmp_path)
    assert (written.num_rows, written.unparsed, written.file.name) == (5031, (), "submission.csv")
    with written.file.open(newline="") as stream:
        rows = dict(list(csv.reader(stream))[1:])
    with (golden / "eval/es_submission.csv").open(newline="") as stream:
        public = dict(list(csv.reader(stream))[1:])
    assert public.pop("03657401-d4a4-40a4-b03a-b2b9b3b0e6d3") == "33"  # a small b, which is no option's number
    assert rows["03657401-d4a4-40a4-b03a-b2b9b3b0e6d3"] == "1"
    assert public.items() <= rows.items()
    assert len(rows) == 5031
    assert b"\r" not in written.file.read_bytes()
    assert f'-f "{written.file}"' in written.command


def test_submission_names_what_it_made_of_answers_that_name_no_option(tmp_path: Path) -> None:
    questions = egoschema(5031, [])
    answers = [Given(question.id, "A or B" if number < 2 else "C") for number, question in enumerate(questions)]
    written = write_submission(EGOSCHEMA, questions, answers, "option", tmp_path)
    assert written.unparsed == ("q0", "q1")
    assert written.file.name == "submission_unparsed_as_0.csv"
    assert written.file.read_text().splitlines()[1:4] == ["q0,0", "q1,0", "q2,2"]
    assert "2 unparsed as 0" in written.command


def test_incomplete_submission_is_refused(tmp_path: Path) -> None:
    questions = egoschema(5031, [])
    answers = [Given(question.id, "A") for question in questions]
    with pytest.raises(InputError, match="1 of 5,031 questions have no answer"):
        write_submission(EGOSCHEMA, questions, answers[1:], "option", tmp_path)
    with pytest.raises(InputError, match="a submission has all 5,031"):
        write_submission(EGOSCHEMA, questions[1:], answers[1:], "option", tmp_path)
    with pytest.raises(InputError, match="has no server that scores it"):
        write_submission(VNBENCH, QUESTIONS, say(), "option", tmp_path)
    assert list(tmp_path.iterdir()) == []
