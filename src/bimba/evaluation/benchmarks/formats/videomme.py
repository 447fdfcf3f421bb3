"""Video-MME's parquet file in, questions out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bimba.errors import InputError
from bimba.evaluation.benchmarks.benchmark import Benchmark
from bimba.evaluation.benchmarks.formats.rows import FIX, Row, questions_of, without_letters
from bimba.evaluation.benchmarks.question import Question

_TAGS = {"duration": "duration", "domain": "domain", "sub_category": "sub_category", "task": "task_type"}


def read(benchmark: Benchmark, files: Sequence[Path]) -> list[Question]:
    """Read all questions.

    Raises:
        InputError: the file is damaged, or nothing is installed that reads it.
    """

    def question(row: Row) -> dict[str, Any]:
        name = row.text("videoID")
        return {
            "id": row.text("question_id"),
            "video": f"{name}.mp4",
            "question": row.text("question"),
            "options": without_letters(row, "options"),
            "answer": row.text("answer"),
            "tags": {tag: row.text(column) for tag, column in _TAGS.items()},
            "subtitles": f"{name}.srt" if benchmark.subtitles else None,
        }

    [file] = files
    return questions_of(_rows(file), question)


def _rows(file: Path) -> list[Row]:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise InputError(
            f"{file.name} is a parquet file, which pyarrow reads; it is not installed.", fix='pip install "bimba[eval]"'
        ) from error
    try:
        records = parquet.read_table(file).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{file} cannot be read: {error}.", fix=FIX) from error
    return [Row(values, f"{file.name}, row {number}") for number, values in enumerate(records)]
