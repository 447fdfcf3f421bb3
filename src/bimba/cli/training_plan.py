"""A recipe in; what its run would do, found without weights and without writing anything, out."""

import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from bimba.cli.units import in_count, in_words
from bimba.errors import InputError
from bimba.models.kinds import model_of
from bimba.needles import read_needles
from bimba.shipped_recipes import shipped_recipes
from bimba.training.data import GlobalOrder, read_samples
from bimba.training.loop.arguments import Batches, batches, training_arguments
from bimba.training.loop.environment import check_environment
from bimba.training.loop.run_folder import RECIPE_NAME, RESULT_NAME, changes, has_begun
from bimba.training.loop.saving import step_of, whole_checkpoint
from bimba.training.model.parts import prepare_parts
from bimba.training.model.start import read_outline_of
from bimba.training.recipe.data_settings import Needles
from bimba.training.recipe.settings import Checkpoint, Parts, Recipe


@dataclass(frozen=True)
class Plan:
    """What a run would do.

    Attributes:
        recipe: as it was named.
        path: its file.
        output: of the run.
        state: what that folder holds: "new", "another run", "finished", or after which step the run goes on.
        model: what training starts from.
        trained: weights that are trained, by part.
        modes: how each of those parts is trained.
        num_all: weights of the model.
        samples: of each file.
        to_make: needle videos that are not there yet, by folder; their samples are not known before.
        steps: optimizer steps; None if it depends on samples that are not known.
        num_processes: that train together.
        batch_size: samples of each of them at a time.
        accumulation: such batches for one step.
        global_batch_size: samples of one step.
        epochs: passes over the samples; None if it depends on samples that are not known.
        frames: of a video at most.
        compute: precision and device.
    """

    recipe: str
    path: Path
    output: Path
    state: str
    model: str
    trained: dict[str, int]
    modes: dict[str, str]
    num_all: int
    samples: dict[str, int]
    to_make: dict[str, int]
    steps: int | None
    num_processes: int
    batch_size: int
    accumulation: int
    global_batch_size: int
    epochs: float | None
    frames: int
    compute: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"path": str(self.path), "output": str(self.output)}


def plan_training(name: str, recipe: Recipe) -> Plan:
    """What a recipe comes to on this machine and with these files.

    Raises:
        InputError: settings do not fit each other, the model, or the machine.
        CheckpointError: small files of the model are missing or damaged.
    """
    check_environment(on_cpu=recipe.compute.device == "cpu")
    num_processes = int(os.environ.get("WORLD_SIZE", "1"))
    if num_processes == 1:
        _check_names(recipe)  # several processes would meet there
    dealt = batches(recipe, num_processes)
    config, _ = read_outline_of(recipe)
    with torch.device("meta"):  # weights without values, to be counted
        model = model_of(config)
        trained = prepare_parts(model, recipe.train)
    to_make = _needles_to_make(recipe)
    samples = _samples(recipe)
    steps, epochs = _length(recipe, dealt, None if to_make else sum(samples.values()))
    return Plan(
        recipe=name,
        path=Path(name) if Path(name).is_file() else shipped_recipes()[Path(name).as_posix()],
        output=recipe.output,
        state=_state(recipe),
        model=_start(recipe),
        trained=trained.by_part,
        modes={part: recipe.train.part(part).mode for part in trained.by_part},
        num_all=trained.num_all,
        samples=samples,
        to_make=to_make,
        steps=steps,
        num_processes=num_processes,
        batch_size=recipe.schedule.batch_size,
        accumulation=dealt.accumulation,
        global_batch_size=dealt.global_size,
        epochs=epochs,
        frames=recipe.frames.count,
        compute=_compute(recipe),
    )


def _check_names(recipe: Recipe) -> None:
    """Refuse names that transformers does not know; a GPU may be missing where a run is only planned."""
    on_cpu = recipe.compute.model_copy(update={"device": "cpu"})
    training_arguments(recipe.model_copy(update={"compute": on_cpu}))


def _compute(recipe: Recipe) -> str:
    precision = recipe.compute.precision
    if recipe.compute.device == "auto" and torch.cuda.is_available():
        return f"{precision} on {torch.cuda.get_device_name()}"
    return f"{precision} on the CPU"


