"""`bimba plan`: a video in; what asking about it would look at, ask and need out. No weight is read."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bimba.cli import looking, options
from bimba.cli.ask import print_plan
from bimba.cli.grouping import grouped
from bimba.cli.plan_page import entry
from bimba.cli.planning import QUESTION, UNTIMED, make_plan
from bimba.cli.progress import bars, waiting
from bimba.cli.units import at_time

if TYPE_CHECKING:
    from bimba.video.source import Video


@grouped
def plan(
    video: options.VideoPath,
    question: Annotated[str, typer.Argument(help="What you would ask; its length counts.")] = QUESTION,
    *,
    model: options.OutlinedModel,
    look: looking.LookOptions,
    span: options.TimedOptions,
    file: options.FileOptions,
    isolate: options.Isolate = False,
    max_new_tokens: options.MaxNewTokens = 512,
    time: Annotated[
        bool | None,
        typer.Option(
            "--time/--no-time",
            help="Estimate the time from a few moments of work; if not said, for a model that is named.",
            show_default=False,
        ),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(help="Also draw the chosen frames with their times: a .png or .jpg file.", show_default=False),
    ] = None,
    printing: options.PrintOptions,
) -> None:
    """Show what a question about a video comes to: frames, tokens, memory, time, prompt.

    No weight is read. Without --model, the sizes of the released model are taken.
    """
    options.check_numbers(max_new_tokens)
    wanted = looking.look_at(look, model.temporal_pooling)
    hushed = printing.hushed
    timed = time if time is not None else model.model is not None
    with waiting("reading the video", quiet=hushed):
        opened = options.open_video(video, span, options.ReadingOptions(**asdict(file), isolate=isolate))
    with opened:
        asked = looking.Asked(question, span.time_sentence, max_new_tokens)
        settled = looking.settle(wanted, opened, asked, model, quiet=hushed, outlined=True)
        result = make_plan(settled, opened, asked, model, timed=timed, quiet=hushed)
        if picture is not None:
            draw_frames(opened, result.frame_indices, result.frame_seconds, picture, quiet=hushed)
    untimed = UNTIMED["unknown"] if timed else UNTIMED["unnamed"] if time is None else None
    print_plan(result, model.model, untimed, as_json=printing.json_)
    if picture is not None and not hushed:
        print(entry("picture", str(picture)))


def draw_frames(video: "Video", indices: list[int], seconds: list[float], picture: Path, *, quiet: bool) -> None:
    """Draw frames of a video, each with its time, into a picture file."""
    from bimba.video.contact_sheet import contact_sheet, save_picture

    width, height = video.info.display_size
    labels = [at_time(value) for value in seconds] or [f"frame {index}" for index in indices]
    with bars({"frames": "reading frames"}, quiet=quiet) as report:
        frames = video.frames(indices, on_frame=lambda done: report("frames", done, len(indices)))
        save_picture(contact_sheet(frames, labels, aspect=width / height), picture)
