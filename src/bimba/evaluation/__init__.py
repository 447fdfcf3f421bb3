"""Evaluation: a model and a benchmark in; one line a question, tables with intervals, pictures and provenance out.

`answering` asks a model about one video that is encoded once, `extraction` finds the option that an answer means,
`metrics` scores as a benchmark's authors do, `scoring` tells what is right in words, `shares` counts with intervals,
`pictures` draws, `provenance` says what a number was made with. `needles` is a benchmark of its own, about videos that
nobody stored.
"""

from bimba.evaluation.extraction import extract_option

__all__ = ["extract_option"]
