"""TempCompass' multi-choice.json (by video, then by what is asked about) in, questions out."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bimba.errors import InputError
from bimba.evaluation.benchmarks.benchmark import Benchmark
from bimba.evaluation.benchmarks.formats.rows import FIX, Row, questions_of, read_json
from bimba.evaluation.benchmarks.question import Question
from bimba.evaluation.extraction import LETTERS


def read(benchmark: Benchmark, files: Sequence[Path]) -> list[Question]:
    """Read all questions; their options stand on lines of their own behind them.

    Raises:
        InputError: the file has another form.
    """
    del benchmark
    [file] = files
    content = read_json(file)
    if not isinstance(content, Mapping):
        raise InputError(f"{file} is no mapping of videos to their questions.", fix=FIX)
    questions: list[Question] = []
    for video, kinds in content.items():
        video_row = Row(kinds, f"{file.name}, video {video!r}")
        for kind in kinds:
            for number, row in enumerate(video_row.rows(kind)):
                questions += questions_of([row], partial(_fields, video=video, kind=kind, number=number))
    return questions


def _fields(row: Row, video: str, kind: str, number: int) -> dict[str, Any]:
    text, *lines = row.text("question").strip().split("\n")
    if not all(line.startswith(f"{letter}. ") for letter, line in zip(LETTERS, lines, strict=False)):
        row.refuse("question", "a question with lettered options on lines of their own")
    if row.text("answer").strip() not in [line.strip() for line in lines]:
        row.refuse("answer", f"one of {lines}")
    return {
        "id": f"{video}.{kind}.{number}",
        "video": f"{video}.mp4",
        "question": text,
        "options": [line[3:].strip() for line in lines],
        "answer": row.text("answer").strip()[0],
        "tags": {"type": kind},
    }
