"""`bimba eval run needles`: a model in, how well it answers questions about videos that nobody stored out."""

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bimba.cli import options
from bimba.cli.ask import print_json
from bimba.cli.grouping import grouped
from bimba.cli.naming import model_or_default
from bimba.cli.progress import hush_transformers, waiting

if TYPE_CHECKING:
    from bimba.evaluation.needles import Progress

_QUESTIONS, _VIDEOS, _RUN = "The questions", "The videos", options.RUN_PANEL


@grouped
def needles(
    out: Annotated[Path, typer.Option(help="Folder for the results.", rich_help_panel=_RUN)],
    *,
    model: options.MeasuredModel,
    spatial_pooling: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Average N x N patches into one: fewer tokens.", min=1, rich_help_panel="The model"
        ),
    ] = None,
    frames: Annotated[
        str, typer.Option(metavar="N,N", help="Lengths; every frame is seen.", rich_help_panel=_VIDEOS)
    ] = "64,128,256,512",
    videos: Annotated[int, typer.Option(help="How many of each length.", rich_help_panel=_VIDEOS)] = 16,
    size: Annotated[
        str,
        typer.Option(
            metavar="WxH", help="Width and height in pixels; several in turns: 128x72,96x96.", rich_help_panel=_VIDEOS
        ),
    ] = "128x72",
    seed: Annotated[int, typer.Option(help="The same seed asks the same questions.", rich_help_panel=_VIDEOS)] = 9590,
    needles_: Annotated[
        str,
        typer.Option("--needles", metavar="N or N-N", help="In each video, or a range.", rich_help_panel=_VIDEOS),
    ] = "2-6",
    needle_kinds: Annotated[
        str,
        typer.Option(
            metavar="KIND,KIND",
            help="What needles may be: shape, digit, letter, caption, picture.",
            rich_help_panel=_VIDEOS,
        ),
    ] = "shape,digit,letter,caption",
    pictures: Annotated[
        Path | None,
        typer.Option(help="Folder of pictures that needles may be, too; else OpenMoji's.", rich_help_panel=_VIDEOS),
    ] = None,
    haystack: Annotated[
        Path | None,
        typer.Option(help="Folder of your own videos to hide the needles in.", rich_help_panel=_VIDEOS),
    ] = None,
    questions: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="How many each video gets, if not one of each kind that it allows.",
            rich_help_panel=_QUESTIONS,
        ),
    ] = None,
    unknown: Annotated[
        float,
        typer.Option(help="Questions that it does not answer, so many each video.", rich_help_panel=_QUESTIONS),
    ] = 1.0,
    limit: Annotated[
        int | None,
        typer.Option(metavar="N", help="Stop after so many questions; a later run goes on.", rich_help_panel=_RUN),
    ] = None,
    batch_size: options.BatchSize = 16,
    printing: options.PrintOptions,
) -> None:
    """Ask a model about needle videos, in words and by likelihood of the options.

    The videos are drawn as they are asked about, and not stored.

    A run that was interrupted is continued by the same command.
    """
    hushed = printing.hushed
    named = model_or_default(model.model, quiet=hushed)
    with waiting("starting", quiet=hushed):
        from bimba.evaluation.needles import NeedleEvaluation, evaluate_needles
        from bimba.evaluation.needles.settings import parse_frames
        from bimba.needles.settings import parse_kinds

        hush_transformers(quiet=True)
        kinds = parse_kinds(needle_kinds)
        if pictures is not None and "picture" not in kinds:
            kinds = (*kinds, "picture")
        settings = NeedleEvaluation.checked(
            {
                "model": named,
                "base": model.base,
                "dtype": model.dtype,
                "temporal_pooling": model.temporal_pooling,
                "spatial_pooling": spatial_pooling,
                "seed": seed,
                "frames": parse_frames(frames),
                "videos": videos,
                "sizes": size.split(","),
                "questions": questions,
                "unknown": unknown,
                "needles": needles_,
                "needle_kinds": kinds,
                "pictures": pictures,
                "haystack": haystack,
            }
        )
    try:
        with _bar(quiet=hushed) as report:
            outcome = evaluate_needles(
                settings, out, device=model.device, batch_size=batch_size, limit=limit, on_progress=report
            )
    except KeyboardInterrupt:
        print("stopped. The same command goes on from here.", file=sys.stderr)
        raise typer.Exit(130) from None
    if printing.json_:
        head = {"out": str(out), "num_asked": outcome.num_asked, "num_there": outcome.num_there}
        print_json(head | outcome.results)
    elif not printing.quiet:
        from bimba.cli.eval.printed import print_results

        print_results(outcome.results)
        there = f", {outcome.num_there:,} were answered before" if outcome.num_there else ""
        print(f"{outcome.num_asked:,} questions asked{there}; tables and pictures are in {out}")
        print(f"next: bimba eval show {shlex.quote(str(out))}")


@contextmanager
def _bar(*, quiet: bool) -> "Iterator[Callable[[Progress], None]]":
    """A progress bar that tells how long it will take, and vanishes."""
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as ProgressBar

    columns = (
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TextColumn("left:"),
        TimeRemainingColumn(),
    )  # fmt: skip
    console = Console(stderr=True)
    with ProgressBar(*columns, console=console, transient=True, disable=quiet or not sys.stderr.isatty()) as bar:
        task = bar.add_task("loading the model", total=None)

        def report(progress: "Progress") -> None:
            words = f"{progress.questions:,} questions answered"
            bar.update(task, description=words, completed=progress.done, total=progress.total)

        yield report
