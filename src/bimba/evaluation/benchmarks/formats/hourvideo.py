"""HourVideo's dev_v1.0_annotations.json (by video) in, questions out; options of three tasks are pictures."""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bimba.errors import InputError
from bimba.evaluation.benchmarks.benchmark import Benchmark
from bimba.evaluation.benchmarks.formats.rows import FIX, Row, questions_of, read_json
from bimba.evaluation.benchmarks.question import Question

_NUM_OPTIONS = 5
_WITH_PICTURES = ("navigation/object_retrieval_image", "navigation/room_to_room_image", "reasoning/spatial/layout")
"""Tasks whose options name files of pictures, as the authors' code lists them."""
_PREDICTIVE = "reasoning/predictive"
"""Questions about what comes next; the authors' code shows the video up to there."""
_CLOCK = re.compile(r"\s*(\d+):(\d{1,2}):(\d{1,2})\s*(?:-.*)?", re.DOTALL)


def read(benchmark: Benchmark, files: Sequence[Path]) -> list[Question]:
    """Read all questions but those that the benchmark leaves out.

    Raises:
        InputError: the file has another form.
    """
    [file] = files
    content = read_json(file)
    if not isinstance(content, Mapping):
        raise InputError(f"{file} is no mapping of videos to their questions.", fix=FIX)
    questions: list[Question] = []
    for video, values in content.items():
        rows = Row(values, f"{file.name}, video {video!r}").rows("benchmark_dataset")
        questions += questions_of(rows, partial(_fields, video=video))
    left_out = benchmark.without.items()
    return [question for question in questions if not any(question.tags.get(tag) == value for tag, value in left_out)]


def _fields(row: Row, video: str) -> dict[str, Any]:
    task = row.text("task")
    return {
        "id": f"{video}.{row.text('qid')}",
        "video": f"{video}.mp4",
        "question": row.text("question"),
        "options": [row.text(f"answer_{number}") for number in range(1, _NUM_OPTIONS + 1)],
        "answer": row.text("correct_answer_label").strip(),
        "tags": {
            "suite": task.partition("/")[0],
            "task": task,
            "options": "pictures" if task in _WITH_PICTURES else "text",
        },
        "segment": {"start": 0, "end": _beginning(row, "relevant_timestamps")} if task == _PREDICTIVE else None,
    }


def _beginning(row: Row, name: str) -> int:
    """Seconds of the first time in a field: 3723 of "01:02:03-01:02:33".

    Raises:
        InputError: it begins with no time.
    """
    found = _CLOCK.fullmatch(row.text(name))
    if found is None:
        row.refuse(name, "times as 01:02:03-01:02:33")
    hours, minutes, seconds = map(int, found.groups())
    return hours * 3600 + minutes * 60 + seconds
