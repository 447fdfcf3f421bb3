"""One run of the plan in: trained, measured and written down, or found finished; its result out."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from bimba.ablation.folder import fingerprint, write_result
from bimba.ablation.measuring import FRAMES, measure
from bimba.ablation.plan import RUNS, Run
from bimba.errors import InputError
from bimba.models.bimba.modeling import build_compressor
from bimba.provenance import code_and_machine
from bimba.training.features.filling import FILLING
from bimba.training.loop.saving import whole_checkpoint
from bimba.training.loop.watching import LOG_NAME, Report, Silent, read_log
from bimba.training.model.start import read_bimba_outline
from bimba.training.recipe.reading import recipe_as_yaml
from bimba.training.recipe.settings import Recipe
from bimba.training.run import train

DRAWN, TRAINED = 0.4, 0.8
"""Shares of a run's time that are over, roughly, when its videos are drawn (if no run before had them), and when it is
trained."""
Work = Literal["drawing", "training", "measuring"]


@dataclass(frozen=True)
class Progress:
    """How far an ablation is.

    Attributes:
        run: name of the run.
        number: of the run, from 1.
        num_runs: all of them.
        stage: what goes on.
        share: of all work that is done, 0 to 1.
        found: share of all work that was done before this command.
    """

    run: str
    number: int
    num_runs: int
    stage: Work | Literal["done"]
    share: float
    found: float


class Steps(Silent):
    """A watcher of training that hands on what goes on, and the share of a run that is done.

    Args:
        tell: takes them.
    """

    def __init__(self, tell: Callable[[Work, float], None]) -> None:
        self._tell, self._before = tell, 0.0

    def stage(self, name: str, done: int, total: int) -> None:
        """A video was drawn and seen."""
        if name == FILLING:
            self._before = DRAWN * done / total
            self._tell("drawing", self._before)

    def report(self, report: Report) -> None:
        """A step was logged."""
        self._tell("training", self._before + (TRAINED - self._before) * report.step / report.num_steps)


def carry_out(
    run: Run,
    recipe: Recipe,
    facts: Mapping[str, str],
    *,
    out: Path,
    videos: int,
    tell: Callable[[Work, float], None],
) -> dict[str, Any]:
    """Train a run, or go on with it; ask what it has learned; write that down.

    Args:
        run: of the plan.
        recipe: of the run.
        facts: what decides its result.
        out: folder of the ablation.
        videos: with a pair of needles that it is asked about.
        tell: told what goes on, and how much of the run is done.

    Returns:
        the contents of its result.json.

    Raises:
        InputError: the run's folder holds something else, or settings do not fit the model.
        TrainingError: a loss is no number, or something could not be written.
    """
    folder = out / RUNS / run.name
    tokens, parameters = sizes_of(recipe)
    goes_on = whole_checkpoint(folder) is not None or (folder / "model").is_dir()
    tell("training", 0.0)
    began = time.monotonic()
    outcome = train(recipe, Steps(tell))
    seconds = None if goes_on else round(time.monotonic() - began, 1)
    tell("measuring", TRAINED)
    measured = measure(
        outcome.folder,
        videos,
        folder / "measured",
        lambda done, total: tell("measuring", TRAINED + (1 - TRAINED) * done / total),
    )
    result = {
        "contender": run.contender,
        "compression": run.compression,
        "seed": run.seed,
        "tokens": tokens,
        "compressor_parameters": parameters,
        "measured": measured,
        "training": {"steps": outcome.steps, "seconds": seconds, "curve": curve_of(folder)},
        "fingerprint": fingerprint(facts),
        "facts": dict(facts),
        "recipe": recipe_as_yaml(recipe),
        "provenance": code_and_machine() | {"num_threads": torch.get_num_threads()},
    }
    write_result(out, run, result)
    return result


def sizes_of(recipe: Recipe) -> tuple[int, int]:
    """Tokens of a video that the language model reads, and weights of the compressor.

    Raises:
        InputError: the compressor does not fit the model that the recipe starts from.
        CheckpointError: that model is not there.
    """
    config, processor = read_bimba_outline(recipe)
    try:
        with torch.device("meta"):
            compressor = build_compressor(config)
    except ValueError as error:
        raise InputError(
            f"a compressor of the ablation does not fit the model: {error}", fix="start from bimba-nano."
        ) from error
    return processor.num_video_tokens(FRAMES), sum(weight.numel() for weight in compressor.parameters())


def curve_of(folder: Path) -> list[tuple[int, float]]:
    """Step and loss of each logged step."""
    return [(int(line["step"]), round(line["loss"], 6)) for line in read_log(folder / LOG_NAME)]
