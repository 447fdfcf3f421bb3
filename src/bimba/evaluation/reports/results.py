"""Questions and answers in; scores, what they cover and what others report, as plain values, out."""

from collections.abc import Sequence
from typing import Any

from bimba.evaluation.benchmarks import Benchmark, Question
from bimba.evaluation.metrics import METRICS, Outcome, incomplete_items, score, scores_by
from bimba.evaluation.reports.outcomes import Read, Said, read_answers

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
        "scores" (the benchmark's own first, accuracy over all questions if that is another one, each with what guessing
        gives; empty where no question with a public answer is answered), "by" (tag, group, score), "covers",
        "unparsed", "tied", "failed_videos" and "reported".
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
        "scores": {name: _score(name, questions, read) for name in names} if outcomes else {},
        "by": {tag: _by(outcomes, tag, benchmark.metric) for tag in benchmark.breakdowns} if outcomes else {},
        "covers": {
            "questions": len(questions),
            "answered": len(read),
            "failed": len(failures),
            "missing": len(questions) - len(read) - len(failures),
            "scored": len(outcomes),
            "public": sum(question.answer is not None for question in questions),
            "incomplete_items": len(incomplete_items(outcomes, metric.tries)) if metric.tries > 1 else 0,
        },
        "unparsed": {
            "count": len(unparsed),
            "examples": [{"id": each.question.id, "prediction": each.prediction} for each in unparsed[:_NUM_SHOWN]],
        },
        "tied": sum(answer.tied for answer in answers),
        "failed_videos": failed_videos,
        "reported": [each.model_dump() for each in benchmark.reported],
    }


def _score(name: str, questions: Sequence[Question], read: Sequence[Read]) -> dict[str, Any] | None:
    """A score with its title; None where no item is complete, or questions lack what the metric averages over.

    A mean over groups says of how many groups it is, since those of which nothing was answered are missing from it.
    """
    metric = METRICS[name]
    scored = [each for each in read if each.question.answer is not None]
    outcomes = [each.outcome for each in scored]
    if metric.over is not None and any(metric.over not in outcome.tags for outcome in outcomes):
        return None
    units = metric.units(outcomes)
    if not units:
        return None
    chance = metric.chance([(each.outcome, 1 / len(each.question.options)) for each in scored])
    found: dict[str, Any] = {"title": metric.title} | score(outcomes, metric).to_dict()
    found["chance"] = None if chance is None else round(chance, 6)
    if metric.over is not None:
        there = len({unit.group for unit in units})
        all_groups = len({question.tags[metric.over] for question in questions if metric.over in question.tags})
        found |= {"groups": there, "all_groups": all_groups}
        if there < all_groups:
            found["title"] += f", over {there} of {all_groups}"
    return found


def _by(outcomes: Sequence[Outcome], tag: str, name: str) -> dict[str, dict[str, float]]:
    return {group: each.to_dict() for group, each in scores_by(outcomes, tag, METRICS[name]).items()}
