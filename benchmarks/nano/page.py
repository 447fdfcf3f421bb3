"""Figures in, the generated part of docs/nano.md out; the text around it is written by hand and stays as it is."""

from pathlib import Path

from benchmarks.marked_page import write_between
from benchmarks.nano.figures import NanoFigures
from benchmarks.nano.measuring import LENGTHS, SHIPPED
from benchmarks.nano.pictures import CURVES, KINDS, PLACES
from benchmarks.nano.sections import (
    bars_section,
    held_out_sentence,
    kinds_section,
    lengths_section,
    reproduction_section,
    training_section,
    weights_section,
)
from benchmarks.nano.stages import State

PAGE = Path(__file__).resolve().parents[2] / "docs" / "nano.md"
COMMAND = "python -m benchmarks.nano"


def write_page(figures: NanoFigures, page: Path = PAGE) -> None:
    """Put the generated part between its marks.

    Raises:
        InputError: the page has no marks.
    """
    write_between(page, COMMAND, generated(figures))


def generated(figures: NanoFigures) -> str:
    """Everything that is made from logs and results."""
    parts = [_how_far(figures), *_accuracy(figures)]
    if any(stage.state is not State.MISSING for stage in figures.stages):
        parts += ["## How it was trained", training_section(figures.stages)]
        if any(stage.curve for stage in figures.stages):
            parts.append(f"![Losses over steps, a panel for each stage](pictures/{CURVES})")
            parts.append("They are losses of the training samples, and say nothing of others.")
    if figures.weights is not None:
        parts += ["## The weights", weights_section(figures)]
        parts += ["## The same again", reproduction_section(figures)]
    return "\n\n".join(part for part in parts if part)


def _how_far(figures: NanoFigures) -> str:
    """What is missing, if anything is."""
    missing = list(figures.unfinished)
    if not missing:
        missing = [f"accuracy at {length.frames} frames" for length in LENGTHS if length.name not in figures.measured]
        missing = [f"{what} is not measured" for what in missing]
    if not missing:
        return ""
    first = "**Not measured yet.**" if SHIPPED not in figures.measured else "**Not complete yet.**"
    return f"{first} `make nano` goes on from here: {'; '.join(missing)}."


def _accuracy(figures: NanoFigures) -> list[str]:
    if SHIPPED not in figures.measured:
        return []
    shipped = figures.measured[SHIPPED]
    sizes = " and ".join(f"{width} x {height}" for width, height in shipped.size)
    asked = (
        f"Measured by `bimba eval run needles` (version {shipped.benchmark_version} of the benchmark) on the "
        f"{shipped.split} split, seed {shipped.seed}, {sizes} pixels: {shipped.videos:,} videos of "
        f"{shipped.frames} frames, {shipped.num_questions:,} questions. "
        "[Evaluation](evaluation.md) tells how answers are counted."
    )
    parts = ["## How good it is", asked, bars_section(figures), "## Kind by kind", kinds_section(shipped)]
    parts += [
        f"![Bars of right answers, a pair for each kind of question](pictures/{KINDS})",
        held_out_sentence(shipped),
    ]
    parts += ["## By length and place", lengths_section(figures)]
    if any(measured.open.by_place for measured in figures.measured.values()):
        parts.append(f"![Heat map of right answers: length of the video by place of the needle](pictures/{PLACES})")
    return parts
