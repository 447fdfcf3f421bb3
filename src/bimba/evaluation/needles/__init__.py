"""How well a model answers questions about needle videos that nobody stored: settings in, a folder of results out.

The flow, one module a step: settings -> described (what decides the results) -> asked (videos and their questions, in
order) -> lines (one a question, on disk) -> tables -> drawn (pictures); `run` puts them together.
"""

from bimba.evaluation.needles.lines import Line, read_lines
from bimba.evaluation.needles.run import Outcome, Progress, check_results, evaluate_needles, read_results
from bimba.evaluation.needles.settings import NeedleEvaluation

__all__ = [
    "Line",
    "NeedleEvaluation",
    "Outcome",
    "Progress",
    "check_results",
    "evaluate_needles",
    "read_lines",
    "read_results",
]
