"""The folder of a run, or a file of answers, in; what it answered, and how its answers are read, out."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bimba
from bimba.errors import InputError
from bimba.evaluation.benchmarks import Benchmark, Question, find_benchmark, prepared_questions
from bimba.evaluation.folder import ANSWERS_NAME, RUN_NAME, read_json
from bimba.evaluation.metrics import Outcome
from bimba.evaluation.reports.given import Given, read_given
from bimba.evaluation.reports.outcomes import outcomes_of


@dataclass(frozen=True)
class Stored:
    """A run that is over, or stopped.

    Attributes:
        benchmark: that was asked.
        questions: all of it.
        answers: to some or all.
        run: the contents of run.json.
    """

    benchmark: Benchmark
    questions: list[Question]
    answers: list[Given]
    run: dict[str, Any]

    @property
    def extract(self) -> str:
        """How answers are read."""
        found: str = self.run["settings"]["extract"]
        return found

    @property
    def outcomes(self) -> list[Outcome]:
        """Right or wrong, where the answer is public."""
        return outcomes_of(self.questions, self.answers, self.extract)


def read_answers_file(
    benchmark: Benchmark, file: Path, *, name: str, extract: str, prepared: Path | None = None
) -> Stored:
    """Read answers that were made elsewhere.

    Args:
        benchmark: that was asked.
        file: of answers, a line each.
        name: of what made them.
        extract: how they are read.
        prepared: folder of the prepared benchmark, if not the default one.

    Raises:
        InputError: the file holds something else, or the benchmark is not prepared.
    """
    source, questions = prepared_questions(benchmark, prepared)
    answers = read_given(file, {question.id for question in questions})
    run = {
        "benchmark": benchmark.name,
        "benchmark_version": benchmark.version,
        "bimba": bimba.__version__,
        "settings": {"benchmark": benchmark.name, "model": name, "extract": extract},
        "answers_from": {"file": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()},
        "questions_sha256": source.questions_sha256,
        "annotations": {"form": source.form, "deviations": list(source.deviations)},
    }
    return Stored(benchmark, questions, answers, run)


def read_run(folder: Path, prepared: Path | None = None) -> Stored:
    """Read a run's folder.

    Args:
        folder: that `bimba eval run` wrote.
        prepared: folder of the prepared benchmark, if not the default one.

    Raises:
        InputError: it is none, is of other questions than the prepared ones, or is not finished.
    """
    file = folder / RUN_NAME
    if not file.is_file():
        raise InputError(f"{folder} is no run: it has no {RUN_NAME}.", fix="name a folder of `bimba eval run`.")
    run = read_json(file)
    benchmark = find_benchmark(str(run.get("benchmark")))
    source, questions = prepared_questions(benchmark, prepared)
    if run.get("questions_sha256") != source.questions_sha256:
        raise InputError(
            f"{folder} asked other questions than those that are prepared now.",
            fix="prepare the annotations that it was made with (bimba eval prepare), or run it again.",
        )
    if not (folder / ANSWERS_NAME).is_file():
        raise InputError(f"{folder} is not finished.", fix="finish it by the command that started it.")
    answers = read_given(folder / ANSWERS_NAME, {question.id for question in questions})
    return Stored(benchmark, questions, answers, run)
