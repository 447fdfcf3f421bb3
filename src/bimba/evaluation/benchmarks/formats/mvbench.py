"""MVBench's JSON files, one a task, in; questions out, some about a part of a video, or about a folder of pictures.

Which task's videos lie where, and which tasks are about parts, no annotation tells; the authors' notebook does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bimba.evaluation.benchmarks.benchmark import Benchmark
from bimba.evaluation.benchmarks.formats.rows import Row, json_rows, letter_of_text, questions_of
from bimba.evaluation.benchmarks.question import Question


@dataclass(frozen=True)
class _Task:
    """What the authors' notebook says of a task.

    Attributes:
        folder: of its videos.
        has_parts: a question is about the video from `start` to `end`; other tasks' fields of that name say nothing.
        images_per_second: of videos that are folders of pictures.
    """

    folder: str
    has_parts: bool = False
    images_per_second: float | None = None


_TASKS = {
    "action_antonym": _Task("ssv2_video"),
    "action_count": _Task("perception/videos"),
    "action_localization": _Task("sta/sta_video", has_parts=True),
    "action_prediction": _Task("star/Charades_v1_480", has_parts=True),
    "action_sequence": _Task("star/Charades_v1_480", has_parts=True),
    "character_order": _Task("perception/videos"),
    "counterfactual_inference": _Task("clevrer/video_validation"),
    "egocentric_navigation": _Task("vlnqa"),
    "episodic_reasoning": _Task("tvqa/frames_fps3_hq", has_parts=True, images_per_second=3),
    "fine_grained_action": _Task("Moments_in_Time_Raw/videos"),
    "fine_grained_pose": _Task("nturgbd"),
    "moving_attribute": _Task("clevrer/video_validation"),
    "moving_count": _Task("clevrer/video_validation"),
    "moving_direction": _Task("clevrer/video_validation"),
    "object_existence": _Task("clevrer/video_validation"),
    "object_interaction": _Task("star/Charades_v1_480", has_parts=True),
    "object_shuffle": _Task("perception/videos"),
    "scene_transition": _Task("scene_qa/video"),
    "state_change": _Task("perception/videos"),
    "unexpected_action": _Task("FunQA_test/test"),
}


def read(benchmark: Benchmark, files: Sequence[Path]) -> list[Question]:
    """Read the tasks, each named by its file."""
    del benchmark
    questions = []
    for file in files:
        for number, row in enumerate(json_rows(file)):
            questions += questions_of([row], partial(_fields, name=file.stem, number=number))
    return questions


def _fields(row: Row, name: str, number: int) -> dict[str, Any]:
    task, options = _TASKS[name], row.texts("candidates")
    return {
        "id": f"{name}.{number}",
        "video": f"{task.folder}/{row.text('video')}",
        "question": row.text("question"),
        "options": options,
        "answer": letter_of_text(row, "answer", options),
        "tags": {"task": name},
        "segment": _segment(row) if task.has_parts else None,
        "images_per_second": task.images_per_second,
    }


def _segment(row: Row) -> dict[str, float]:
    """The part of the video; where the annotation says that it begins earlier, the notebook begins with the video."""
    return {"start": max(0.0, row.seconds("start")), "end": row.seconds("end")}
