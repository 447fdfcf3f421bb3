"""Annotations of Video-MME, MLVU and LongVideoBench in, HourEval's questions out: those about videos beyond 30 minutes.

The rule is that of the Vamba paper (arXiv 2503.11579, section 4.2), whose authors publish no list of the questions.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bimba.evaluation.benchmarks.benchmark import Benchmark, find_benchmark
from bimba.evaluation.benchmarks.formats import longvideobench, mlvu, videomme
from bimba.evaluation.benchmarks.formats.rows import json_rows
from bimba.evaluation.benchmarks.question import Question

SOURCE = "source"
"""Tag that says from which benchmark a question is."""
_SECONDS = 30 * 60


def read(benchmark: Benchmark, files: Sequence[Path]) -> list[Question]:
    """Read the questions of each part of the benchmark, and choose."""
    questions = []
    for part in benchmark.parts:
        source = find_benchmark(part.benchmark)
        chosen = _CHOOSE[source.name](source, source.own_files(files))
        questions += [_renamed(question, source.name) for question in chosen]
    return questions


def _renamed(question: Question, source: str) -> Question:
    """A question whose name, and whose video's, no other part has."""
    changes = {"id": f"{source}.{question.id}", "video": f"{source}/{question.video}", "tags": {SOURCE: source}}
    return question.model_copy(update=changes)


def _of_long_group(benchmark: Benchmark, files: Sequence[Path]) -> list[Question]:
    """Video-MME tells no lengths, but its group of videos of 30 to 60 minutes."""
    return [question for question in videomme.read(benchmark, files) if question.tags["duration"] == "long"]


def _longer(
    read_all: Callable[[Benchmark, Sequence[Path]], list[Question]], benchmark: Benchmark, files: Sequence[Path]
) -> list[Question]:
    """Questions whose record says that the video is longer."""
    rows = [row for file in files for row in json_rows(file)]
    pairs = zip(read_all(benchmark, files), rows, strict=True)
    return [question for question, row in pairs if row.seconds("duration") > _SECONDS]


_CHOOSE: Mapping[str, Callable[[Benchmark, Sequence[Path]], list[Question]]] = {
    "videomme": _of_long_group,
    "mlvu": lambda benchmark, files: _longer(mlvu.read, benchmark, files),
    "longvideobench": lambda benchmark, files: _longer(longvideobench.read, benchmark, files),
}
