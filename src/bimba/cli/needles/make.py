"""`bimba needles make`: options in, a folder of needle videos with questions out, and what was written."""

import json
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bimba.cli import options
from bimba.cli.grouping import grouped
from bimba.cli.needles import choices

if TYPE_CHECKING:
    from bimba.needles import NeedleRun


@grouped
def make(
    out: Annotated[Path, typer.Option(help="Folder for the videos and needles.json.")],
    *,
    seed: choices.Seed = 0,
    videos: choices.Videos = 1,
    drawn: choices.VideoOptions,
    codec: Annotated[str, typer.Option(help="Any video encoder of PyAV: libx264, libvpx-vp9, ffv1, ...")] = "libx264",
    pixel_format: Annotated[str, typer.Option(help="How the encoder stores a pixel.")] = "yuv420p",
    container: Annotated[str | None, typer.Option(help="mp4, mkv or webm; by default the codec's usual one.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace another run in the folder.")] = False,
    printing: options.PrintOptions,
) -> None:
    """Make videos into which something is put for a moment, and questions about it.

    A run that was interrupted is continued by the same command.
    """
    # Imported on use: `bimba --help` shall not wait for numpy, PyAV and Pillow.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as ProgressBar

    from bimba.needles import Progress, make_needles

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with ProgressBar(
        *columns, console=Console(stderr=True), transient=True, disable=printing.quiet or not sys.stderr.isatty()
    ) as bar:
        task = bar.add_task("needle videos", total=None)

        def show(progress: Progress) -> None:
            bar.update(
                task,
                description=f"video {progress.video + 1} of {progress.num_videos}",
                total=progress.num_videos * progress.num_frames,
                completed=progress.video * progress.num_frames + progress.frame,
            )

        run = make_needles(
            out,
            seed=seed,
            videos=videos,
            **asdict(drawn),
            codec=codec,
            pixel_format=pixel_format,
            container=container,
            overwrite=overwrite,
            on_progress=show,
        )
    if printing.json_:
        _print_json(run)
    elif not printing.quiet:
        _print_text(run)


def _print_json(run: "NeedleRun") -> None:
    """Print what a script needs to go on, as one JSON object."""
    videos = run.manifest.videos
    summary = {
        "out": str(run.folder),
        "needles": str(run.folder / "needles.json"),
        "videos": [str(run.folder / video.file) for video in videos],
        "num_videos": len(videos),
        "num_written": run.num_written,
        "num_skipped": run.num_skipped,
        "num_needles": sum(len(video.needles) for video in videos),
        "num_questions": sum(len(video.questions) for video in videos),
    }
    print(json.dumps(summary, ensure_ascii=False))


def _print_text(run: "NeedleRun") -> None:
    """Print what was written and a command to try on it: one that the model that comes along can answer."""
    from bimba.needles import KINDS_WITHOUT_TIMES

    videos = run.manifest.videos
    skipped = f", {run.num_skipped} were there already" if run.num_skipped else ""
    noun = "video" if run.num_written == 1 else "videos"
    print(f"{run.num_written} {noun} written to {run.folder}{skipped}")
    print(f"{sum(len(video.questions) for video in videos)} questions in {run.folder / 'needles.json'}")
    path, questions = run.folder / videos[0].file, videos[0].questions
    asked = next((each for each in questions if each.kind in KINDS_WITHOUT_TIMES), questions[0])
    print(f"next: bimba ask {shlex.quote(str(path))} {shlex.quote(asked.question)}")