def _start(recipe: Recipe) -> str:
    model = recipe.model
    if isinstance(model, Checkpoint):
        return model.path if model.compressor is None else f"{model.path} with a fresh compressor"
    if isinstance(model, Parts):
        return f"{model.vision} and {model.language}, everything between them fresh"
    return "random weights"


def _is_made(needles: Needles) -> bool:
    try:
        manifest = read_needles(needles.folder)
    except InputError:
        return False
    return len(manifest.videos) >= _num_videos(needles)


def _num_videos(needles: Needles) -> int:
    return int(needles.options.get("videos", 1))


def _needles_to_make(recipe: Recipe) -> dict[str, int]:
    all_needles = [source.needles for source in recipe.data.sources if source.needles is not None]
    return {str(needles.folder): _num_videos(needles) for needles in all_needles if not _is_made(needles)}


def _samples(recipe: Recipe) -> dict[str, int]:
    """Samples of the sources that are there."""
    there = [source for source in recipe.data.sources if source.needles is None or _is_made(source.needles)]
    return read_samples(there, recipe.schedule.seed).sizes() if there else {}


def _length(recipe: Recipe, dealt: Batches, num_samples: int | None) -> tuple[int | None, float | None]:
    """Steps and epochs, as the trainer counts them."""
    schedule = recipe.schedule
    if num_samples is None:
        return schedule.max_steps, None if schedule.max_steps else schedule.epochs
    order = GlobalOrder(num_samples, dealt.global_size, schedule.seed)
    in_epoch = len(order) // dealt.global_size
    if schedule.max_steps:
        return schedule.max_steps, schedule.max_steps / in_epoch
    return math.ceil(schedule.epochs * in_epoch), schedule.epochs


def _state(recipe: Recipe) -> str:
    """What the output folder holds."""
    run = recipe.output
    if not run.exists() or (run.is_dir() and not any(run.iterdir())):
        return "new"
    if not (run / RECIPE_NAME).is_file():
        return "there already, and no training run; the run would be refused"
    found = changes(recipe)
    if found and not has_begun(run):
        return "a run of another recipe that has made no step; this one takes its place"
    if found:
        return f"a run of another recipe ({found[0]}); the run would be refused"
    if (run / RESULT_NAME).is_dir():
        return "finished already; nothing would be done"
    checkpoint = whole_checkpoint(run)
    return "begun, without a checkpoint" if checkpoint is None else f"goes on after step {step_of(checkpoint)}"


def print_plan(plan: Plan) -> None:
    """Print a plan for people, who find the numbers that they set again."""
    for key, text in _facts(plan):
        print(f"{key:<9}{text}")
    print("nothing was written" + ("; samples were counted, not read (bimba data check does)" if plan.samples else ""))


def _facts(plan: Plan) -> list[tuple[str, str]]:
    facts = [
        ("recipe", str(plan.path)),
        ("output", f"{plan.output} ({plan.state})"),
        ("model", f"{plan.model}, {in_words(plan.num_all)} weights"),
    ]
    facts += [
        ("trained" if number == 0 else "", f"{part}: {plan.modes[part]}, {in_words(count)} weights")
        for number, (part, count) in enumerate(plan.trained.items())
    ]
    data = [f"{in_count(count)} samples of {name}" for name, count in plan.samples.items()]
    data += [f"{in_count(count)} needle videos are made first, in {folder}" for folder, count in plan.to_make.items()]
    facts += [("data" if number == 0 else "", text) for number, text in enumerate(data)]
    processes = "1 process" if plan.num_processes == 1 else f"{plan.num_processes} processes"
    dealt = f"{processes} x {plan.batch_size} at a time x {plan.accumulation} accumulated"
    return [
        *facts,
        ("frames", f"at most {plan.frames} of a video"),
        ("batch", f"{in_count(plan.global_batch_size)} samples a step: {dealt}"),
        ("steps", _steps(plan)),
        ("compute", plan.compute),
    ]


def _steps(plan: Plan) -> str:
    epochs = "" if plan.epochs is None else f"{plan.epochs:.3g} times through the samples"
    if plan.steps is None:
        return f"{epochs}; how many steps is known when the videos are made"
    return f"{in_count(plan.steps)}{f', {epochs}' if epochs else ''}"
