"""Evaluations that take a second, for the tests: a few short videos and the tiny model."""

from pathlib import Path
from typing import Any

from bimba.evaluation.answering import Reply
from bimba.evaluation.needles import Line, NeedleEvaluation
from bimba.evaluation.needles.asked import Asked

SMALL: dict[str, Any] = {"frames": (16, 24), "videos": 2, "needles": (2, 3), "questions": 4}


def small(model: str | Path = "model", **changes: Any) -> NeedleEvaluation:
    """Settings of a small evaluation; tests change what they are about."""
    return NeedleEvaluation.checked({"model": str(model)} | SMALL | changes)


def asked(**changes: Any) -> Asked:
    """A question about a red star."""
    values: dict[str, Any] = {
        "id": "64-0000-00-colour",
        "kind": "colour",
        "variant": "overlaid",
        "frames": 64,
        "size": (128, 72),
        "num_needles": 3,
        "num_evidence": 1,
        "place": 0.25,
        "held_out": None,
        "question": "What colour is the star?",
        "options": ("blue", "red"),
        "answer": "red",
    }
    return Asked(**values | changes)


def line(said: str = "red", scores: tuple[float, ...] = (-2.0, -1.0), **changes: Any) -> Line:
    """The answer to such a question."""
    return Line.of(asked(**changes), Reply(said, (), scores))
