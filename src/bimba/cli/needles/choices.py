"""The options that say what needle videos look like, shared by the commands; and where `show` and `stats` look."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bimba.errors import InputError

if TYPE_CHECKING:
    from bimba.needles import NeedleStream

_VIDEO, _NEEDLES, _HAYSTACK, _QUESTIONS = "The videos", "The needles", "Behind the needles", "The questions"

Seed = Annotated[int, typer.Option(help="The same seed and options give the same videos.", rich_help_panel=_VIDEO)]
Videos = Annotated[int, typer.Option(help="How many videos.", rich_help_panel=_VIDEO)]
Seconds = Annotated[float, typer.Option(help="Length of each video.", rich_help_panel=_VIDEO)]
Size = Annotated[str, typer.Option(metavar="WxH", help="Width and height in pixels.", rich_help_panel=_VIDEO)]
Fps = Annotated[str, typer.Option(help="Frames a second: 25, 29.97, 30000/1001, ...", rich_help_panel=_VIDEO)]
Split = Annotated[
    str,
    typer.Option(
        metavar="NAME", help="train, validation or test; they have no video in common.", rich_help_panel=_VIDEO
    ),
]

Needles = Annotated[
    str,
    typer.Option(metavar="N or N-N", help="Needles in each video, or a range: 2-6.", rich_help_panel=_NEEDLES),
]
NeedleSeconds = Annotated[
    str,
    typer.Option(
        metavar="S or S-S", help="How long each needle is visible, or a range: 0.5-3.", rich_help_panel=_NEEDLES
    ),
]
GapFrames = Annotated[int, typer.Option(help="Bare frames between two needles, at least.", rich_help_panel=_NEEDLES)]
Kinds = Annotated[
    str | None,
    typer.Option(
        help="What needles may be, commas between: shape, digit, letter, caption, picture. By default the first four, "
        "and picture with --pictures.",
        rich_help_panel=_NEEDLES,
    ),
]
Pictures = Annotated[
    Path | None,
    typer.Option(
        help="Folder of png and jpg files, named after what they show (red_car.png). Without it, pictures are "
        "OpenMoji's.",
        rich_help_panel=_NEEDLES,
    ),
]
Inserted = Annotated[
    float,
    typer.Option(
        metavar="SHARE", help="Share of the needles that have the frame to themselves.", rich_help_panel=_NEEDLES
    ),
]
Repeats = Annotated[
    float,
    typer.Option(
        metavar="SHARE", help="Share of the videos that show something several times.", rich_help_panel=_NEEDLES
    ),
]
Copies = Annotated[
    str,
    typer.Option(metavar="N or N-N", help="How many of a needle are there at the same time.", rich_help_panel=_NEEDLES),
]
PairWindow = Annotated[
    int | None,
    typer.Option(metavar="FRAMES", help="Two needles share one window of so many frames.", rich_help_panel=_NEEDLES),
]

Scenes = Annotated[
    str,
    typer.Option(metavar="N or N-N", help="Between how many haystacks each video cuts.", rich_help_panel=_HAYSTACK),
]
Haystack = Annotated[
    Path | None,
    typer.Option(help="Folder of your own videos to hide the needles in.", rich_help_panel=_HAYSTACK),
]
Photos = Annotated[
    Path | None,
    typer.Option(help="Folder of photos to pan over, behind the needles.", rich_help_panel=_HAYSTACK),
]

Questions = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="How many questions each video gets; one of each kind by default.", rich_help_panel=_QUESTIONS
    ),
]

Source = Annotated[
    Path | None,
    typer.Argument(
        metavar="FOLDER",
        help="What `make` wrote: the folder, or its needles.json. Without it, videos are drawn as `make` would with "
        "these options, and not stored.",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class VideoOptions:
    """What each video looks like, and what is asked about it."""

    seconds: Seconds = 60.0
    size: Size = "448x336"
    fps: Fps = "25"
    split: Split = "test"
    needles: Needles = "4"
    needle_seconds: NeedleSeconds = "2"
    gap_frames: GapFrames = 1
    kinds: Kinds = None
    pictures: Pictures = None
    inserted: Inserted = 0.0
    repeats: Repeats = 0.0
    copies: Copies = "1"
    pair_window: PairWindow = None
    scenes: Scenes = "1"
    haystack: Haystack = None
    photos: Photos = None
    questions: Questions = None


_OF_VIDEOS = ("seed", "videos", *(field.name for field in fields(VideoOptions)))


def check_source(context: typer.Context, source: Path | None) -> None:
    """Refuse options that say what videos look like where they are made already.

    Raises:
        InputError: a folder and such an option are given.
    """
    if source is None:
        return
    for name in _OF_VIDEOS:
        given = context.get_parameter_source(name)
        if given is not None and given.name == "COMMANDLINE":
            raise InputError(
                f"--{name.replace('_', '-')} says what videos look like, but those of {source} are made already.",
                fix="leave it out, or leave the folder out.",
            )


def open_stream(seed: int, videos: int, options: VideoOptions) -> "NeedleStream":
    """Return the videos that `bimba needles make` would store with these options.

    Raises:
        InputError: an option is out of range, or the needles do not fit.
    """
    from bimba.needles import NeedleSettings, NeedleStream
    from bimba.needles.settings import BUILT_IN_KINDS

    given = asdict(options) | {"seed": seed, "videos": videos}
    if options.kinds is None:
        given["kinds"] = BUILT_IN_KINDS if options.pictures is None else (*BUILT_IN_KINDS, "picture")
    return NeedleStream(NeedleSettings.of_options(given))
