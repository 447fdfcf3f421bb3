"""`bimba eval run NAME`: a prepared benchmark, a model and videos in; answers, a report and a picture out."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bimba.cli import options
from bimba.cli.ask import print_json
from bimba.cli.eval.progress import question_bar
from bimba.cli.grouping import grouped
from bimba.cli.naming import model_or_default
from bimba.cli.progress import hush_transformers, waiting

if TYPE_CHECKING:
    from bimba.evaluation.running import BenchmarkEvaluation, Checked

_ASKED, _RUN = "How it is asked", options.RUN_PANEL


@grouped
def benchmark(
    name: Annotated[
        str,
        typer.Argument(
            help="Name of a benchmark that `bimba eval prepare` prepared.", metavar="BENCHMARK", show_default=False
        ),
    ],
    videos: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder of its videos.", rich_help_panel=_RUN, show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="Folder for the results.", rich_help_panel=_RUN, show_default=False)],
    *,
    model: options.MeasuredModel,
    frames_as: Annotated[
        str, typer.Option(help="video or images: what a model of others is given.", rich_help_panel=_ASKED)
    ] = "video",
    frames: Annotated[int, typer.Option(metavar="N", help="At most so many a video.", rich_help_panel=_ASKED)] = 64,
    sampling: Annotated[str, typer.Option(help="uniform, or fps: one a second.", rich_help_panel=_ASKED)] = "uniform",
    prompt: Annotated[
        str, typer.Option(help="released (the public code's) or official (the benchmark's).", rich_help_panel=_ASKED)
    ] = "released",
    time_sentence: Annotated[
        bool, typer.Option("--time-sentence", help="Tell the model when the frames are.", rich_help_panel=_ASKED)
    ] = False,
    score: Annotated[
        str,
        typer.Option(help="generate (an answer in words) or likelihood (of each letter).", rich_help_panel=_ASKED),
    ] = "generate",
    extract: Annotated[
        str, typer.Option(help="Read answers by option, or by the released rule.", rich_help_panel=_ASKED)
    ] = "option",
    subtitles: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the subtitles.", rich_help_panel=_RUN)
    ] = None,
    prepared: Annotated[
        Path | None, typer.Option(metavar="DIR", help="What `bimba eval prepare --out` wrote.", rich_help_panel=_RUN)
    ] = None,
    limit: Annotated[
        int | None, typer.Option(metavar="N", help="Only the first so many questions.", rich_help_panel=_RUN)
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything and ask nothing.", rich_help_panel=_RUN)
    ] = False,
    batch_size: options.BatchSize = 8,
    printing: options.PrintOptions,
) -> None:
    """Ask a model the questions of a benchmark, once each, and score the answers as its authors do.

    A run that was interrupted is continued by the same command. Several processes may share a folder: start the command
    several times, or with torchrun or accelerate launch.
    """
    hushed = printing.hushed
    named = model_or_default(model.model, quiet=hushed)
    with waiting("starting", quiet=hushed):
        from bimba.evaluation.running import BenchmarkEvaluation, check_model, check_run, run_benchmark

        hush_transformers(quiet=True)
        settings = BenchmarkEvaluation.checked(
            {
                "benchmark": name,
                "model": named,
                "base": model.base,
                "dtype": model.dtype,
                "temporal_pooling": model.temporal_pooling,
                "frames_as": frames_as,
                "frames": frames,
                "sampling": sampling,
                "prompt": prompt,
                "time_sentence": time_sentence,
                "score": score,
                "extract": extract,
            }
        )
    if dry_run:
        with waiting("looking for questions and folders", quiet=hushed):
            checked = check_run(
                settings, videos, prepared=prepared, subtitles=subtitles, batch_size=batch_size, limit=limit
            )
            check_model(settings)
        _look_into_videos(settings, checked, videos, printing)
        return
    try:
        with question_bar(quiet=hushed) as report:
            ran = run_benchmark(
                settings,
                out,
                videos,
                prepared=prepared,
                subtitles=subtitles,
                device=model.device,
                batch_size=batch_size,
                limit=limit,
                on_progress=report,
            )
    except KeyboardInterrupt:
        print("stopped. The same command goes on from here.", file=sys.stderr)
        raise typer.Exit(130) from None
    if printing.json_:
        print_json({"out": str(out), "num_asked": ran.num_asked, "num_there": ran.num_there, "results": ran.results})
    elif not printing.quiet:
        _tell(ran.results, out, ran.num_asked, ran.num_there)


def _tell(results: "dict[str, object] | None", out: Path, num_asked: int, num_there: int) -> None:
    there = f", {num_there:,} were answered before" if num_there else ""
    if results is None:
        print(
            f"{num_asked:,} questions asked{there}; other processes are still at work, the last one writes the report"
        )
        return
    from bimba.cli.eval.scores import print_scores

    print_scores(results)
    print(f"{num_asked:,} questions asked{there}; report.md, accuracy.png and all answers are in {out}")
    print(f"next: bimba eval show {shlex.quote(str(out))}")


def _look_into_videos(
    settings: "BenchmarkEvaluation", run: "Checked", videos: Path, printing: options.PrintOptions
) -> None:
    """Look into the videos, and tell how many questions can be asked."""
    from bimba.cli.progress import bars
    from bimba.evaluation.benchmarks import check_videos

    with bars({"videos": "looking into videos"}, quiet=printing.hushed) as report:
        checked = check_videos(
            run.wanted, videos, run.benchmark, on_video=lambda done, all_: report("videos", done, all_)
        )
    asked = [
        each for each in run.wanted if each.video in checked.found and each.footage.title not in checked.unreadable
    ]
    told = {
        "settings": settings.model_dump(mode="json"),
        "questions": len(run.wanted),
        "can_be_asked": len(asked),
        "missing": list(checked.missing),
        "unreadable": checked.unreadable,
    }
    if printing.json_:
        print_json(told)
    elif not printing.quiet:
        print(
            f"{run.benchmark.title}: {len(asked):,} of {told['questions']:,} questions can be asked of {settings.model}"
        )
        print(f"  videos: {len(checked.found):,} can be read, {len(checked.missing):,} are missing, "
              f"{len(checked.unreadable):,} are unreadable (--json lists them)")  # fmt: skip
    if checked.missing or checked.unreadable:
        raise typer.Exit(1)
