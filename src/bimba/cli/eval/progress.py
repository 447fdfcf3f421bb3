"""How far a run is in, a progress bar on the terminal out."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bimba.evaluation.running import Progress


@contextmanager
def question_bar(*, quiet: bool, name: str = "questions") -> "Iterator[Callable[[Progress], None]]":
    """A progress bar that tells how long it will take, and vanishes.

    Args:
        quiet: show nothing.
        name: what it is called.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as ProgressBar

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left:"),
        TimeRemainingColumn(),
    )  # fmt: skip
    console = Console(stderr=True)
    with ProgressBar(*columns, console=console, transient=True, disable=quiet or not sys.stderr.isatty()) as bar:
        task = bar.add_task("loading the model", total=None)

        def report(progress: "Progress") -> None:
            failed = f", {progress.failed:,} failed" if progress.failed else ""
            bar.update(task, description=f"{name}{failed}", completed=progress.answered, total=progress.total)

        yield report
