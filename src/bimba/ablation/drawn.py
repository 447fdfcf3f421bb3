"""Tables in, their pictures out: contenders with their intervals, accuracy over compression, training curves."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bimba.ablation.contenders import CONTENDERS, SHAPES
from bimba.ablation.words import CHANCE, MEASURE_WORDS
from bimba.evaluation.pictures import Dot, Point, Scale, Series, draw_curves, draw_dots

MEASURE_PICTURES = {"within_window": "within_window.png", "all_kinds": "all_kinds.png"}
COMPRESSION_PICTURES = {"within_window": "compression_within_window.png", "all_kinds": "compression_all_kinds.png"}
CURVES_NAME = "training.png"
_PERCENT = [(percent / 100, f"{percent}%") for percent in range(0, 101, 25)]


def draw_tables(tables: Mapping[str, Any], out: Path) -> list[str]:
    """Draw every picture that the tables have numbers for.

    Returns:
        names of the files.
    """
    drawn = []
    for measure, name in MEASURE_PICTURES.items():
        _draw_contenders(tables, measure, out / name)
        drawn.append(name)
    if any(len(rows) > 1 for rows in tables["compressions"].values()):
        for measure, name in COMPRESSION_PICTURES.items():
            _draw_compressions(tables["compressions"], measure, out / name)
            drawn.append(name)
    if any(len(curve) > 1 for curve in tables["curves"].values()):
        _draw_training(tables["curves"], out / CURVES_NAME)
        drawn.append(CURVES_NAME)
    return drawn


def _draw_contenders(tables: Mapping[str, Any], measure: str, path: Path) -> None:
    rows = tables["contenders"]
    dots = [
        Dot(
            CONTENDERS[name].label,
            row[measure]["mean"],
            row[measure]["low"],
            row[measure]["high"],
            row[measure]["values"],
        )
        for name, row in rows.items()
    ]
    questions = tables["counts"][measure]
    draw_dots(
        path,
        f"{MEASURE_WORDS[measure]}: right answers".capitalize(),
        f"{questions:,} questions on needle videos, answered in words; intervals over seeds",
        dots,
        each="one seed",
        chance=CHANCE if measure == "within_window" else None,
    )


def _draw_compressions(compressions: dict[str, Any], measure: str, path: Path) -> None:
    factors = [factor for factor in SHAPES if any(str(factor) in rows for rows in compressions.values())]
    places = {factor: number / max(1, len(factors) - 1) for number, factor in enumerate(factors)}
    marks = [(places[factor], f"{factor}x ({_shape(factor)})") for factor in factors]
    series = [
        Series(
            CONTENDERS[name].label,
            [
                Point(places[int(factor)], row[measure]["mean"], row[measure]["low"], row[measure]["high"])
                for factor, row in rows.items()
            ],
        )
        for name, rows in compressions.items()
    ]
    draw_curves(
        path,
        f"{MEASURE_WORDS[measure]}, by compression".capitalize(),
        "right answers in words; 95% intervals over seeds",
        Scale("fewer tokens (frames x rows x columns that make one)", marks),
        Scale("right answers", _PERCENT),
        series,
        chance=CHANCE if measure == "within_window" else None,
    )


def _shape(factor: int) -> str:
    frames, patches = SHAPES[factor]
    return f"{frames}x{patches}x{patches}"


def _draw_training(curves: dict[str, list[tuple[int, float]]], path: Path) -> None:
    last = max(step for curve in curves.values() for step, _ in curve)
    highest = max(loss for curve in curves.values() for _, loss in curve)
    top = max(1, math.ceil(highest))
    steps = [round(last * quarter / 4) for quarter in range(5)]
    series = [
        Series(CONTENDERS[name].label, [Point(step / last, loss) for step, loss in curve])
        for name, curve in curves.items()
        if curve
    ]
    draw_curves(
        path,
        "Loss in training",
        "mean over seeds of what is minimised: answers, and the words at the queries",
        Scale("steps", [(step / last, f"{step:,}") for step in steps]),
        Scale("loss", [(top * quarter / 4, f"{top * quarter / 4:g}") for quarter in range(5)]),
        series,
    )
