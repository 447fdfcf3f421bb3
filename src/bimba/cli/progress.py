"""What long stages report in, progress bars on the terminal (stderr) out; silent where nobody looks."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol


class Report(Protocol):
    """Told of a stage, how much is done and how much there is; bars appear and move."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Take one report."""


def _nobody_looks(stage: str, done: int, total: int) -> None:
    """Take a report and show nothing."""


@contextmanager
def bars(labels: dict[str, str], *, quiet: bool, unit: str = "count") -> Iterator[Report]:
    """Progress bars that vanish when the block ends.

    Args:
        labels: what each stage is called on the terminal.
        quiet: show nothing.
        unit: "count" or "bytes".
    """
    if quiet or not sys.stderr.isatty():
        yield _nobody_looks
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    amount: Any = DownloadColumn() if unit == "bytes" else MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), amount, TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        tasks = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = progress.add_task(labels[stage], total=total)
            progress.update(tasks[stage], completed=done, total=total)

        yield report


@contextmanager
def waiting(what: str, *, quiet: bool) -> Iterator[None]:
    """A spinner on stderr while something of unknown length goes on."""
    if quiet or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield


def hush_transformers(*, quiet: bool) -> None:
    """Leave out transformers' own bars where ours are not shown, and what it says to developers always."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    if quiet or not sys.stderr.isatty():
        transformers_logging.disable_progress_bar()
