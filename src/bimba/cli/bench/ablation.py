"""`bimba bench ablation`: a small model in; what each way to compress buys, with intervals over seeds, out."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bimba.cli import options
from bimba.cli.ask import print_json
from bimba.cli.progress import hush_transformers, waiting
from bimba.cli.units import in_seconds

if TYPE_CHECKING:
    from bimba.ablation import Progress


def ablation(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for runs, tables and pictures.")] = Path(
        "runs/ablation"
    ),
    start: Annotated[str, typer.Option(metavar="MODEL", help="What every run starts from.")] = "bimba-nano",
    seeds: Annotated[int, typer.Option(metavar="N", help="Runs of each; intervals need 3.")] = 3,
    steps: Annotated[int, typer.Option(metavar="N", help="Of training, each run.")] = 400,
    contenders: Annotated[
        str | None,
        typer.Option(metavar="NAME,NAME", help="Some of them only; the scan is always there.", show_default="all"),
    ] = None,
    compressions: Annotated[
        str, typer.Option(metavar="N,N", help='Of the scan and of pooling; "" for none.')
    ] = "4,8,16,32,64",
    videos: Annotated[int, typer.Option(metavar="N", help="With a pair of needles, asked of each run.")] = 320,
    json_: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Compare compressors trained from one small model: scan, its variants, attention, pooling, none.

    Each learns from the same videos and answers the same questions.
    The report says what is separated beyond the intervals, and what is not.
    What is finished in the folder is kept; the same command goes on.
    """
    hushed = quiet or json_
    with waiting("starting", quiet=hushed):
        from bimba.ablation import run_ablation
        from bimba.ablation.settings import parse_factors, parse_names

        hush_transformers(quiet=True)
    try:
        with _shown(quiet=hushed) as report:
            outcome = run_ablation(
                out,
                start=start,
                seeds=seeds,
                steps=steps,
                contenders=None if contenders is None else parse_names(contenders),
                compressions=parse_factors(compressions),
                videos=videos,
                on_progress=report,
            )
    except KeyboardInterrupt:
        print("stopped. Finished runs are kept; the same command goes on from here.", file=sys.stderr)
        raise typer.Exit(130) from None
    if json_:
        print_json(
            {"out": str(out), "num_trained": outcome.num_trained, "num_there": outcome.num_there} | outcome.results
        )
    elif not quiet:
        _print(outcome.results)
        there = f", {outcome.num_there:,} made before" if outcome.num_there else ""
        print(f"\n{outcome.num_trained:,} runs made{there}; the report and pictures are in {out}")


def _print(results: dict[str, Any]) -> None:
    """The table of contenders, that of compressions, and what may be said."""
    from rich.console import Console
    from rich.table import Table

    from bimba.ablation.contenders import CONTENDERS
    from bimba.ablation.report import number
    from bimba.ablation.words import COVERS, MEASURE_WORDS

    console = Console(highlight=False)
    table = Table("", "tokens", "seeds", *MEASURE_WORDS.values())
    for name, row in results["contenders"].items():
        measures = (number(row[measure]) for measure in MEASURE_WORDS)
        table.add_row(CONTENDERS[name].label, f"{row['tokens']:,}", str(len(row["seeds"])), *measures)
    console.print(table)
    if any(len(rows) > 1 for rows in results["compressions"].values()):
        table = Table("", "compression", "tokens", "seeds", *MEASURE_WORDS.values())
        for name, rows in results["compressions"].items():
            for factor, row in rows.items():
                measures = (number(row[measure]) for measure in MEASURE_WORDS)
                table.add_row(
                    CONTENDERS[name].label, f"{factor}x", f"{row['tokens']:,}", str(len(row["seeds"])), *measures
                )
        console.print(table)
    for measure, sentences in results["conclusions"].items():
        console.print(f"\n{MEASURE_WORDS[measure]}:", *(f"  {sentence}" for sentence in sentences), sep="\n")
    console.print(f"\n{COVERS}")


@contextmanager
def _shown(*, quiet: bool) -> "Iterator[Callable[[Progress], None]]":
    """A bar on a terminal, or a line a run in a log file; both tell the time that is left, on stderr."""
    began = time.monotonic()
    if quiet or not sys.stderr.isatty():

        def line(progress: "Progress") -> None:
            if progress.stage == "done" and not quiet:
                words = f"run {progress.number} of {progress.num_runs}: {progress.run}{_left(progress, began)}"
                print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {words}", file=sys.stderr, flush=True)

        yield line
        return
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as ProgressBar

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with ProgressBar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading the model", total=1.0)

        def report(progress: "Progress") -> None:
            words = f"{progress.number} of {progress.num_runs}: {progress.run}, {progress.stage}"
            bar.update(task, description=words + _left(progress, began), completed=progress.share)

        yield report


def _left(progress: "Progress", began: float) -> str:
    """The time that remains, from what this command has done so far."""
    done = progress.share - progress.found
    if done <= 0 or progress.share >= 1:
        return ""
    return f", {in_seconds((time.monotonic() - began) / done * (1 - progress.share))} left"
