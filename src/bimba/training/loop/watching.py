"""What the trainer logs in; a file of it, and reports for whoever watches, out."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from bimba.files import write_whole
from bimba.training.loop.environment import is_first
from bimba.training.loop.saving import cannot_write

LOG_NAME = "log.jsonl"


@dataclass(frozen=True)
class Report:
    """How far a run is.

    Attributes:
        step: optimizer steps that are done.
        num_steps: all of them.
        values: loss, grad_norm, learning_rate, samples_per_second, tokens_per_second, waiting_share (of the time, for
            data), samples_seen, samples_failed, memory_gb (at its peak), epoch.
    """

    step: int
    num_steps: int
    values: dict[str, float]


class Watcher(Protocol):
    """Told what a run does; all of it may be ignored."""

    def stage(self, name: str, done: int, total: int) -> None:
        """Something before or after training goes on: "needles", "lengths", "features"."""

    def say(self, message: str) -> None:
        """One line about what was found or decided."""

    def report(self, report: Report) -> None:
        """A step was logged."""


class Silent:
    """A watcher that does not look."""

    def stage(self, name: str, done: int, total: int) -> None:
        """Nothing."""

    def say(self, message: str) -> None:
        """Nothing."""

    def report(self, report: Report) -> None:
        """Nothing."""


class LogFile(TrainerCallback):
    """Writes each logged step as a line of JSON, and hands it on.

    Args:
        run: the run's folder.
        watcher: told, too.
    """

    def __init__(self, run: Path, watcher: Watcher) -> None:
        self.path, self.watcher = run / LOG_NAME, watcher

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any
    ) -> None:
        """Forget lines after the step from which the run goes on: they will be written again."""
        del args, control, others
        if is_first() and self.path.exists():
            kept = [line for line in read_log(self.path) if line["step"] <= state.global_step]
            write_whole(self.path, "".join(json.dumps(line) + "\n" for line in kept))

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **others: Any,
    ) -> None:
        """A line for a step; what the trainer says at its end is no step."""
        del args, control, others
        if logs is None or "loss" not in logs or not is_first():
            return
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": state.global_step, **logs}) + "\n")
        except OSError as error:
            raise cannot_write(self.path, error) from error
        self.watcher.report(Report(state.global_step, state.max_steps, dict(logs)))


def read_log(path: Path) -> list[dict[str, float]]:
    """Lines of a log, none if there is no log; a last one that was cut off is left out."""
    lines: list[dict[str, float]] = []
    if not path.exists():
        return lines
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return lines
