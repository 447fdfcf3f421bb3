"""`bimba eval run RECIPE.yaml`: several benchmarks and folders of videos in; a report of each, and one table, out."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from bimba.cli import options
from bimba.cli.ask import print_json
from bimba.cli.eval.progress import question_bar
from bimba.cli.grouping import grouped
from bimba.cli.progress import hush_transformers, waiting


@grouped
def several(
    recipe: Annotated[Path, typer.Argument(help="YAML file of evaluations.", metavar="RECIPE", show_default=False)],
    videos: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder with a folder of videos for each benchmark.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="Folder for a folder of results of each.", show_default=False)],
    *,
    model: options.OtherModel,
    device: options.Device = "auto",
    subtitles: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder with a folder of subtitles for each benchmark.")
    ] = None,
    limit: Annotated[int | None, typer.Option(metavar="N", help="Only the first so many questions of each.")] = None,
    batch_size: Annotated[int, typer.Option(metavar="N", help="Questions that are read at a time.")] = 8,
    printing: options.PrintOptions,
) -> None:
    """Ask a model the questions of several benchmarks, one after the other; finished ones are not asked again.

    All of them have to be prepared before the first is asked.
    """
    with waiting("starting", quiet=printing.hushed):
        from bimba.evaluation.running import check_run, read_evaluations, run_benchmark

        hush_transformers(quiet=True)
        changes = {name: value for name, value in asdict(model).items() if value is not None}
        evaluations = read_evaluations(recipe, **changes)
        for name, settings in evaluations.items():
            check_run(settings, videos / name, subtitles=_below(subtitles, name), batch_size=batch_size, limit=limit)
    found: dict[str, Any] = {}
    for name, settings in evaluations.items():
        try:
            with question_bar(quiet=printing.hushed, name=name) as report:
                found[name] = run_benchmark(
                    settings,
                    out / name,
                    videos / name,
                    subtitles=_below(subtitles, name),
                    device=device,
                    batch_size=batch_size,
                    limit=limit,
                    on_progress=report,
                ).results
        except KeyboardInterrupt:
            print("stopped. The same command goes on from here.", file=sys.stderr)
            raise typer.Exit(130) from None
    if printing.json_:
        print_json({"out": str(out), "results": found})
    elif not printing.quiet:
        from bimba.cli.eval.scores import print_overview

        print_overview(found)
        print(f"a report of each is in {out}")


def _below(folder: Path | None, name: str) -> Path | None:
    """A folder in a folder, if that is given."""
    return None if folder is None else folder / name
