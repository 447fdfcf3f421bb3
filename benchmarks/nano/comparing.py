"""What two runs measured in, the differences kind by kind out, and whether they are small enough."""

from collections.abc import Mapping

from benchmarks.nano.measuring import SHIPPED, Measured
from benchmarks.nano.plain import Figures
from bimba.errors import InputError
from bimba.evaluation.shares import Share

MOST = 0.03
"""Difference of accuracy within which a run reproduces another."""
_ROUNDING = 1e-9


class Reproduction(Figures):
    """Answers in words at the shipped setting, of a run that repeats another.

    Attributes:
        model_sha256: of the repeated run.
        all: of all questions.
        by_kind: of question.
    """

    model_sha256: str
    all: Share
    by_kind: dict[str, Share]


def reproduction(measured: Mapping[str, Measured], again: Mapping[str, Measured]) -> Reproduction:
    """Take from a repeated run what is compared.

    Raises:
        InputError: one of the runs is not measured, or they were asked other questions.
    """
    for name, run in (("the run", measured), ("the run that it is compared with", again)):
        if SHIPPED not in run:
            raise InputError(
                f"{name} is not measured at {SHIPPED} frames.", fix="train and measure it: python -m benchmarks.nano"
            )
    ours, theirs = measured[SHIPPED], again[SHIPPED]
    if asked(ours) != asked(theirs):
        raise InputError(
            f"the runs were asked other questions: seed, videos, questions and version are {asked(ours)} and "
            f"{asked(theirs)}.",
            fix="measure both with the same version.",
        )
    return Reproduction(model_sha256=theirs.model_sha256, all=theirs.open.all, by_kind=theirs.open.by_kind)


def asked(measured: Measured) -> tuple[int, int, int, int]:
    """What decides which questions were asked: seed, videos, questions and version of the benchmark."""
    return measured.seed, measured.videos, measured.num_questions, measured.benchmark_version


def differences(measured: Measured, again: Reproduction) -> dict[str, tuple[Share, Share, float]]:
    """Of "all kinds" and of each kind: the share, that of the repeated run, and how much higher the latter is."""
    pairs = {"all kinds": (measured.open.all, again.all)}
    pairs |= {kind: (share, again.by_kind[kind]) for kind, share in sorted(measured.open.by_kind.items())}
    return {
        name: (ours, theirs, theirs.right / theirs.count - ours.right / ours.count)
        for name, (ours, theirs) in pairs.items()
    }


def is_close(difference: float) -> bool:
    """Whether a difference is within what is asked for."""
    return abs(difference) <= MOST + _ROUNDING
