"""A record of a task in, what lmms-eval asks of it out: what is shown, the prompt, the answer, and the scores.

The YAML that `tasks` writes names these functions. A record has only texts: `id`, `benchmark`, `video` (its file),
`prompt`, `target` (the right letter; empty where it is not public) and `question` (all of it, as JSON).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bimba.evaluation.benchmarks import Question, find_benchmark
from bimba.evaluation.reports import results_of
from bimba.evaluation.reports.given import Given
from bimba.evaluation.reports.results import MICRO

Record = Mapping[str, Any]
Told = Mapping[str, str]


def doc_to_visual(record: Record) -> list[str]:
    """The video's file."""
    return [record["video"]]


def doc_to_text(record: Record) -> str:
    """The user's turn, without the video's placeholder."""
    return str(record["prompt"])


def doc_to_target(record: Record) -> str:
    """The right letter."""
    return str(record["target"])


def process_results(record: Record, results: Sequence[str]) -> dict[str, Told]:
    """What each metric of the benchmark needs of an answer; nothing where the right one is not public."""
    if not record["target"]:
        return {}
    told = {name: str(record[name]) for name in ("id", "benchmark", "question")}
    return dict.fromkeys(metrics_of(told["benchmark"]), told | {"prediction": str(results[0])})


def metrics_of(benchmark: str) -> tuple[str, ...]:
    """Names of a benchmark's metrics, its own first.

    Raises:
        InputError: there is no such benchmark.
    """
    return tuple(dict.fromkeys((find_benchmark(benchmark).metric, MICRO)))


def _aggregate(metric: str, told: Sequence[Told]) -> float:
    """The score of all answers in per cent, as `bimba eval score` counts it; no number if no item is complete."""
    questions = [Question.model_validate_json(each["question"]) for each in told]
    answers = [Given(each["id"], each["prediction"]) for each in told]
    results = results_of(find_benchmark(told[0]["benchmark"]), questions, answers, {"extract": "option"})
    found = results["scores"][metric]
    return math.nan if found is None else round(100 * found["value"], 4)


def accuracy(told: Sequence[Told]) -> float:
    """Accuracy over all questions."""
    return _aggregate("accuracy", told)


def all_tries(told: Sequence[Told]) -> float:
    """Mean over types of the items whose every try is right."""
    return _aggregate("all_tries", told)


def mean_of_tasks(told: Sequence[Told]) -> float:
    """Mean of the tasks' accuracies."""
    return _aggregate("mean_of_tasks", told)
