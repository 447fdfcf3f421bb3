"""The folder of a run in, what its stages are and what their logs tell out."""

import json
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from statistics import fmean

from benchmarks.nano.counting import count_questions
from benchmarks.nano.plain import Figures, Machine
from bimba.training.loop.counting import read_counts
from bimba.training.loop.run_folder import MAY_CHANGE, RECIPE_NAME, RESULT_NAME
from bimba.training.loop.watching import LOG_NAME, read_log
from bimba.training.recipe.reading import differences, read_recipe
from bimba.training.recipe.settings import Objective, Recipe

STAGES = ("1-vision", "2-words", "3-names", "4-answers")
"""In order; each but the first starts from the one before."""
_OF_THE_PLACE = (*MAY_CHANGE, "model.path")
"""Settings that change nothing of what is learned: where a run lies, and how it is fed."""
MOST_POINTS = 100
"""Of a curve; entries between them are averaged."""


class State(StrEnum):
    """How far a stage is."""

    MISSING = "missing"
    UNFINISHED = "unfinished"
    FINISHED = "finished"


class Point(Figures):
    """Losses of the training samples around a step; None where one is no part of the objective."""

    step: int
    words: float | None
    answers: float | None


class Seen(Figures):
    """What a finished stage was trained on.

    Attributes:
        samples: videos, each with the questions of a round.
        videos: different ones among them.
        frames: of them.
        tokens: the videos' included.
        questions: whose answers were learned, estimated from `counted_videos`; 0 where none are.
        answer_tokens: of these answers, ends of turns included, estimated likewise.
        counted_videos: that the estimates are made of.
        failed: samples that could not be made.
    """

    samples: int
    videos: int
    frames: int
    tokens: int
    questions: int
    answer_tokens: int
    counted_videos: int
    failed: int


class Stage(Figures):
    """A stage of the training.

    Attributes:
        name: of its recipe, without "nano/".
        state: how far it is.
        step: optimizer steps that are logged.
        num_steps: that there shall be.
        seed: of weights and order.
        data_seeds: of the videos.
        seconds: of the logged steps, without those that an interruption made repeat.
        memory_gb: at the peak.
        changed: settings other than the shipped recipe's, in words.
        curve: of the losses.
        seen: None before the end.
        machine: on which it ended; None before.
    """

    name: str
    state: State
    step: int = 0
    num_steps: int = 0
    seed: int | None = None
    data_seeds: tuple[int, ...] = ()
    seconds: float = 0.0
    memory_gb: float = 0.0
    changed: tuple[str, ...] = ()
    curve: tuple[Point, ...] = ()
    seen: Seen | None = None
    machine: Machine | None = None

    @property
    def in_words(self) -> str:
        """How far it is."""
        if self.state is State.UNFINISHED:
            return f"stage {self.name} is unfinished: step {self.step:,} of {self.num_steps:,}"
        return f"stage {self.name} is {self.state}"


def state_of(folder: Path) -> State:
    """How far the stage in a folder is."""
    if not (folder / RECIPE_NAME).is_file():
        return State.MISSING
    return State.FINISHED if (folder / RESULT_NAME).is_dir() else State.UNFINISHED


def read_stage(folder: Path, name: str) -> Stage:
    """Read what a stage's recipe, log, counts and provenance tell.

    Raises:
        InputError: its recipe is none of this version.
    """
    state = state_of(folder)
    if state is State.MISSING:
        return Stage(name=name, state=state)
    recipe = read_recipe(folder / RECIPE_NAME)
    lines = read_log(folder / LOG_NAME)
    result = folder / RESULT_NAME
    is_finished = state is State.FINISHED
    provenance = json.loads((result / "provenance.json").read_text(encoding="utf-8")) if is_finished else None
    return Stage(
        name=name,
        state=state,
        step=int(lines[-1]["step"]) if lines else 0,
        num_steps=recipe.schedule.max_steps or 0,
        seed=recipe.schedule.seed,
        data_seeds=tuple(source.stream.options.get("seed", 0) for source in recipe.data.sources if source.stream),
        seconds=round(_seconds(lines), 1),
        memory_gb=round(max((line["memory_gb"] for line in lines), default=0.0), 3),
        changed=_changed(name, recipe),
        curve=tuple(_curve([_apart(line, recipe.objective) for line in lines])),
        seen=_seen(folder, recipe) if is_finished else None,
        machine=None if provenance is None else Machine.of(provenance),
    )


def _seconds(lines: Sequence[dict[str, float]]) -> float:
    """Time of the steps: each entry tells how many samples there were and how fast they went."""
    before, total = 0.0, 0.0
    for line in lines:
        total += (line["samples_seen"] - before) / line["samples_per_second"]
        before = line["samples_seen"]
    return total


def _changed(name: str, recipe: Recipe) -> tuple[str, ...]:
    found = differences(read_recipe(f"nano/{name}"), recipe)
    return tuple(line for line in found if not line.startswith(_OF_THE_PLACE))


def _apart(line: dict[str, float], objective: Objective) -> Point:
    """An entry's losses of words and answers, which add up to the one that is minimised.

    Logs of runs before 2026-11-30 divide both by too many steps in the first entry after an interruption.
    """
    step, whole = int(line["step"]), line["loss"]
    if objective.words is None or "words_loss" not in line:
        return Point(step=step, words=None, answers=line.get("answers_loss", whole))
    logged = objective.answers * line["answers_loss"] + objective.words.weight * line["words_loss"]
    scale = whole / logged if logged else 1.0
    answers = scale * line["answers_loss"] if objective.answers else None
    return Point(step=step, words=scale * line["words_loss"], answers=answers)


def _curve(entries: Sequence[Point]) -> list[Point]:
    """Means of neighbouring entries, so that there are few points."""
    stride = max(1, -(-len(entries) // MOST_POINTS))
    points = []
    for start in range(0, len(entries), stride):
        part = entries[start : start + stride]
        words = [entry.words for entry in part if entry.words is not None]
        answers = [entry.answers for entry in part if entry.answers is not None]
        points.append(
            Point(
                step=part[-1].step,
                words=round(fmean(words), 4) if words else None,
                answers=round(fmean(answers), 4) if answers else None,
            )
        )
    return points


def _seen(folder: Path, recipe: Recipe) -> Seen:
    counts = read_counts(folder)
    counted = count_questions(recipe, folder / RESULT_NAME, counts.samples)
    share = counts.samples / counted.videos
    return Seen(
        samples=counts.samples,
        videos=counted.different,
        frames=round(counts.video_tokens * counted.frames / counted.video_tokens),
        tokens=counts.tokens,
        questions=round(counted.questions * share),
        answer_tokens=round(counted.answer_tokens * share),
        counted_videos=counted.videos,
        failed=len(counts.failed),
    )
