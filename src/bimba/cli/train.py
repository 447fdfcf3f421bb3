"""`bimba train`: a recipe and changes to it in; a trained model in its folder, and what the run came to, out."""

import importlib.util
import logging
import math
import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bimba.cli import options
from bimba.cli.ask import print_json
from bimba.cli.progress import hush_transformers, waiting
from bimba.cli.training_progress import watching
from bimba.cli.units import in_count
from bimba.errors import InputError, TrainingError

if TYPE_CHECKING:
    from bimba.training.recipe.settings import Recipe
    from bimba.training.run import Outcome

_NEEDED = {"accelerate": "accelerate", "peft": "peft", "yaml": "PyYAML"}
"""Packages of the extra by the modules they hold."""

_MOST_NAMED = 20
_PATIENCE = 5.0
"""Seconds in which a launcher ends the other processes once the first has failed."""

RecipeName = Annotated[
    str | None,
    typer.Argument(
        metavar="[RECIPE]",
        help="A YAML file, or the name of a shipped recipe; without it, those are listed.",
        show_default=False,
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Other settings than the recipe's, e.g. schedule.max_steps=10."),
]


def train(
    recipe: RecipeName = None,
    overrides: Overrides = None,
    list_: Annotated[bool, typer.Option("--list", help="List the shipped recipes.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done; read no weights, write nothing.")
    ] = False,
    json_: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Train a model as a recipe says.

    A run that was interrupted goes on by the same command.

    On several GPUs: torchrun --nproc-per-node N -m bimba train RECIPE
    """
    if recipe is None or list_:
        _print_recipes(json_=json_)
        return
    # Threads of torch that wait would keep the cores busy on which samples are made; read when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    rank = int(os.environ.get("RANK", "0"))  # launchers set it; the process group is not there yet
    hushed = quiet or json_ or rank > 0
    with _first_speaks(rank):
        _check_packages()
        with waiting("reading the recipe", quiet=hushed):
            settings = _read(recipe, overrides or [], rank)
        if dry_run:
            _plan(settings, [recipe, *(overrides or [])], hushed=hushed, json_=json_, silent=rank > 0)
            return
        outcome = _run(settings, hushed=hushed, rank=rank)
    if rank == 0 and json_:
        print_json(_record(outcome))
    elif not hushed:
        _print_outcome(settings, outcome)


def _print_recipes(*, json_: bool) -> None:
    """The recipes that come with the package, each with the first line of its file."""
    from rich.console import Console
    from rich.table import Table

    from bimba.shipped_recipes import shipped_recipes

    recipes = dict(sorted(shipped_recipes().items(), key=lambda item: ("/" in item[0], item[0])))  # variants last
    summaries = {name: _summary(path) for name, path in recipes.items()}
    if json_:
        print_json({name: {"path": str(recipes[name]), "summary": text} for name, text in summaries.items()})
        return
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column()
    for name, text in summaries.items():
        table.add_row(name, text)
    Console(highlight=False).print(table)
    print("\nnext: bimba train cpu --dry-run, or bimba train FILE.yaml")


def _summary(path: Path) -> str:
    """The first line of the comment that a recipe begins with."""
    with path.open(encoding="utf-8") as file:
        return file.readline().lstrip("# ").strip()


@contextmanager
def _first_speaks(rank: int) -> Iterator[None]:
    """Let the first of several processes tell what went wrong.

    The others usually fail for the same reason, or because the first is gone. They wait for the launcher to end them;
    if it does not, the first is well and the error is their own.
    """
    try:
        yield
    except typer.Exit:
        raise
    except Exception:  # whatever ends a process, it is raised again, after the first one has told its own
        if rank:
            time.sleep(_PATIENCE)
            print(f"process {rank}:", file=sys.stderr)
        raise


def _check_packages() -> None:
    missing = [name for module, name in _NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise InputError(
            f"training needs {' and '.join(missing)}, which {verb} not installed.", fix='pip install "bimba[train]"'
        )


def _read(recipe: str, overrides: list[str], rank: int) -> "Recipe":
    """The recipe with its changes; transformers keeps to itself."""
    if "=" in recipe and not Path(recipe).exists():
        raise InputError(
            f"{recipe} changes a recipe, but none is named before it.",
            fix="bimba train RECIPE KEY=VALUE; bimba train --list names the shipped ones.",
        )
    from bimba.training.recipe.reading import read_recipe

    hush_transformers(quiet=True)
    root = logging.getLogger()
    if rank and root.level >= logging.INFO:
        root.setLevel(logging.ERROR)  # the first process warns of the same
    return read_recipe(recipe, overrides)


def _run(settings: "Recipe", *, hushed: bool, rank: int) -> "Outcome":
    """Train, shown on the terminal."""
    with waiting("starting", quiet=hushed):
        import torch

        from bimba.training.run import train as train_model
    try:
        with watching(quiet=hushed) as watcher:
            return train_model(settings, watcher)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # launchers send a second one after the terminal's
        if rank == 0:
            print(f"stopped. {_how_to_go_on(settings.output)}", file=sys.stderr)
        raise typer.Exit(130) from None
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            f"the GPU's memory is full: {str(error).splitlines()[0]}",
            fix="take fewer samples at a time (schedule.batch_size=1 schedule.accumulation=N), fewer frames "
            "(frames.count=N) or compute.gradient_checkpointing=true.",
        ) from error


def _how_to_go_on(output: Path) -> str:
    from bimba.training.loop.saving import whole_checkpoint

    checkpoint = whole_checkpoint(output)
    if checkpoint is None:
        return "There is no checkpoint yet; the same command begins anew (save.every=STEPS saves more often)."
    return f"The same command goes on from {checkpoint}."


def _plan(settings: "Recipe", words: list[str], *, hushed: bool, json_: bool, silent: bool) -> None:
    """Show what would be done; `words` are those of the command."""
    from bimba.cli.training_plan import plan_training, print_plan

    with waiting("reading the data and the model's small files", quiet=hushed):
        plan = plan_training(words[0], settings)
    if json_ and not silent:
        print_json(plan.to_dict())
    elif not silent:
        print_plan(plan)
        print(f"next: bimba train {shlex.join(words)}")


def _samples_seen(folder: Path) -> int:
    from bimba.training.loop.counting import read_counts

    return read_counts(folder.parent).samples


def _record(outcome: "Outcome") -> dict[str, Any]:
    """What a script needs; JSON has no numbers for losses that are none."""
    first, last = (None if math.isnan(loss) else loss for loss in outcome.losses)
    return {
        "folder": str(outcome.folder),
        "steps": outcome.steps,
        "losses": {"first": first, "last": last},
        "samples_seen": _samples_seen(outcome.folder),
        "failed": outcome.failed,
        "was_finished": outcome.was_finished,
    }


def _print_outcome(settings: "Recipe", outcome: "Outcome") -> None:
    if outcome.was_finished:
        print(f"{settings.output} is finished already; nothing to do")
    first, last = outcome.losses
    print(f"model: {outcome.folder}")
    losses = "no loss was logged" if math.isnan(first) else f"loss {first:.4g} at first, {last:.4g} at last"
    print(f"{in_count(outcome.steps)} steps; {losses}")
    seen, failed = in_count(_samples_seen(outcome.folder)), outcome.failed
    print(f"{seen} samples seen, {in_count(len(failed))} failed")
    for name, reason in list(failed.items())[:_MOST_NAMED]:
        print(f"  {name}: {reason}")
    if len(failed) > _MOST_NAMED:
        from bimba.training.loop.counting import COUNTS_NAME

        print(f"  and {in_count(len(failed) - _MOST_NAMED)} more; all are in {settings.output / COUNTS_NAME}")
    print(f'next: bimba ask VIDEO "What happens?" --model {shlex.quote(str(outcome.folder))}')
