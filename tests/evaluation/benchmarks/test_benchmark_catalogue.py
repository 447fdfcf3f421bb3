"""Every benchmark's file holds; the annotations of each are prepared with the published counts."""

import json
from pathlib import Path

import pytest

import published_forms as published
from bimba.errors import InputError
from bimba.evaluation.benchmarks import benchmark_names, find_benchmark, prepare, prepared_questions
from bimba.evaluation.benchmarks.formats import READERS
from bimba.evaluation.benchmarks.prepare import default_place
from bimba.evaluation.extraction import LETTERS
from bimba.evaluation.metrics import METRICS

SHARED = Path(__file__).resolve().parents[4] / "shared" / "eval"

SHORT_FORMS = {
    "egoschema-subset": "EgoSchema",
    "longvideobench": "LongVideoBench",
    "mlvu": "MLVU",
    "nextqa": "NextQA",
    "nextqa-val": "NextQA",
    "tempcompass": "TempCompass",
    "videomme": "VideoMME/formatted_dataset.json",
    "vnbench": "VNBench",
}
PUBLISHED = {"videomme": "VideoMME", "videomme-subtitles": "VideoMME"}


def test_there_are_twelve_benchmarks_and_their_variants() -> None:
    assert benchmark_names() == (
        "egoschema",
        "egoschema-subset",
        "houreval",
        "hourvideo",
        "hourvideo-text",
        "longvideobench",
        "longvideobench-subtitles",
        "lvbench",
        "mlvu",
        "mvbench",
        "nextqa",
        "nextqa-val",
        "perceptiontest",
        "tempcompass",
        "videomme",
        "videomme-subtitles",
        "vnbench",
    )


@pytest.mark.parametrize("name", benchmark_names())
def test_what_a_file_names_exists(name: str) -> None:
    benchmark = find_benchmark(name)
    assert benchmark.format in READERS
    metric = METRICS[benchmark.metric]
    assert metric.over is None or metric.over in benchmark.breakdowns
    assert max(benchmark.num_options) <= len(LETTERS)
    assert {each.metric for each in benchmark.reported} <= METRICS.keys() | {"kaggle"}
    assert {"question", "options"} <= {
        name for name in ("question", "options", "letters") if f"{{{name}}}" in benchmark.prompt.official
    }
    assert (benchmark.num_answers or 0) <= (benchmark.num_questions or 0)
    assert {part.benchmark for part in benchmark.parts} <= set(benchmark_names())
    assert benchmark.num_per_group is None or metric.over is not None


def test_unknown_benchmark_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match="there is no benchmark 'video-mme'") as error:
        find_benchmark("video-mme")
    assert "'videomme'" in error.value.fix


@pytest.mark.parametrize(("name", "form"), [*SHORT_FORMS.items(), *PUBLISHED.items()])
def test_real_annotations_have_the_published_counts(name: str, form: str, tmp_path: Path) -> None:
    if not SHARED.is_dir():
        pytest.skip("the shared annotations are not beside the repository")
    benchmark = find_benchmark(name)
    prepared = prepare(benchmark, SHARED / form, tmp_path)
    assert (prepared.num_questions, prepared.num_answers, prepared.num_videos) == (
        benchmark.num_questions,
        benchmark.num_answers,
        benchmark.num_videos,
    )
    assert prepared.deviations == ()
    again, questions = prepared_questions(benchmark, tmp_path)
    assert again == prepared
    assert len(questions) == benchmark.num_questions


def test_real_lengths_give_the_parts_of_houreval() -> None:
    if not SHARED.is_dir():
        pytest.skip("the shared annotations are not beside the repository")
    parts = {part.benchmark: part.num_questions for part in find_benchmark("houreval").parts}
    mlvu = json.loads((SHARED / "MLVU/formatted_dataset.json").read_text(encoding="utf-8"))
    longer = [record for record in mlvu if record["duration"] > 1800]
    assert len(longer) == parts["mlvu"]
    # The four whose lists the Vamba authors' script reads.
    assert {record["question_type"] for record in longer} == {"findNeedle", "count", "order", "anomaly_reco"}
    videomme = find_benchmark("videomme")
    questions = READERS["videomme"](videomme, [SHARED / "VideoMME/test-00000-of-00001.parquet"])
    assert sum(question.tags["duration"] == "long" for question in questions) == parts["videomme"]


def test_a_variant_has_not_the_size_of_the_whole() -> None:
    whole, text = find_benchmark("hourvideo"), find_benchmark("hourvideo-text")
    assert (whole.num_questions, whole.num_videos) == (1182, 50)
    assert (text.num_questions, text.num_answers, text.num_videos) == (None, None, None)


def test_real_oddities_are_told(tmp_path: Path) -> None:
    if not SHARED.is_dir():
        pytest.skip("the shared annotations are not beside the repository")
    assert prepare(find_benchmark("mlvu"), SHARED / "MLVU", tmp_path).oddities == (
        "1 question without a text",
        "4 questions with an empty option",
        "16 questions with two equal options",
    )


