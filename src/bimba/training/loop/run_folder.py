"""A recipe in, its run's folder out: claimed for this run alone, or refused, or found finished.

The folder:

    recipe.yaml         what the run does, every setting written out
    run.json            which samples it trains on, and how many a step has
    log.jsonl           a line for each logged step
    counts.json         what was seen, and unreadable samples by name
    lengths.json        tokens of each sample, if samples of like length are batched
    checkpoint-120/     trained weights, optimizer, random states, counts (see `saving`)
    torn-checkpoint-N/  one that was damaged
    model/              the result, once the run is finished
"""

import json
import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bimba.errors import InputError, TrainingError
from bimba.files import alone, write_whole
from bimba.training.data.store import SampleStore
from bimba.training.loop.environment import gathered
from bimba.training.loop.saving import clear, whole_checkpoint
from bimba.training.loop.watching import LOG_NAME
from bimba.training.recipe.reading import differences, read_recipe, recipe_as_yaml
from bimba.training.recipe.settings import Recipe

RECIPE_NAME, RUN_NAME, RESULT_NAME = "recipe.yaml", "run.json", "model"
_ELSEWHERE = "wait for it, end it, or name another folder: output=DIR"

MAY_CHANGE = (
    "output", "log.", "save.every", "save.keep", "data.workers", "data.prefetch", "data.cache", "data.max_failed",
    "data.keep_tokens",
    "schedule.batch_size", "schedule.accumulation", "schedule.global_batch_size",
)  # fmt: skip
"""Settings that a run may go on with other values of: beyond rounding they change nothing of what is learned, as long
as a step has as many samples as before, which is checked by itself."""


@dataclass(frozen=True)
class Claim:
    """What was found in a folder.

    Args:
        is_finished: the result is there, and nothing is to do.
        checkpoint: from which the run goes on, None from its beginning.
    """

    is_finished: bool
    checkpoint: Path | None


def claim(recipe: Recipe, held: ExitStack) -> Claim:
    """Make the output folder this run's, and find out how far it is.

    Args:
        recipe: of the run.
        held: keeps other runs out of the folder until it is closed.

    Raises:
        InputError: the folder holds another run or something else, or is trained in right now.
        TrainingError: it cannot be written.
    """
    run = recipe.output
    if (run / RECIPE_NAME).exists():
        found = changes(recipe) if has_begun(run) else []
        if found:
            raise InputError(
                f"{run} holds a run of another recipe:\n    " + "\n    ".join(found),
                fix="name another folder (output=DIR), or give the same recipe to go on.",
            )
        if (run / RESULT_NAME).is_dir():
            return Claim(is_finished=True, checkpoint=None)
    elif run.exists() and (not run.is_dir() or any(not path.name.startswith(".") for path in run.iterdir())):
        raise InputError(f"{run} is there already, and is no training run.", fix="name a new folder: output=DIR")
    try:
        run.mkdir(parents=True, exist_ok=True)
        held.enter_context(alone(run, f"another process is training in {run}.", fix=_ELSEWHERE))
        if not has_begun(run):
            (run / RUN_NAME).unlink(missing_ok=True)  # no step has seen these samples
        write_whole(run / RECIPE_NAME, recipe_as_yaml(recipe))
        checkpoint = whole_checkpoint(run)
        clear(run, checkpoint)
        for partial in run.glob(f".{RESULT_NAME}-*"):  # a result that was interrupted while it was written
            shutil.rmtree(partial)
    except OSError as error:
        raise TrainingError(f"{run} cannot be written: {error}.", fix="name a folder you may write to.") from error
    return Claim(is_finished=False, checkpoint=checkpoint)


def has_begun(run: Path) -> bool:
    """Whether a step was logged or saved; before, a recipe may be mended in its place."""
    log = run / LOG_NAME
    return (log.is_file() and log.stat().st_size > 0) or any(run.glob("*checkpoint-*")) or (run / RESULT_NAME).is_dir()


def changes(recipe: Recipe) -> list[str]:
    """Settings that the run in the output folder has other values of, as far as they matter."""
    found = differences(read_recipe(recipe.output / RECIPE_NAME), recipe)
    return [line for line in found if not line.startswith(MAY_CHANGE)]


def check_shared(recipe: Recipe) -> None:
    """Refuse a folder that only some machines of a run can see; all processes call it.

    Raises:
        InputError: it is not the same folder everywhere.
    """
    seen = gathered([(recipe.output / RECIPE_NAME).is_file()])
    if not all(seen):
        raise InputError(
            f"{seen.count(False)} of {len(seen)} processes do not see the run in {recipe.output}.",
            fix="name a folder that all machines share: output=DIR",
        )


def check_data(recipe: Recipe, store: SampleStore, global_batch: int) -> None:
    """Write down which samples a run trains on, or see that they are those that it began with.

    Raises:
        InputError: they are others, or a step has more or fewer of them.
    """
    place = recipe.output / RUN_NAME
    ours = {"samples": len(store), "fingerprint": store.fingerprint(), "global_batch": global_batch}
    if not place.exists():
        write_whole(place, json.dumps(ours) + "\n")
        return
    theirs = json.loads(place.read_text(encoding="utf-8"))
    if theirs["global_batch"] != global_batch:
        raise InputError(
            f"the run in {recipe.output} began with {theirs['global_batch']} samples a step; with these processes it "
            f"would have {global_batch}.",
            fix=f"go on with as many processes as before, or set schedule.global_batch_size={theirs['global_batch']}.",
        )
    if theirs != ours:
        other = ", with other contents" if theirs["samples"] == ours["samples"] else ""
        raise InputError(
            f"the samples are not those that the run in {recipe.output} began with: {theirs['samples']} then, "
            f"{ours['samples']} now{other}.",
            fix="restore the files, or name another folder (output=DIR) to begin anew.",
        )
