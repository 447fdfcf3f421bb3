"""NExT-QA's csv file and its map of videos to folders in, questions out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bimba.evaluation.benchmarks.benchmark import Benchmark
from bimba.evaluation.benchmarks.formats.rows import Row, csv_rows, letter_of, questions_of, read_json
from bimba.evaluation.benchmarks.question import Question

_NUM_OPTIONS = 5


def read(benchmark: Benchmark, files: Sequence[Path]) -> list[Question]:
    """Read all questions of a split."""
    del benchmark
    questions_file, map_file = files
    folders = Row(read_json(map_file), map_file.name)

    def question(row: Row) -> dict[str, Any]:
        video, kind = row.text("video"), row.text("type")
        options = [row.text(f"a{number}") for number in range(_NUM_OPTIONS)]
        return {
            "id": f"{video}.{row.text('qid')}",
            "video": f"{folders.text(video)}.mp4",
            "question": row.text("question"),
            "options": options,
            "answer": letter_of(row, "answer", options),
            "tags": {"group": kind[0], "type": kind},
        }

    return questions_of(csv_rows(questions_file), question)
