"""Annotations as they are published in, questions out."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

import published_forms as published
from bimba.errors import InputError
from bimba.evaluation.benchmarks import Question, find_benchmark, prepare, prepared_questions


def questions(name: str, source: Path, out: Path) -> list[Question]:
    prepare(find_benchmark(name), source, out, any_count=True)
    return prepared_questions(find_benchmark(name), out)[1]


EXPECTED: dict[str, dict[str, Any]] = {
    "egoschema": {
        "id": "bb", "video": "bb.mp4", "question": "What does c do in bb?", "answer": "D",
        "options": [f"C does thing {number}." for number in range(5)],
    },
    "houreval": {
        "id": "mlvu.2_needle.0", "video": "mlvu/2_needle/2_needle.mp4", "question": "Which?", "answer": "C",
        "options": ["a", "b", "c", "d"], "tags": {"source": "mlvu"},
    },
    "hourvideo": {
        "id": "ab-cd.q2", "video": "ab-cd.mp4", "question": "What next?", "answer": "A",
        "options": [f"thing {number}" for number in range(1, 6)], "segment": {"start": 0, "end": 3723},
        "tags": {"suite": "reasoning", "task": "reasoning/predictive", "options": "text"},
    },
    "longvideobench": {
        "id": "86C_0", "video": "86C.mp4", "question": "When?", "options": ["a", "b", "c"], "answer": "B",
        "tags": {"duration": "600 s", "category": "TOS"},
    },
    "lvbench": {
        "id": "8", "video": "Cm73ma6Ibcs.mp4", "question": "Why?", "options": ["a", "b", "c", "d"], "answer": "A",
        "tags": {"type": ("reasoning", "event understanding"), "category": "cartoon"},
    },
    "mvbench": {
        "id": "episodic_reasoning.0", "video": "tvqa/frames_fps3_hq/clip_10", "question": "Which?", "answer": "B",
        "options": ["a", "b", "c"], "tags": {"task": "episodic_reasoning"}, "segment": {"start": 2.5, "end": 9},
        "images_per_second": 3,
    },
    "mlvu": {
        "id": "4_count.0", "video": "4_count/4_count.mp4", "question": "Which?", "options": ["a", "b", "c", "d"],
        "answer": "C", "tags": {"task": "count", "duration": "3 to 15 min"},
    },
    "nextqa-val": {
        "id": "4010069381.6", "video": "1106/4010069381.mp4", "question": "how do the two man play", "answer": "C",
        "options": ["roll, the handle", "tap", "strum", "hit", "pat"], "tags": {"group": "C", "type": "CH"},
    },
    "perceptiontest": {
        "id": "video_7.0", "video": "video_7.mp4", "question": "Is it on?", "answer": "B",
        "options": ["yes", "no", "I don't know"], "tags": {"area": "physics", "reasoning": "descriptive"},
    },
    "tempcompass": {
        "id": "1034.speed.0", "video": "1034.mp4", "question": "What is he doing?", "answer": "B",
        "options": ["dunking", "dribbling"], "tags": {"type": "speed"},
    },
    "videomme": {
        "id": "001-2", "video": "fFjv93ACGo8.mp4", "question": "How many?", "answer": "C",
        "options": ["One.", "Two.", "Three.", "Four."],
        "tags": {"duration": "short", "domain": "Knowledge", "sub_category": "Humanity & History",
                 "task": "Counting Problem"},
    },
    "vnbench": {
        "id": "two.mp4.3", "video": "two.mp4", "question": "What is it?", "options": ["dog", "cat", "cow", "hen"],
        "answer": "B", "item": "two.mp4 What is it?", "tags": {"type": "ret_insert1"},
    },
}  # fmt: skip


@pytest.mark.parametrize("name", EXPECTED)
def test_published_form_is_read(name: str, tmp_path: Path) -> None:
    found = questions(name, published.MAKERS[name](tmp_path / "from"), tmp_path / "out")
    assert Question(**EXPECTED[name]) in found


def test_questions_without_a_public_answer_have_none_and_the_subset_leaves_them_out(tmp_path: Path) -> None:
    source = published.egoschema(tmp_path / "from")
    assert [each.answer for each in questions("egoschema", source, tmp_path / "all")] == [None, "D", None]
    assert [each.id for each in questions("egoschema-subset", source, tmp_path / "some")] == ["bb"]


def test_variants_with_subtitles_name_their_files(tmp_path: Path) -> None:
    [one] = questions("longvideobench-subtitles", published.longvideobench(tmp_path / "l"), tmp_path / "out")
    assert (one.subtitles, one.subtitles_start_seconds) == ("86C_en.json", 100.0)
    found = questions("videomme-subtitles", published.videomme(tmp_path / "v"), tmp_path / "out2")
    assert {each.subtitles for each in found} == {"fFjv93ACGo8.srt"}
    assert {each.subtitles for each in questions("videomme", tmp_path / "v", tmp_path / "out3")} == {None}


@pytest.mark.parametrize(("name", "file"), [("longvideobench", "lvb_val.json"), ("videomme", r"test-\*.parquet")])
def test_short_form_names_no_subtitles_and_is_refused_where_they_are_told(name: str, file: str, tmp_path: Path) -> None:
    source = published.write(tmp_path / "from", {"short.json": [SHORT]})
    for given in (source, source / "short.json"):
        with pytest.raises(InputError, match=r"short\.json is in the short form, which names no subtitles") as error:
            prepare(find_benchmark(f"{name}-subtitles"), given, tmp_path / "out", any_count=True)
        assert re.search(f"as published \\({file}\\) from https://huggingface.co", error.value.fix)
    assert not (tmp_path / "out").exists()
    assert len(questions(name, source, tmp_path / "without")) == 1


def test_houreval_is_of_videos_of_more_than_half_an_hour(tmp_path: Path) -> None:
    found = questions("houreval", published.houreval(tmp_path / "from"), tmp_path / "out")
    assert [each.id for each in found] == ["videomme.001-2", "mlvu.2_needle.0", "longvideobench.86C_1"]
    assert [each.video for each in found] == [
        "videomme/fFjv93ACGo8.mp4", "mlvu/2_needle/2_needle.mp4", "longvideobench/long.mp4"
    ]  # fmt: skip


def test_parts_and_sizes_of_houreval_are_checked(tmp_path: Path) -> None:
    source = published.houreval(tmp_path / "from")
    with pytest.raises(InputError) as error:
        prepare(find_benchmark("houreval"), source, tmp_path / "out")
    for words in (
        "Video-MME: 2 questions, not 2,700",
        "1 questions chosen from Video-MME, not 900",
        "MLVU dev: 7 questions, not 2,175",
        "1 questions chosen from MLVU dev, not 48",
        "LongVideoBench val: 2 questions, not 1,337",
    ):
        assert words in error.value.problem
    (source / "lvb/lvb_val.json").unlink()
    with pytest.raises(InputError, match=r"does not hold all annotations of HourEval: lvb_val\.json is missing"):
        prepare(find_benchmark("houreval"), source, tmp_path / "out", any_count=True)


def test_options_that_are_pictures_are_told_apart_and_left_out_of_a_variant(tmp_path: Path) -> None:
    source = published.hourvideo(tmp_path / "from")
    found = questions("hourvideo", source, tmp_path / "all")
    assert [each.tags["options"] for each in found] == ["text", "text", "pictures"]
    assert found[2].options[0] == "navigation_images/ab-cd/2/A.png"
    assert [each.segment is None for each in found] == [True, False, True]
    assert prepare(find_benchmark("hourvideo-text"), source, tmp_path / "text").deviations == ()
    text = prepared_questions(find_benchmark("hourvideo-text"), tmp_path / "text")[1]
    assert [each.id for each in text] == ["ab-cd.q1", "ab-cd.q2"]


def test_only_five_tasks_of_mvbench_are_about_parts_and_one_about_pictures(tmp_path: Path) -> None:
    found = questions("mvbench", published.mvbench(tmp_path / "from"), tmp_path / "out")
    assert [each.tags["task"] for each in found if each.segment is not None] == [
        "action_localization", "action_prediction", "action_sequence", "episodic_reasoning", "object_interaction"
    ]  # fmt: skip
    assert [each.tags["task"] for each in found if each.images_per_second] == ["episodic_reasoning"]
    assert len(found) == 20
    assert len({each.video.rpartition("/")[0] for each in found}) == 11


def test_tasks_of_mvbench_of_another_size_are_named(tmp_path: Path) -> None:
    source = published.mvbench(tmp_path / "from")
    with pytest.raises(InputError, match=r"20 questions, not 4,000; .*; 1 questions of action_antonym, not 200"):
        prepare(find_benchmark("mvbench"), source, tmp_path / "out")
    for task in ("vlnqa", "action_count", "state_change"):
        (source / f"json/{task}.json").unlink(missing_ok=True)
    with pytest.raises(InputError, match=r"action_count\.json, state_change\.json are missing"):
        prepare(find_benchmark("mvbench"), source, tmp_path / "out", any_count=True)


@pytest.mark.parametrize("name", ["houreval", "hourvideo", "mvbench"])
def test_short_form_is_refused_where_it_lacks_what_is_needed(name: str, tmp_path: Path) -> None:
    source = published.write(tmp_path / "from", {"short.json": [SHORT]})
    benchmark = find_benchmark(name)
    for given in (source, source / "short.json"):
        with pytest.raises(InputError, match=f"short form, which lacks {benchmark.short_form_lacks}, which"):
            prepare(benchmark, given, tmp_path / "out", any_count=True)


def test_lines_tell_of_parts_only_where_there_are_some(tmp_path: Path) -> None:
    questions("mvbench", published.mvbench(tmp_path / "from"), tmp_path / "out")
    lines = [json.loads(line) for line in (tmp_path / "out/questions.jsonl").read_text().splitlines()]
    by_task = {line["tags"]["task"]: line for line in lines}
    assert not {"segment", "images_per_second"} & by_task["action_count"].keys()
    assert by_task["action_sequence"]["segment"] == {"start": 2.5, "end": 9.0}
    assert by_task["episodic_reasoning"]["images_per_second"] == 3.0


def test_parts_that_end_before_they_begin_are_told(tmp_path: Path) -> None:
    source = published.mvbench(tmp_path / "from")
    for task, start, end in (("action_sequence", 9, 9), ("action_prediction", -1, 4)):
        file = source / f"json/{task}.json"
        [record] = json.loads(file.read_text())
        file.write_text(json.dumps([record | {"start": start, "end": end}]))
    prepared = prepare(find_benchmark("mvbench"), source, tmp_path / "out", any_count=True)
    assert prepared.oddities == ("1 question about a part that ends before it begins",)
    [early] = [
        each
        for each in prepared_questions(find_benchmark("mvbench"), tmp_path / "out")[1]
        if each.tags["task"] == "action_prediction"
    ]
    assert early.segment is not None
    assert (early.segment.start, early.segment.end) == (0, 4)  # as the authors' notebook reads it


SHORT = {"id": 0, "video": "ä ö.mp4", "question": "Was?", "candidates": ["A. x", "B. y", "C. z"], "answer": "B"}


def test_short_form_is_read_whatever_the_file_is_called(tmp_path: Path) -> None:
    source = published.write(tmp_path / "from", {"some.json": [SHORT | {"question_type": "speed"}]})
    [one] = questions("tempcompass", source, tmp_path / "out")
    assert one == Question(
        id="0", video="ä ö.mp4", question="Was?", options=("x", "y", "z"), answer="B", tags={"type": "speed"}
    )
    assert questions("tempcompass", source / "some.json", tmp_path / "out2") == [one]


def broken(**changes: Any) -> list[dict[str, Any]]:
    return [SHORT | changes]


BROKEN = {
    "no candidates": ([SHORT, {"id": 1}], "record 1 has no 'video'"),
    "another letter": (broken(candidates=["A. x", "C. y"]), "begin with their letters, B."),
    "one option": (broken(candidates=["A. x"]), "1 options, not 2 to 10"),
    "eleven options": (broken(candidates=[f"{letter}. x" for letter in "ABCDEFGHIJK"]), "10 options at most"),
    "an answer outside": (broken(answer="D"), "the answer 'D' is none of A to C"),
    "an answer in words": (broken(answer="y"), "the answer 'y'"),
    "no question": (broken(question=None), "question is None, not text"),
    "options that are no list": (broken(candidates="A. x"), "not a list of texts"),
    "the same id twice": ([SHORT, SHORT], "several questions '0'"),
    "a video elsewhere": (broken(video="../x.mp4"), "lies outside of its folder"),
    "an absolute video": (broken(video="/x.mp4"), "lies outside of its folder"),
    "a record that is none": ([SHORT, 3], "record 1 is 3, no record with names"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_damaged_annotations_are_refused_with_their_place(case: str, tmp_path: Path) -> None:
    content, problem = BROKEN[case]
    source = published.write(tmp_path / "from", {"short.json": content})
    with pytest.raises(InputError, match=problem):
        prepare(find_benchmark("tempcompass"), source, tmp_path / "out", any_count=True)
    assert not (tmp_path / "out").exists()


PUBLISHED_BROKEN = {
    "vnbench": ("VNBench-main-4try.json", '"gt_option": "B"', '"gt_option": "E"', "'E' is none of A to D"),
    "mlvu": ("json/4_count.json", '"answer": "c"', '"answer": "e"', "answer is 'e', not one of"),
    "longvideobench": ("lvb_val.json", '"correct_choice": 1', '"correct_choice": 3', "correct_choice is 3, not one of"),
    "nextqa-val": ("val.csv", ",2,6,CH", ",seven,6,CH", "answer is 'seven', not a whole number"),
    "perceptiontest": ("all_valid.json", '"answer_id": 1', '"answer_id": -1', "answer_id is -1, not one of"),
    "tempcompass": ("questions/multi-choice.json", '"B. dribbling"', '"B. dancing"', "answer is 'B. dancing'"),
    "egoschema": ("subset_answers.json", "3", "5", "bb is 5, not one of 0 to 4"),
    "lvbench": (
        "data/video_info.meta.jsonl",
        '"answer": "D"',
        '"answer": "E"',
        "'7': the answer 'E' is none of A to D",
    ),
    "mvbench": ("json/state_change.json", '"answer": "b"', '"answer": "d"', "answer is 'd', not one of"),
    "hourvideo": ("v1.0_release/json/dev_v1.0_annotations.json", '"E"', '"F"', "'F' is none of A to E"),
}


@pytest.mark.parametrize("name", PUBLISHED_BROKEN)
def test_answer_that_is_no_option_is_refused(name: str, tmp_path: Path) -> None:
    file, was, becomes, problem = PUBLISHED_BROKEN[name]
    source = published.MAKERS[name](tmp_path / "from")
    text = (source / file).read_text(encoding="utf-8")
    assert was in text
    (source / file).write_text(text.replace(was, becomes), encoding="utf-8")
    with pytest.raises(InputError, match=problem):
        prepare(find_benchmark(name), source, tmp_path / "out", any_count=True)


ODD = {
    "options that are no lines": ("lvbench", r"1636\n(B)", "1636 (B)", "qa 0: question is .*each on a line"),
    "options in another order": ("lvbench", "(B) 1366", "(C) 1366", "question is"),
    "no options": ("lvbench", "(A) 1636", "1636", "question is"),
    "another type": ("lvbench", "event understanding", "magic", "question_type is .*, not some of entity recognition"),
    "a line that is none": ("lvbench", '{"key"', '["key"', "meta.jsonl, line 1 is no JSON"),
    "no time": ("hourvideo", "01:02:03-", "soon-", "relevant_timestamps is 'soon-01:02:33', not times as"),
    "an option too few": ("hourvideo", '"answer_5": "thing 5"', '"x": "thing 5"', "has no 'answer_5'"),
    "a part without an end": ("mvbench", '"end": 9.0', '"end": "late"', "record 0: end is 'late', not a number"),
    "a part that never ends": ("mvbench", '"end": 9.0', '"end": NaN', "record 0: end is nan, not a number"),
    "a part before the video": ("mvbench", '"end": 9.0', '"end": -9', "record 0: segment: Input should be"),
    "a length that is none": (
        "houreval",
        '"duration": 480.5',
        '"duration": "long"',
        "duration is 'long', not a number",
    ),
}


@pytest.mark.parametrize("case", ODD)
def test_records_of_another_form_are_refused_with_their_place(case: str, tmp_path: Path) -> None:
    name, was, becomes, problem = ODD[case]
    source = published.MAKERS[name](tmp_path / "from")
    for file in source.rglob("*.json*"):
        file.write_text(file.read_text(encoding="utf-8").replace(was, becomes), encoding="utf-8")
    with pytest.raises(InputError, match=problem):
        prepare(find_benchmark(name), source, tmp_path / "out", any_count=True)
    assert not (tmp_path / "out").exists()


def test_torn_files_are_refused(tmp_path: Path) -> None:
    source = published.videomme(tmp_path / "v")
    file = source / "test-00000-of-00001.parquet"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(InputError, match="cannot be read"):
        prepare(find_benchmark("videomme"), source, tmp_path / "out", any_count=True)
    source = published.longvideobench(tmp_path / "l")
    (source / "lvb_val.json").write_text('[{"id": ', encoding="utf-8")
    with pytest.raises(InputError, match="is no JSON"):
        prepare(find_benchmark("longvideobench"), source, tmp_path / "out", any_count=True)
    source = published.nextqa(tmp_path / "n")
    with (source / "val.csv").open("a", encoding="utf-8") as stream:
        stream.write("4010069381,369\n")
    with pytest.raises(InputError, match="line 3 has another number of columns"):
        prepare(find_benchmark("nextqa-val"), source, tmp_path / "out", any_count=True)


LINE = b"4010069381,369,640,480,how do the two man play,2,7,CH,roll,tap,strum,hit,pat\n"
NO_CSV = {
    "another encoding": (LINE + "größe\n".encode("latin-1"), "line 4 is no text in UTF-8: byte 0xf6"),
    "a field without end": (LINE.replace(b"roll", b"r" * 131_073), "line 3 is no CSV: field larger than field limit"),
    "a number squared": (LINE.replace(b",2,7", ",²,7".encode()), "line 3: answer is '²', not a whole number"),
    "two signs": (LINE.replace(b",2,7", b",--2,7"), "line 3: answer is '--2', not a whole number"),
    "an Arabic digit": (LINE.replace(b",2,7", ",٢,7".encode()), "line 3: answer is '٢', not a whole number"),
    "thousands of digits": (LINE.replace(b",2,7", b",%s,7" % (b"2" * 5000)), "line 3: answer is '22.*whole number"),
    "lines below one of two": (
        LINE.replace(b"roll", b'"ro\nll"') + LINE.replace(b"2,7", b"x,8"),
        "line 5: answer is 'x'",
    ),
}


@pytest.mark.parametrize("case", NO_CSV)
def test_what_is_no_csv_of_numbers_is_refused_with_file_and_line(case: str, tmp_path: Path) -> None:
    added, problem = NO_CSV[case]
    source = published.nextqa(tmp_path / "from")
    with (source / "val.csv").open("ab") as stream:
        stream.write(added)
    with pytest.raises(InputError, match=f"val.csv, {problem}"):
        prepare(find_benchmark("nextqa-val"), source, tmp_path / "out", any_count=True)


NO_JSON = {
    "another encoding": ('[\n{"id": "größe"}]'.encode("latin-1"), r"\.json, line 2 is no text in UTF-8: byte 0xf6"),
    "thousands of digits": (b"[" + b"1" * 5000 + b"]", "lvb_val.json is no JSON: Exceeds the limit"),
    "thousands of lists": (b"[" * 200_000, "lvb_val.json is no JSON: "),
}  # fmt: skip


@pytest.mark.parametrize("case", NO_JSON)
def test_what_is_no_json_is_refused_with_its_file(case: str, tmp_path: Path) -> None:
    content, problem = NO_JSON[case]
    (tmp_path / "lvb_val.json").write_bytes(content)
    with pytest.raises(InputError, match=problem):
        prepare(find_benchmark("longvideobench"), tmp_path, tmp_path / "out", any_count=True)


def test_written_questions_are_one_json_object_a_line(tmp_path: Path) -> None:
    questions("vnbench", published.vnbench(tmp_path / "from"), tmp_path / "out")
    lines = (tmp_path / "out/questions.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["id"] for line in lines][:2] == ["one.mp4.0", "one.mp4.1"]
    assert len(lines) == 8
