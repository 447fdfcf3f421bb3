"""lvb_val.json in, LongVideoBench's questions out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bimba.evaluation.benchmarks.benchmark import Benchmark
from bimba.evaluation.benchmarks.formats.rows import Row, json_rows, letter_of, questions_of
from bimba.evaluation.benchmarks.question import Question


def read(benchmark: Benchmark, files: Sequence[Path]) -> list[Question]:
    """Read all questions; groups of duration are named by their longest video in seconds."""

    def question(row: Row) -> dict[str, Any]:
        options = row.texts("candidates")
        fields: dict[str, Any] = {
            "id": row.text("id"),
            "video": row.text("video_path"),
            "question": row.text("question"),
            "options": options,
            "answer": letter_of(row, "correct_choice", options),
            "tags": {"duration": f"{row.number('duration_group')} s", "category": row.text("question_category")},
        }
        if benchmark.subtitles:
            start = "starting_timestamp_for_subtitles"
            fields["subtitles"] = row.text("subtitle_path")
            fields["subtitles_start_seconds"] = row.seconds(start) if start in row else 0.0
        return fields

    [file] = files
    return questions_of(json_rows(file), question)
