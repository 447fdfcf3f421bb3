"""The paper's claims on a laptop: a small model and compressors in; what each of them buys, with intervals, out.

The flow, one module a step: settings (what is asked for) -> contenders (what is compared) -> plan (which runs, each
with its recipe) -> folder (where they go, and which are there) -> running (train one) -> measuring (ask it) ->
statistics, tables (over the seeds) -> words, drawn, report (what people read); `run` puts them together.
"""

from bimba.ablation.contenders import CONTENDERS, SHAPES
from bimba.ablation.run import Outcome, run_ablation
from bimba.ablation.running import Progress

__all__ = ["CONTENDERS", "SHAPES", "Outcome", "Progress", "run_ablation"]
