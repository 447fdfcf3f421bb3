"""VNBench's list of tries in, questions out; the tries of one question share an item."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bimba.evaluation.benchmarks.benchmark import Benchmark
from bimba.evaluation.benchmarks.formats.rows import Row, json_rows, questions_of
from bimba.evaluation.benchmarks.question import Question


def read(benchmark: Benchmark, files: Sequence[Path]) -> list[Question]:
    """Read all tries."""
    del benchmark

    def question(row: Row) -> dict[str, Any]:
        video, text, number = Path(row.text("video")).name, row.text("question"), row.number("try")
        return {
            "id": f"{video}.{number}",
            "video": video,
            "question": text,
            "options": row.texts("options"),
            "answer": row.text("gt_option"),
            "item": f"{video} {text}",
            "tags": {"type": row.text("type")},
        }

    [file] = files
    return questions_of(json_rows(file), question)
