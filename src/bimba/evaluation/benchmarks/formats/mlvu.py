"""MLVU's JSON files, one a task, in; questions out."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bimba.evaluation.benchmarks.benchmark import Benchmark
from bimba.evaluation.benchmarks.formats.rows import Row, json_rows, letter_of_text, questions_of
from bimba.evaluation.benchmarks.question import Question

_MINUTE = 60.0
_LENGTHS = ((3 * _MINUTE, "up to 3 min"), (15 * _MINUTE, "3 to 15 min"), (60 * _MINUTE, "15 to 60 min"))
"""As its authors group videos in the paper's statistics: short, medium and long ones."""


def read(benchmark: Benchmark, files: Sequence[Path]) -> list[Question]:
    """Read the tasks with options; the others are no part of the score."""
    del benchmark
    questions = []
    for file in files:
        folder = file.stem
        for number, row in enumerate(json_rows(file)):
            questions += questions_of([row], partial(_fields, folder=folder, number=number))
    return questions


def _fields(row: Row, folder: str, number: int) -> dict[str, Any]:
    options = row.texts("candidates")
    return {
        "id": f"{folder}.{number}",
        "video": f"{folder}/{row.text('video')}",
        "question": row.text("question", may_be_empty=True),
        "options": options,
        "answer": letter_of_text(row, "answer", options),
        "tags": {"task": row.text("question_type"), "duration": _length(row.seconds("duration"))},
    }


def _length(seconds: float) -> str:
    return next((name for limit, name in _LENGTHS if seconds <= limit), "over 60 min")