def test_annotations_of_another_size_are_refused_unless_asked_for(tmp_path: Path) -> None:
    source = published.vnbench(tmp_path / "from")
    vnbench = find_benchmark("vnbench")
    with pytest.raises(InputError, match=r"8 questions, not 5,400; 8 public answers, not 5,400; 2 videos, not 1,350"):
        prepare(vnbench, source, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    prepared = prepare(vnbench, source, tmp_path / "out", any_count=True)
    assert prepared.deviations[0] == "8 questions, not 5,400"
    assert prepared.form == "as published"


def test_missing_tries_and_other_numbers_of_options_are_told(tmp_path: Path) -> None:
    source = published.vnbench(tmp_path / "from")
    file = source / "VNBench-main-4try.json"
    tries = json.loads(file.read_text())
    tries[0]["options"] = ["dog", "cat"]
    file.write_text(json.dumps(tries[:-1]))
    with pytest.raises(InputError, match="1 questions with 2 options, not 4; not every question is asked four times"):
        prepare(find_benchmark("vnbench"), source, tmp_path / "out")


def test_one_try_of_each_question_is_refused_with_the_file_to_get(tmp_path: Path) -> None:
    source = published.vnbench(tmp_path / "from")
    file = source / "VNBench-main-4try.json"
    file.write_text(json.dumps([each for each in json.loads(file.read_text()) if each["try"] == 0]))
    with pytest.raises(InputError, match="there is one try of each question, while the score needs four") as error:
        prepare(find_benchmark("vnbench"), source, tmp_path / "out")
    assert "the file with all four tries of each (*4try*.json) from https://github.com/joez17" in error.value.fix


def test_real_file_of_single_tries_is_refused_for_that(tmp_path: Path) -> None:
    file = SHARED / "VNBench/formatted_dataset.json"
    if not file.is_file():
        pytest.skip("the shared annotations are not beside the repository")
    with pytest.raises(InputError, match=r"1,350 questions, not 5,400; .*there is one try of each question") as error:
        prepare(find_benchmark("vnbench"), file, tmp_path / "out")
    assert "*4try*.json" in error.value.fix
    assert not (tmp_path / "out").exists()
    whole = SHARED / "VNBench/formatted_dataset_4try.json"
    assert prepare(find_benchmark("vnbench"), whole, tmp_path / "out").deviations == ()


NAMED = {
    "videomme": "test-00000-of-00001.parquet",
    "nextqa-val": "val.csv",
    "egoschema": "questions.json",
    "longvideobench": "lvb_val.json",
}


@pytest.mark.parametrize("name", NAMED)
def test_one_file_of_the_annotations_names_its_folder(name: str, tmp_path: Path) -> None:
    source = published.MAKERS[name](tmp_path / "from")
    by_file = prepare(find_benchmark(name), source / NAMED[name], tmp_path / "a", any_count=True)
    assert by_file == prepare(find_benchmark(name), source, tmp_path / "b", any_count=True)
    assert NAMED[name] in by_file.files


@pytest.mark.parametrize("other", ["README.md", "other.csv", "other.json"])
def test_a_file_that_is_none_of_the_annotations_is_refused(other: str, tmp_path: Path) -> None:
    source = published.write(published.nextqa(tmp_path / "from"), {other: "{}"})
    with pytest.raises(InputError, match=f"{other} is none of the annotations of NExT-QA MC val") as error:
        prepare(find_benchmark("nextqa-val"), source / other, tmp_path / "out", any_count=True)
    assert "val.csv, map_vid_vidorID.json" in error.value.fix
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    source = published.vnbench(tmp_path / "from")
    (tmp_path / "out").touch()
    for out in (tmp_path / "out", tmp_path / "out" / "below"):
        with pytest.raises(InputError, match="cannot be made a folder") as error:
            prepare(find_benchmark("vnbench"), source, out, any_count=True)
        assert "--out DIR" in error.value.fix


def test_folder_without_annotations_says_what_belongs_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"neither questions.json, subset_answers.json nor a JSON file"):
        prepare(find_benchmark("egoschema"), tmp_path, tmp_path / "out")
    with pytest.raises(InputError, match="is not there"):
        prepare(find_benchmark("egoschema"), tmp_path / "nowhere", tmp_path / "out")


def test_several_files_of_the_same_form_are_not_guessed_between(tmp_path: Path) -> None:
    record = {"id": 0, "video": "a.mp4", "question": "?", "candidates": ["A. x", "B. y"], "answer": "A"}
    source = published.write(tmp_path / "from", {"one.json": [record], "two.json": [record]})
    with pytest.raises(InputError, match=r"one.json \(1 questions\), two.json \(1 questions\)"):
        prepare(find_benchmark("nextqa"), source, tmp_path / "out", any_count=True)
    source = published.mlvu(tmp_path / "twice")
    published.mlvu(source / "copy")
    with pytest.raises(InputError, match="holds 14 files of MLVU dev, which has 7"):
        prepare(find_benchmark("mlvu"), source, tmp_path / "out", any_count=True)


def test_prepared_folder_is_checked_when_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIMBA_BENCHMARKS", str(tmp_path / "benchmarks"))
    vnbench = find_benchmark("vnbench")
    place = default_place(vnbench)
    assert place == tmp_path / "benchmarks" / "vnbench"
    with pytest.raises(InputError, match="VNBench is not prepared") as error:
        prepared_questions(vnbench)
    assert "bimba eval prepare vnbench --from DIR" in error.value.fix
    prepare(vnbench, published.vnbench(tmp_path / "from"), place, any_count=True)
    assert len(prepared_questions(vnbench)[1]) == 8
    with pytest.raises(InputError, match="holds vnbench version 1, not mlvu version 1"):
        prepared_questions(find_benchmark("mlvu"), place)
    file = place / "questions.jsonl"
    whole = file.read_text(encoding="utf-8")
    file.write_text(whole.replace("What is it?", "What is that?", 1), encoding="utf-8")
    with pytest.raises(InputError, match="was changed since it was made"):
        prepared_questions(vnbench)
    file.write_text(whole[:-30], encoding="utf-8")
    with pytest.raises(InputError, match=r"line 8 of .* is no question"):
        prepared_questions(vnbench)
    (place / "prepared.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match="none of ours, or damaged"):
        prepared_questions(vnbench)
