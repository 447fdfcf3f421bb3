"""Arguments in; every run trained and measured, tables, a report and pictures in a folder out."""

import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bimba.ablation import settings as arguments
from bimba.ablation.contenders import CONTENDERS, SHAPES
from bimba.ablation.contents import contents_of
from bimba.ablation.drawn import draw_tables
from bimba.ablation.folder import (
    REPORT_NAME,
    RESULTS_NAME,
    claim,
    read_result,
    run_facts,
    shared_facts,
)
from bimba.ablation.plan import RUNS, Run, features_of, plan_runs, recipe_of
from bimba.ablation.report import write_report
from bimba.ablation.running import Progress, carry_out, sizes_of
from bimba.ablation.settings import SEEDS, START, STEPS, VIDEOS, Settings
from bimba.evaluation.folder import alone_in, write_json
from bimba.evaluation.provenance import model_sha256
from bimba.files import write_whole


@dataclass(frozen=True)
class Outcome:
    """What came of an ablation.

    Attributes:
        folder: where everything is.
        results: the contents of results.json.
        num_trained: runs that were finished now.
        num_there: runs of the plan that were finished before.
    """

    folder: Path
    results: dict[str, Any]
    num_trained: int
    num_there: int


def run_ablation(
    out: str | Path,
    *,
    start: str = START,
    seeds: int = SEEDS,
    steps: int = STEPS,
    contenders: Iterable[str] | None = None,
    compressions: Iterable[int] | None = None,
    videos: int = VIDEOS,
    on_progress: Callable[[Progress], None] | None = None,
) -> Outcome:
    """Train every contender from the same model on the same videos, ask them all the same, and compare.

    What is finished in the folder is not run again; a run that was interrupted goes on. More seeds, contenders or
    compressions may be added later: the tables are over all finished runs.

    Args:
        out: folder of the ablation.
        start: model that every run starts from: a shipped name, a folder or a hub id.
        seeds: runs of each contender.
        steps: optimizer steps of each run.
        contenders: names in `CONTENDERS`; all of them if None. The selective scan is always among them.
        compressions: factors in `SHAPES` at which the scan and pooling are compared; all of them if None.
        videos: with a pair of needles that each run is asked about.
        on_progress: told what goes on.

    Raises:
        InputError: an argument is unknown or out of range, the folder holds runs of other settings, or packages are
            missing.
        CheckpointError: the model to start from is not there.
        TrainingError: a run fails.
    """
    arguments.check_packages()
    settings = arguments.checked(
        start=start, seeds=seeds, steps=steps, contenders=contenders, compressions=compressions, videos=videos
    )
    out = Path(out)
    shared = shared_facts(settings, model_sha256(settings.start, None))
    runs = plan_runs(settings)
    for run in (each for each in runs if each.seed == 0):
        sizes_of(recipe_of(run, settings, out))  # a model that a contender does not fit is refused at once
    with alone_in(out):
        claim(out, settings, shared)
        there = {run.name for run in runs if _found(run, settings, out, shared) is not None}
        missing = [run for run in runs if run.name not in there]
        _tidy(out, runs, missing)  # what an interruption between a result and its tables left
        _carry_out_all(missing, len(there), settings, out, shared, on_progress)
        results = _write_tables(settings, out, shared)
    return Outcome(out, results, len(runs) - len(there), len(there))


def _found(run: Run, settings: Settings, out: Path, shared: Mapping[str, str]) -> dict[str, Any] | None:
    """The result of a run if it is there, and of these settings."""
    return read_result(out, run, run_facts(run, recipe_of(run, settings, out), shared))


def _carry_out_all(
    missing: list[Run],
    num_there: int,
    settings: Settings,
    out: Path,
    shared: Mapping[str, str],
    on_progress: Callable[[Progress], None] | None,
) -> None:
    """Train and measure what is missing, one run after the other."""
    num_runs = num_there + len(missing)
    for number, run in enumerate(missing, start=num_there + 1):

        def tell(stage: Any, share: float, run: Run = run, number: int = number) -> None:
            if on_progress is not None:
                done = (number - 1 + share) / num_runs
                on_progress(Progress(run.name, number, num_runs, stage, done, num_there / num_runs))

        recipe = recipe_of(run, settings, out)
        carry_out(run, recipe, run_facts(run, recipe, shared), out=out, videos=settings.videos, tell=tell)
        _write_tables(settings, out, shared)
        _tidy(out, [run], missing[number - num_there :])
        tell("done", 1.0)


def _tidy(out: Path, runs: list[Run], missing: list[Run]) -> None:
    """Remove what only unfinished runs need: checkpoints, three models of room each, and what the tower sees.

    Args:
        out: folder of the ablation.
        runs: of which finished ones are tidied.
        missing: that are not finished.
    """
    for run in set(runs) - set(missing):
        for checkpoint in (out / RUNS / run.name).glob("checkpoint-*"):
            shutil.rmtree(checkpoint)
    for seed in {run.seed for run in runs} - {run.seed for run in missing}:
        shutil.rmtree(features_of(seed, out), ignore_errors=True)


def _write_tables(settings: Settings, out: Path, shared: Mapping[str, str]) -> dict[str, Any]:
    """Write results.json, report.md and the pictures of all finished runs, those of earlier commands included.

    They are written after each run, so that an ablation that is stopped has them, too.
    """
    num_seeds = max(settings.seeds, 1 + max(_seeds_there(out), default=0))
    every = plan_runs(Settings(seeds=num_seeds, contenders=tuple(CONTENDERS), compressions=tuple(SHAPES)))
    results = [result for run in every if (result := _found(run, settings, out, shared)) is not None]
    content = contents_of(results, shared)
    pictures = draw_tables(content, out)
    write_json(out / RESULTS_NAME, content)
    write_whole(out / REPORT_NAME, write_report(content, pictures))
    return content


def _seeds_there(out: Path) -> list[int]:
    """Seeds of the runs in a folder."""
    names = [path.name.rpartition("-")[2] for path in (out / RUNS).iterdir()]
    return [int(name) for name in names if name.isdecimal()]
