"""`bimba needles show`: one needle video in; a picture of its frames and a table of what is asked out."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from bimba.cli import options
from bimba.cli.ask import print_json
from bimba.cli.grouping import grouped
from bimba.cli.needles import choices
from bimba.cli.progress import bars
from bimba.cli.units import at_time, in_seconds
from bimba.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from bimba.needles import Needle, NeedleStream, Question, VideoRecord
    from bimba.video.info import RGBFrame


class Found(NamedTuple):
    """A video: its name, its record, and what reads its frames with some ascending numbers."""

    name: str
    video: "VideoRecord"
    frames: "Callable[[Sequence[int]], Iterable[RGBFrame]]"


@grouped
def show(
    context: typer.Context,
    source: choices.Source = None,
    video_index: Annotated[
        int | None, typer.Argument(metavar="N", help="Which video, from 0.", min=0, show_default=False)
    ] = None,
    *,
    out: Annotated[Path, typer.Option(help="The picture: a .png or .jpg file.")] = Path("needles.png"),
    index: Annotated[
        int | None, typer.Option(metavar="N", help="Which video, from 0, as an option.", min=0, show_default=False)
    ] = None,
    seed: choices.Seed = 0,
    drawn: choices.VideoOptions,
    printing: options.PrintOptions,
) -> None:
    """Draw what a video shows into one picture, and print its needles and questions.

    Of each needle there is its middle frame with its place outlined, and between them frames without a needle.
    """
    choices.check_source(context, source)
    if video_index is not None and index is not None:
        raise InputError(f"two videos are asked for, {video_index} and --index {index}.", fix="leave one of them out.")
    number = video_index or index or 0
    if source is not None:
        found = _stored(source, number)
    else:
        stream = choices.open_stream(seed, number + 1, drawn)
        found = _drawn(stream, number)
    _draw(found, out, quiet=printing.hushed)
    if printing.json_:
        print_json({"picture": str(out), "video": found.video.model_dump(mode="json")})
    else:
        _print_tables(found)
        if not printing.quiet:
            print(f"frames in {out}")


def _stored(source: Path, number: int) -> Found:
    """A video that `make` wrote.

    Raises:
        InputError: there is no such run, or it has fewer videos.
    """
    from bimba.needles import read_needles
    from bimba.video.source import Video

    videos = read_needles(source).videos
    if number >= len(videos):
        raise InputError(f"video {number} is asked for, but {source} has {len(videos)}.", fix="count from 0.")
    folder = source if source.is_dir() else source.parent
    return Found(videos[number].file, videos[number], Video(folder / videos[number].file).frames)


def _drawn(stream: "NeedleStream", number: int) -> Found:
    """A video that is not stored."""
    settings = stream.settings
    streamed = stream[number]
    return Found(f"video {number} of seed {settings.seed}, {settings.split}", streamed.record, streamed.frames)


def _draw(found: Found, out: Path, *, quiet: bool) -> None:
    """Draw the picture."""
    from bimba.cli.needles.sheet import draw_sheet, shots_of
    from bimba.video.contact_sheet import save_picture

    shots = shots_of(found.video)
    with bars({"frames": "reading frames"}, quiet=quiet) as report:

        def frames() -> "Iterator[RGBFrame]":
            for done, frame in enumerate(found.frames([shot.frame_index for shot in shots]), start=1):
                report("frames", done, len(shots))
                yield frame

        save_picture(draw_sheet(found.video, shots, frames(), _title(found)), out)


def _title(found: Found) -> str:
    video = found.video
    return f"{found.name}: {in_seconds(video.seconds)}, {video.width} x {video.height}, {video.haystack}"


def _print_tables(found: Found) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    needles = Table("", "from", "to", "shows", "how", title=_title(found), title_justify="left")
    for number, needle in enumerate(found.video.needles):
        times = (at_time(needle.start_seconds), at_time(needle.end_seconds))
        needles.add_row(str(number), *times, needle.description, _how(needle))
    console.print(needles)
    questions = Table("kind", "question", "answer", "and not")
    for question in found.video.questions:
        _add(questions, question)
    console.print(questions)


def _how(needle: "Needle") -> str:
    """How a needle is shown, in words."""
    said = ["has the frame to itself" if needle.inserted else "laid over"]
    if len(needle.boxes) > 1:
        said.append(f"{len(needle.boxes)} copies")
    if needle.held_out:
        said.append("held out")
    return ", ".join(said)


def _add(table: "Table", question: "Question") -> None:
    from rich.text import Text

    wrong = [option for option in question.options if option != question.answer]
    kind = f"{question.kind}, {question.variant}" if question.variant else question.kind
    # As Text, since a picture may be called [red].
    separator = "\n" if any("," in option for option in question.options) else ", "
    table.add_row(kind, Text(question.question), Text(question.answer, "green"), Text(separator.join(wrong), "dim"))
