"""Questions and answers in; scores, what they cover and what others report, as plain values, out."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from bimba.evaluation.benchmarks import Benchmark, Question
from bimba.evaluation.metrics import METRICS, Outcome, incomplete_items, score, scores_by
from bimba.evaluation.reports.outcomes import Said, read_answers

MICRO = "accuracy"
_NUM_SHOWN = 20


def results_of(
    benchmark: Benchmark, questions: Sequence[Question], answers: Sequence[Said], settings: dict[str, Any]
) -> dict[str, Any]:
    """Count everything.

    Args:
        benchmark: that was asked.
        questions: all of its questions.
        answers: to some or all of them.
        settings: of the run; "extract" says how answers are read.

    Returns:
        "scores" (the benchmark's own first, accuracy over all questions if that is another one; empty where no answer
        is public), "by" (tag, group, score), "covers", "unparsed", "failed", "chance" and "reported".
    """
    read = read_answers(questions, answers, settings["extract"])
    outcomes = [each.outcome for each in read if each.question.answer is not None]
    unparsed = [each for each in read if each.letter is None]
    failures = {answer.id: answer.failed for answer in answers if answer.failed is not None}
    failed_videos = {each.video: failures[each.id] for each in questions if each.id in failures}
    names = list(dict.fromkeys((benchmark.metric, MICRO)))
    metric = METRICS[benchmark.metric]
    return {
        "title": benchmark.title,
        "scores": {name: _score(outcomes, name) for name in names} if outcomes else {},
        "by": {tag: _by(outcomes, tag, benchmark.metric) for tag in benchmark.breakdowns} if outcomes else {},
        "covers": {
            "questions": len(questions),
            "answered": len(read),
            "failed": len(failures),
            "missing": len(questions) - len(read) - len(failures),
            "scored": len(outcomes),
            "incomplete_items": len(incomplete_items(outcomes, metric.tries)) if metric.tries > 1 else 0,
        },
        "unparsed": {
            "count": len(unparsed),
            "examples": [{"id": each.question.id, "prediction": each.prediction} for each in unparsed[:_NUM_SHOWN]],
        },
        "failed_videos": failed_videos,
        "chance": round(fmean(1 / len(each.question.options) for each in read), 6) if read else None,
        "reported": [each.model_dump() for each in benchmark.reported],
    }


def _score(outcomes: Sequence[Outcome], name: str) -> dict[str, Any] | None:
    """A score with its title; None where no item is complete, or questions lack what the metric averages over."""
    metric = METRICS[name]
    if metric.over is not None and any(metric.over not in outcome.tags for outcome in outcomes):
        return None
    if not metric.units(outcomes):
        return None
    return {"title": metric.title} | score(outcomes, metric).to_dict()


def _by(outcomes: Sequence[Outcome], tag: str, name: str) -> dict[str, dict[str, float]]:
    return {group: each.to_dict() for group, each in scores_by(outcomes, tag, METRICS[name]).items()}
