"""Annotations as published in, questions out: one module a form, and the short form that many repositories use."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bimba.evaluation.benchmarks.benchmark import Benchmark
from bimba.evaluation.benchmarks.formats import (
    egoschema,
    houreval,
    hourvideo,
    longvideobench,
    lvbench,
    mlvu,
    mvbench,
    nextqa,
    perceptiontest,
    simplified,
    tempcompass,
    videomme,
    vnbench,
)
from bimba.evaluation.benchmarks.question import Question

Reader = Callable[[Benchmark, Sequence[Path]], list[Question]]
"""Takes a benchmark and its files, in the order of `Benchmark.files`, each pattern's sorted."""

READERS: Mapping[str, Reader] = {
    "egoschema": egoschema.read,
    "houreval": houreval.read,
    "hourvideo": hourvideo.read,
    "longvideobench": longvideobench.read,
    "lvbench": lvbench.read,
    "mlvu": mlvu.read,
    "mvbench": mvbench.read,
    "nextqa": nextqa.read,
    "perceptiontest": perceptiontest.read,
    "tempcompass": tempcompass.read,
    "videomme": videomme.read,
    "vnbench": vnbench.read,
}

__all__ = ["READERS", "Reader", "simplified"]
