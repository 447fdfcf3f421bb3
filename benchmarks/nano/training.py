"""A folder for runs in, its stages trained out; what was interrupted goes on, what is finished stays."""

from pathlib import Path

from benchmarks.nano.commands import run_bimba
from benchmarks.nano.stages import STAGES, State, state_of
from bimba.training.loop.run_folder import RESULT_NAME


def train_stages(runs: Path) -> None:
    """Train what is not trained yet, stage by stage.

    Raises:
        Stopped: it was interrupted.
        CommandError: a stage failed.
    """
    before: Path | None = None
    for name in STAGES:
        folder = runs / name
        if state_of(folder) is State.FINISHED:
            print(f"stage {name} is finished")
        else:
            run_bimba("train", f"nano/{name}", f"output={folder}", *_start(before))
        before = folder / RESULT_NAME


def _start(before: Path | None) -> tuple[str, ...]:
    """The model that a stage starts from; the first starts from random weights."""
    return () if before is None else (f"model.path={before}",)
