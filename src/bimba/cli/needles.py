"""`bimba needles`: options in, a folder of needle videos with questions out, and what was written on the terminal."""

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from bimba.needles import NeedleRun

app = typer.Typer(help="Videos with hidden pictures and questions whose answers are known.", no_args_is_help=True)


@app.callback()
def _needles() -> None:
    """Videos with hidden pictures and questions whose answers are known."""


@app.command(epilog="Example: bimba needles make --seed 7 --out needles --videos 3 --seconds 120 --needles 6")
def make(
    out: Annotated[Path, typer.Option(help="Folder for the videos and needles.json.")],
    seed: Annotated[int, typer.Option(help="The same seed and options give the same videos.")] = 0,
    videos: Annotated[int, typer.Option(help="How many videos.")] = 1,
    seconds: Annotated[float, typer.Option(help="Length of each video.")] = 60.0,
    size: Annotated[str, typer.Option(metavar="WxH", help="Width and height in pixels.")] = "448x336",
    fps: Annotated[str, typer.Option(help="Frames a second: 25, 29.97, 30000/1001, ...")] = "25",
    codec: Annotated[str, typer.Option(help="Any video encoder of PyAV: libx264, libvpx-vp9, ffv1, ...")] = "libx264",
    pixel_format: Annotated[str, typer.Option(help="How the encoder stores a pixel.")] = "yuv420p",
    container: Annotated[str | None, typer.Option(help="mp4, mkv or webm; by default the codec's usual one.")] = None,
    needles: Annotated[int, typer.Option(help="Needles in each video.")] = 4,
    needle_seconds: Annotated[float, typer.Option(help="How long each needle is visible.")] = 2.0,
    kinds: Annotated[
        str | None,
        typer.Option(
            help="What needles may be, commas between: shape, digit, caption, picture. By default all there is."
        ),
    ] = None,
    pictures: Annotated[
        Path | None, typer.Option(help="Folder of png and jpg files, named after what they show (red_car.png).")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace another run in the folder.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object: paths and counts.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar, and no text at the end.")] = False,
) -> None:
    """Make videos of a moving background with something put into it for a moment, and questions about it.

    A run that was interrupted is continued by the same command.
    """
    # Imported on use: `bimba --help` shall not wait for numpy, PyAV and Pillow.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as ProgressBar

    from bimba.needles import Progress, make_needles

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with ProgressBar(
        *columns, console=Console(stderr=True), transient=True, disable=quiet or not sys.stderr.isatty()
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
            seconds=seconds,
            size=size,
            fps=fps,
            codec=codec,
            pixel_format=pixel_format,
            container=container,
            needles=needles,
            needle_seconds=needle_seconds,
            kinds=kinds,
            pictures=pictures,
            overwrite=overwrite,
            on_progress=show,
        )
    if json_:
        _print_json(run)
    elif not quiet:
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
    """Print what was written and a command to try on it."""
    videos = run.manifest.videos
    skipped = f", {run.num_skipped} were there already" if run.num_skipped else ""
    noun = "video" if run.num_written == 1 else "videos"
    print(f"{run.num_written} {noun} written to {run.folder}{skipped}")
    print(f"{sum(len(video.questions) for video in videos)} questions in {run.folder / 'needles.json'}")
    path, question = run.folder / videos[0].file, videos[0].questions[0].question
    print(f"next: bimba ask {shlex.quote(str(path))} {shlex.quote(question)} --model MODEL")
