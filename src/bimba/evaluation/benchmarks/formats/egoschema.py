"""questions.json and subset_answers.json in, EgoSchema's questions out; most have no public answer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bimba.evaluation.benchmarks.benchmark import Benchmark
from bimba.evaluation.benchmarks.formats.rows import Row, json_rows, letter_of, questions_of, read_json
from bimba.evaluation.benchmarks.question import Question

_NUM_OPTIONS = 5


def read(benchmark: Benchmark, files: Sequence[Path]) -> list[Question]:
    """Read all questions, or those with answers where the benchmark is the subset."""
    questions_file, answers_file = files
    answers = Row(read_json(answers_file), answers_file.name)

    def question(row: Row) -> dict[str, Any]:
        name = row.text("q_uid")
        options = [row.text(f"option {number}") for number in range(_NUM_OPTIONS)]
        return {
            "id": name,
            "video": f"{name}.mp4",
            "question": row.text("question"),
            "options": options,
            "answer": letter_of(answers, name, options) if name in answers else None,
        }

    questions = questions_of(json_rows(questions_file), question)
    only_answered = benchmark.num_questions == benchmark.num_answers
    return [each for each in questions if each.answer is not None] if only_answered else questions
