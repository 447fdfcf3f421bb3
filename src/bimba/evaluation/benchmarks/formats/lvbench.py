"""LVBench's video_info.meta.jsonl (a line a video, with its questions) in, questions out, some of several types."""

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bimba.evaluation.benchmarks.benchmark import Benchmark
from bimba.evaluation.benchmarks.formats.rows import Row, json_lines, questions_of
from bimba.evaluation.benchmarks.question import Question
from bimba.evaluation.extraction import LETTERS

_TYPES = (
    "entity recognition",
    "event understanding",
    "key information retrieval",
    "reasoning",
    "summarization",
    "temporal grounding",
)
"""All that the authors' script of the leaderboard knows."""
_OPTION = re.compile(r"\(([A-Z])\)\s*(.*)")


def read(benchmark: Benchmark, files: Sequence[Path]) -> list[Question]:
    """Read all questions; their options stand on lines of their own behind them.

    Where in the video the answer is (`time_reference`) is told no model, and not read.
    """
    del benchmark
    [file] = files
    questions: list[Question] = []
    for video in json_lines(file):
        fields = partial(_fields, video=video.text("key"), category=video.text("type"))
        questions += questions_of(video.rows("qa"), fields)
    return questions


def _fields(row: Row, video: str, category: str) -> dict[str, Any]:
    text, options = _parted(row)
    types = row.texts("question_type")
    if not types or not set(types) <= set(_TYPES):
        row.refuse("question_type", f"some of {', '.join(_TYPES)}")
    return {
        "id": row.text("uid"),
        "video": f"{video}.mp4",
        "question": text,
        "options": options,
        "answer": row.text("answer").strip(),
        "tags": {"type": tuple(types), "category": category},
    }


def _parted(row: Row) -> tuple[str, list[str]]:
    """The question, and its options without the letters in front of them.

    Raises:
        InputError: the options are no lines that begin with (A), (B), (C) and so on.
    """
    lines = [line.strip() for line in row.text("question").strip().split("\n")]
    first = next((place for place, line in enumerate(lines) if line.startswith("(A)")), 0)
    found = [_OPTION.fullmatch(line) for line in lines[first:]]
    options = [match[2] for match in found if match is not None]
    letters = [match[1] for match in found if match is not None]
    if not first or len(letters) < len(found) or letters != list(LETTERS[: len(letters)]):
        row.refuse("question", "a question with the options (A), (B) and so on, each on a line of its own")
    return "\n".join(lines[:first]), options
