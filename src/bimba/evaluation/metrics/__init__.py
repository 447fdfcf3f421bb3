"""Outcomes of questions in; the score that a benchmark's authors mean, with its interval, out; and paired differences.

`official` says what is counted and averaged, `resampling` how sure that is, `scores` puts both together, `paired`
compares two runs on the same questions.
"""

from bimba.evaluation.metrics.official import METRICS, Metric, Outcome, incomplete_items
from bimba.evaluation.metrics.paired import Comparison, compare
from bimba.evaluation.metrics.scores import Score, score, scores_by

__all__ = [
    "METRICS",
    "Comparison",
    "Metric",
    "Outcome",
    "Score",
    "compare",
    "incomplete_items",
    "score",
    "scores_by",
]
