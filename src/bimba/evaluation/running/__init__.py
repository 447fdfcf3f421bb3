"""A prepared benchmark, a model and a folder of videos in; a line for each question, whoever answers it, out.

The flow, one module a step: settings (what decides the answers) -> checking (what would go
wrong later) -> units (a video and all that is asked about it, in a
fixed order) -> claims (no two processes take the same) -> reading (the next videos' frames, while the model thinks) ->
answerers (what a model says) -> pieces (lines on disk, whatever is killed); `run` puts them together.
"""

from bimba.evaluation.running.answerers import Answerer, BimbaAnswerer
from bimba.evaluation.running.checking import Checked, check_model, check_run
from bimba.evaluation.running.pieces import Answer
from bimba.evaluation.running.recipe import read_evaluations
from bimba.evaluation.running.run import Progress, Ran, run_benchmark
from bimba.evaluation.running.settings import BenchmarkEvaluation

__all__ = [
    "Answer",
    "Answerer",
    "BenchmarkEvaluation",
    "BimbaAnswerer",
    "Checked",
    "Progress",
    "Ran",
    "check_model",
    "check_run",
    "read_evaluations",
    "run_benchmark",
]
