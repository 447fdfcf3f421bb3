"""A trained model in, its answers to the test split out: by `bimba eval run needles`, one length a run.

What was measured lies in a folder that is named after the weights, so that numbers of other weights are never mixed in.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import Field

from benchmarks.nano.commands import run_bimba
from benchmarks.nano.plain import Figures, Machine
from benchmarks.nano.stages import STAGES
from bimba.evaluation.folder import RESULTS_NAME
from bimba.evaluation.needles import read_results
from bimba.evaluation.provenance import model_sha256
from bimba.evaluation.shares import Share
from bimba.training.loop.run_folder import RESULT_NAME

NEEDLE_KINDS = ("shape", "digit", "letter", "caption", "picture")
_NAME_LETTERS = 12
LAST_STAGE = STAGES[-1]


@dataclass(frozen=True)
class Measurement:
    """One run of the evaluation.

    Attributes:
        name: of its folder.
        frames: of each video.
        videos: how many.
        in_own_videos: needles are hidden in a folder of videos, not in drawn ones.
    """

    name: str
    frames: int
    videos: int
    in_own_videos: bool = False


SHIPPED, LONGER = "64", "256"
"""The setting that the model is shipped with, and the longest that it was trained on."""
LENGTHS = (
    Measurement("32", 32, 150),
    Measurement(SHIPPED, 64, 300),
    Measurement("128", 128, 100),
    Measurement(LONGER, 256, 100),
    Measurement("512", 512, 50),
)
HAYSTACK = Measurement("haystack", 64, 150, in_own_videos=True)


class Way(Figures):
    """Right answers of one way of asking.

    Attributes:
        all: of all questions.
        mean_over_kinds: each kind weighs alike.
        by_kind: of question.
        by_place: tenth of the video ("0" to "9") that the one needle asked about stands in.
        by_held_out: pictures where the training split has them, and where not.
        guess: what taking any option gives; None of questions in words.
        guess_by_kind: likewise.
    """

    all: Share
    mean_over_kinds: float
    by_kind: dict[str, Share]
    by_place: dict[str, Share]
    by_held_out: dict[str, Share]
    guess: float | None = None
    guess_by_kind: dict[str, float] = Field(default={})

    @classmethod
    def of(cls, tables: Mapping[str, Any]) -> Self:
        """Take what the page tells from the tables of an evaluation of one length."""
        places: dict[str, Any] = next(iter(tables["by_frames_and_place"].values()), {})
        chance = tables.get("chance")
        return cls(
            all=tables["all"]["micro"],
            mean_over_kinds=tables["all"]["mean_over_kinds"],
            by_kind=tables["by_kind"],
            by_place=places,
            by_held_out=tables["by_held_out"],
            guess=None if chance is None else chance["all"]["micro"],
            guess_by_kind={} if chance is None else chance["by_kind"],
        )


class Measured(Figures):
    """What a measurement gave.

    Attributes:
        frames: of each video.
        videos: how many.
        size: of each, as asked: (width, height) in turns.
        seed: of the videos.
        split: of the videos.
        num_questions: asked in words.
        benchmark_version: of the evaluation.
        model_sha256: of the weights and the files that decide what the model says.
        haystack_sha256: of names and sizes of the videos that needles are hidden in, if they are not drawn.
        open: answers in words.
        choice: the likeliest of the options.
        refused: "I cannot tell" said of questions that the video answers.
        machine: on which most of it was asked.
    """

    frames: int
    videos: int
    size: tuple[tuple[int, int], ...]
    seed: int
    split: str
    num_questions: int
    benchmark_version: int
    model_sha256: str
    haystack_sha256: str | None
    open: Way
    choice: Way | None
    refused: Share | None
    machine: Machine | None

    @classmethod
    def of(cls, results: Mapping[str, Any]) -> Self:
        """Take what the page tells from results.json."""
        settings, refusals, sessions = results["settings"], results["refusals"], results["sessions"]
        refused = None
        if refusals is not None:
            share = refusals["refused"], refusals["count"], refusals["share"], refusals["low"], refusals["high"]
            refused = Share(*share)
        return cls(
            frames=settings["frames"][0],
            videos=settings["videos"],
            size=settings["sizes"],
            seed=settings["seed"],
            split=settings["split"],
            num_questions=results["num_questions"],
            benchmark_version=results["benchmark_version"],
            model_sha256=results["model_sha256"],
            haystack_sha256=results["names_and_sizes_sha256"].get("haystack"),
            open=Way.of(results["open"]),
            choice=None if results["choice"] is None else Way.of(results["choice"]),
            refused=refused,
            machine=Machine.of(sessions[0]) if sessions else None,
        )


def measure(runs: Path, haystack: Path | None, *, only: tuple[Measurement, ...] = LENGTHS) -> None:
    """Measure what is not measured yet.

    Args:
        runs: with a finished last stage.
        haystack: folder of videos that were not trained on, to hide needles in; None measures in drawn ones alone.
        only: lengths.

    Raises:
        Stopped: it was interrupted.
        CommandError: a measurement failed.
        CheckpointError: the model is damaged.
    """
    model = runs / LAST_STAGE / RESULT_NAME
    wanted = [(measurement, None) for measurement in only] + ([(HAYSTACK, haystack)] if haystack else [])
    for measurement, folder in wanted:
        out = _folder(runs) / measurement.name
        if _is_done(out, measurement, folder):
            print(f"{measurement.name} is measured")
            continue
        words = ["eval", "run", "needles", "--model", str(model), "--out", str(out)]
        words += ["--frames", str(measurement.frames), "--videos", str(measurement.videos)]
        words += ["--needle-kinds", ",".join(NEEDLE_KINDS)]
        run_bimba(*words, *(() if folder is None else ("--haystack", str(folder))))


def read_measured(runs: Path) -> dict[str, Measured]:
    """Everything that is measured of a run's weights, by the measurement's name.

    Raises:
        InputError: results are damaged, or of another version.
    """
    if not (runs / LAST_STAGE / RESULT_NAME).is_dir():
        return {}
    folder = _folder(runs)
    names = [measurement.name for measurement in (*LENGTHS, HAYSTACK)]
    return {
        name: Measured.of(read_results(folder / name)) for name in names if (folder / name / RESULTS_NAME).is_file()
    }


def _folder(runs: Path) -> Path:
    digest = model_sha256(str(runs / LAST_STAGE / RESULT_NAME), None)
    return runs / "measured" / digest[:_NAME_LETTERS]


def _is_done(out: Path, measurement: Measurement, haystack: Path | None) -> bool:
    """Whether the results are there; of other settings they are none, and the evaluation will say what differs."""
    if not (out / RESULTS_NAME).is_file():
        return False
    settings = read_results(out)["settings"]
    found = settings["frames"], settings["videos"], tuple(settings["needle_kinds"]), settings["haystack"]
    asked = [measurement.frames], measurement.videos, NEEDLE_KINDS, None if haystack is None else str(haystack)
    return bool(found == asked)
