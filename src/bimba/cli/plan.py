"""`bimba plan`: a video in; what asking about it would look at, ask and need out. No weight is read."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bimba.cli import looking, options
from bimba.cli.ask import print_plan
from bimba.cli.plan_page import entry
from bimba.cli.planning import QUESTION, UNTIMED, make_plan
from bimba.cli.progress import bars, waiting
from bimba.cli.units import at_time

if TYPE_CHECKING:
    from bimba.video.source import Video


def plan(
    video: options.VideoPath,
    question: Annotated[str, typer.Argument(help="What you would ask; its length counts.")] = QUESTION,
    model: options.SizesOfModel = None,
    base: options.Base = None,
    frames: looking.Frames = None,
    fps: looking.Fps = None,
    max_video_tokens: looking.MaxVideoTokens = None,
    sampling: looking.SamplingMode = None,
    start: options.Start = None,
    end: options.End = None,
    time_sentence: options.TimeSentence = True,
    video_stream: options.VideoStream = None,
    image_fps: options.ImageFps = None,
    allow_truncated: options.AllowTruncated = False,
    isolate: options.Isolate = False,
    max_new_tokens: options.MaxNewTokens = 512,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    attn_implementation: options.AttnImplementation = None,
    temporal_pooling: options.TemporalPooling = None,
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
    json_: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Show what a question about a video comes to: frames, tokens, memory, time, prompt.

    No weight is read. Without --model, the sizes of the released model are taken.
    """
    options.check_numbers(max_new_tokens)
    look = looking.look_at(frames, fps, sampling, max_video_tokens, temporal_pooling)
    hushed = quiet or json_
    timed = time if time is not None else model is not None
    with waiting("reading the video", quiet=hushed):
        opened = options.open_video(video, start, end, video_stream, image_fps, allow_truncated, "pyav", isolate)
    with opened:
        settled = looking.settle(
            look,
            opened,
            question,
            model,
            base,
            time_sentence=time_sentence,
            max_new_tokens=max_new_tokens,
            quiet=hushed,
            outlined=True,
        )
        result = make_plan(
            settled,
            opened,
            question,
            time_sentence=time_sentence,
            max_new_tokens=max_new_tokens,
            device=device,
            dtype=dtype,
            attn_implementation=attn_implementation,
            timed=timed,
            quiet=hushed,
        )
        if picture is not None:
            draw_frames(opened, result.frame_indices, result.frame_seconds, picture, quiet=hushed)
    untimed = UNTIMED["unknown"] if timed else UNTIMED["unnamed"] if time is None else None
    print_plan(result, model, untimed, as_json=json_)
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
