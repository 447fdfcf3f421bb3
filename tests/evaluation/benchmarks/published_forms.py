"""Annotations in the forms in which they are published, a few questions each, as files."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet


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


MAKERS = {
    "egoschema": egoschema,
    "longvideobench": longvideobench,
    "mlvu": mlvu,
    "nextqa-val": nextqa,
    "perceptiontest": perceptiontest,
    "tempcompass": tempcompass,
    "videomme": videomme,
    "vnbench": vnbench,
}
