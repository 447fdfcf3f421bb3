"""The short form in (a list of id, video, question, candidates with letters, answer), questions out.

Many evaluation repositories hold all benchmarks in it. It leaves out what scores are broken down by, but for
`question_type`, whose meaning differs.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bimba.evaluation.benchmarks.benchmark import Benchmark
from bimba.evaluation.benchmarks.formats.rows import Row, json_rows, questions_of, without_letters
from bimba.evaluation.benchmarks.question import Question


def read(benchmark: Benchmark, files: Sequence[Path]) -> list[Question]:
    """Read the short form."""
    has_tries, tag = benchmark.simplified.has_tries, benchmark.simplified.question_type

    def question(row: Row) -> dict[str, Any]:
        video, text = row.text("video"), row.text("question", may_be_empty=True)
        return {
            "id": row.text("id"),
            "video": video,
            "question": text,
            "options": without_letters(row, "candidates"),
            "answer": row.text("answer") if "answer" in row else None,
            "item": f"{video} {text}" if has_tries else None,
            "tags": {tag: row.text("question_type")} if tag and "question_type" in row else {},
        }

    [file] = files
    return questions_of(json_rows(file), question)
