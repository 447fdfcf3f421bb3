"""Annotations in the forms in which they are published, a few questions each, as files."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from bimba.evaluation.benchmarks import find_benchmark


def write(folder: Path, files: dict[str, Any]) -> Path:
    """Write files: texts as they are, other values as JSON."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            content if isinstance(content, str) else json.dumps(content, ensure_ascii=False), encoding="utf-8"
        )
    return folder


def egoschema(folder: Path) -> Path:
    questions = [
        {"q_uid": name, "google_drive_id": "x", "question": f"What does c do in {name}?"}
        | {f"option {number}": f"C does thing {number}." for number in range(5)}
        for name in ("aa", "bb", "cc")
    ]
    return write(folder, {"questions.json": questions, "subset_answers.json": {"bb": 3}})


def vnbench(folder: Path) -> Path:
    tries = [
        {"video": f"VNBench_new/{video}.mp4", "question": "What is it?", "options": ["dog", "cat", "cow", "hen"],
         "gt": "cat", "gt_option": "B", "type": "ret_insert1", "try": number, "length": 30}
        for video in ("one", "two") for number in range(4)
    ]  # fmt: skip
    return write(folder, {"VNBench-main-4try.json": tries})


def videomme(folder: Path) -> Path:
    rows = [
        {"video_id": "001", "duration": "short", "domain": "Knowledge", "sub_category": "Humanity & History",
         "url": "u", "videoID": "fFjv93ACGo8", "question_id": f"001-{number}", "task_type": "Counting Problem",
         "question": "How many?", "options": ["A. One.", "B. Two.", "C. Three.", "D. Four."], "answer": "C"}
        for number in (1, 2)
    ]  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.Table.from_pylist(rows), folder / "test-00000-of-00001.parquet")
    return folder


MLVU_TASKS = ("1_plotQA", "2_needle", "3_ego", "4_count", "5_order", "6_anomaly_reco", "7_topic_reasoning")


def mlvu(folder: Path) -> Path:
    return write(
        folder,
        {
            f"json/{task}.json": [
                {"video": f"{task}.mp4", "duration": 480.5, "question": "Which?", "candidates": ["a", "b", "c", "d"],
                 "answer": "c", "question_type": task.partition("_")[2]}
            ]
            for task in MLVU_TASKS
        },
    )  # fmt: skip


def longvideobench(folder: Path) -> Path:
    records = [
        {"video_id": "86C", "question": "When?", "question_wo_referring_query": "When?", "candidates": ["a", "b", "c"],
         "correct_choice": 1, "position": [1], "topic_category": "NP", "question_category": "TOS", "level": "L1",
         "id": "86C_0", "video_path": "86C.mp4", "subtitle_path": "86C_en.json", "duration_group": 600,
         "starting_timestamp_for_subtitles": 100, "duration": 190.2, "view_count": 1}
    ]  # fmt: skip
    return write(folder, {"lvb_val.json": records})


def nextqa(folder: Path) -> Path:
    header = "video,frame_count,width,height,question,answer,qid,type,a0,a1,a2,a3,a4"
    lines = ['4010069381,369,640,480,how do the two man play,2,6,CH,"roll, the handle",tap,strum,hit,pat']
    return write(
        folder,
        {"val.csv": "\n".join([header, *lines]) + "\n", "map_vid_vidorID.json": {"4010069381": "1106/4010069381"}},
    )


def perceptiontest(folder: Path) -> Path:
    record = {
        "metadata": {"split": "valid", "video_id": "video_7"},
        "mc_question": [
            {"id": 0, "question": "Is it on?", "options": ["yes", "no", "I don't know"], "answer_id": 1,
             "area": "physics", "reasoning": "descriptive", "tag": ["state"]}
        ],
    }  # fmt: skip
    return write(folder, {"all_valid.json": {"video_7": record}})


def tempcompass(folder: Path) -> Path:
    question = {"question": "What is he doing?\nA. dunking\nB. dribbling", "answer": "B. dribbling"}
    return write(folder, {"questions/multi-choice.json": {"1034": {"action": [question], "speed": [question]}}})


def lvbench(folder: Path) -> Path:
    questions = [
        {"uid": "7", "question": "What year is it?\n(A) 1636\n(B) 1366\n(C) 1363\n(D) 1633", "answer": "D",
         "question_type": ["key information retrieval"], "time_reference": "00:15-00:19"},
        {"uid": "8", "question": "Why?\n(A) a\n(B) b\n(C) c\n(D) d", "answer": "A",
         "question_type": ["reasoning", "event understanding"], "time_reference": "10:00-10:19"},
    ]  # fmt: skip
    video = {"key": "Cm73ma6Ibcs", "type": "cartoon", "video_info": {"duration_minutes": 70, "fps": 25}}
    return write(folder, {"data/video_info.meta.jsonl": json.dumps(video | {"qa": questions}) + "\n"})


def hourvideo(folder: Path) -> Path:
    pictures = {f"answer_{number}": f"navigation_images/ab-cd/2/{'ABCDE'[number - 1]}.png" for number in range(1, 6)}
    words = {f"answer_{number}": f"thing {number}" for number in range(1, 6)}
    questions = [
        {"qid": "q1", "task": "perception/tracking", "question": "Whom?", "correct_answer_label": "E", **words},
        {"qid": "q2", "task": "reasoning/predictive", "question": "What next?", "correct_answer_label": "A",
         "relevant_timestamps": "01:02:03-01:02:33", **words},
        {"qid": "q3", "task": "reasoning/spatial/layout", "question": "How?", "correct_answer_label": "C", **pictures},
    ]  # fmt: skip
    video = {"video_metadata": {"video_uid": "ab-cd", "duration_in_seconds": 4000}, "benchmark_dataset": questions}
    return write(folder, {"v1.0_release/json/dev_v1.0_annotations.json": {"ab-cd": video}})


MVBENCH_TASKS = tuple(name.removesuffix(".json") for name in find_benchmark("mvbench").files)


def mvbench(folder: Path) -> Path:
    record = {"video": "clip_10", "question": "Which?", "candidates": ["a", "b", "c"], "answer": "b",
              "start": 2.5, "end": 9.0}  # fmt: skip
    return write(folder, {f"json/{task}.json": [record] for task in MVBENCH_TASKS})


def houreval(folder: Path) -> Path:
    """All three parts; of MLVU, the video of one task is longer than half an hour, and that of another as long."""
    videomme(folder / "videomme")
    file = folder / "videomme/test-00000-of-00001.parquet"
    rows = parquet.read_table(file).to_pylist()
    parquet.write_table(pa.Table.from_pylist([rows[0], rows[1] | {"duration": "long"}]), file)
    mlvu(folder / "mlvu")
    for task, seconds in (("2_needle", 1800.5), ("3_ego", 1800)):
        path = folder / f"mlvu/json/{task}.json"
        [record] = json.loads(path.read_text())
        path.write_text(json.dumps([record | {"duration": seconds}]))
    longvideobench(folder / "lvb")
    path = folder / "lvb/lvb_val.json"
    [record] = json.loads(path.read_text())
    path.write_text(json.dumps([record, record | {"id": "86C_1", "video_path": "long.mp4", "duration": 3000}]))
    return folder


MAKERS = {
    "egoschema": egoschema,
    "houreval": houreval,
    "hourvideo": hourvideo,
    "longvideobench": longvideobench,
    "lvbench": lvbench,
    "mlvu": mlvu,
    "mvbench": mvbench,
    "nextqa-val": nextqa,
    "perceptiontest": perceptiontest,
    "tempcompass": tempcompass,
    "videomme": videomme,
    "vnbench": vnbench,
}
