"""Perception Test's JSON file (a record a video) in, its multiple-choice questions out."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bimba.errors import InputError
from bimba.evaluation.benchmarks.benchmark import Benchmark
from bimba.evaluation.benchmarks.formats.rows import FIX, Row, letter_of, questions_of, read_json
from bimba.evaluation.benchmarks.question import Question


def read(benchmark: Benchmark, files: Sequence[Path]) -> list[Question]:
    """Read all questions.

    Raises:
        InputError: the file has another form.
    """
    del benchmark
    [file] = files
    content = read_json(file)
    if not isinstance(content, Mapping):
        raise InputError(f"{file} is no mapping of videos to their records.", fix=FIX)
    questions: list[Question] = []
    for video, values in content.items():
        rows = Row(values, f"{file.name}, video {video!r}").rows("mc_question")
        questions += questions_of(rows, partial(_fields, video=video))
    return questions


def _fields(row: Row, video: str) -> dict[str, Any]:
    options = row.texts("options")
    return {
        "id": f"{video}.{row.text('id')}",
        "video": f"{video}.mp4",
        "question": row.text("question"),
        "options": options,
        "answer": letter_of(row, "answer_id", options),
        "tags": {"area": row.text("area"), "reasoning": row.text("reasoning")},
    }
