"""The options that several commands share, each with its help, in groups; and what they make of a video's name."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bimba.errors import InputError

if TYPE_CHECKING:
    from bimba.inference import VideoQA
    from bimba.inference.encoded import EncodedVideo
    from bimba.video.source import Video

_LARGEST_SEED = 2**63 - 1
_SCHEMES = ("http", "https", "ftp", "s3", "gs", "rtsp", "rtmp")


class Backend(StrEnum):
    """What decodes."""

    pyav = "pyav"
    torchcodec = "torchcodec"


VIDEO_PANEL, _MODEL, _ANSWER, OUTPUT_PANEL = "The video", "The model", "The answer", "What is printed"
RUN_PANEL = "The run"

VideoPath = Annotated[
    Path,
    typer.Argument(
        help="A video or image file, a folder of pictures, what bimba encode made of one (VIDEO.bimba), or - for a "
        "video that comes through a pipe.",
        show_default=False,
    ),
]
ModelName = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        envvar="BIMBA_MODEL",
        help="Folder or hub id of a model, or of a released adapter; else bimba-nano, which comes with bimba.",
        rich_help_panel=_MODEL,
    ),
]
ModelInstead = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Folder or hub id of a model, or of a released adapter, instead of the recipe's.",
        rich_help_panel=_MODEL,
    ),
]
SizesOfModel = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        envvar="BIMBA_MODEL",
        help="Folder or hub id of a model, or of a released adapter; else the sizes of the released model are taken.",
        rich_help_panel=_MODEL,
    ),
]
Base = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Folder or hub id of the adapter's base, if not the one it names.", rich_help_panel=_MODEL
    ),
]
Device = Annotated[str, typer.Option(metavar="NAME", help="auto, cpu, cuda, cuda:N or mps.", rich_help_panel=_MODEL)]
Dtype = Annotated[
    str, typer.Option(metavar="NAME", help="auto (as stored), float32, bfloat16 or float16.", rich_help_panel=_MODEL)
]
AttnImplementation = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="sdpa, eager, flash_attention_2, ... as transformers names them.", rich_help_panel=_MODEL
    ),
]
Quantization = Annotated[
    str | None,
    typer.Option(metavar="BITS", help="4bit or 8bit (needs a GPU and the extra gpu).", rich_help_panel=_MODEL),
]
TemporalPooling = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="Average so many frames into one: fewer tokens of the video.", min=1, rich_help_panel=_MODEL
    ),
]
Start = Annotated[
    str | None,
    typer.Option(
        metavar="TIME", help="Look at the video from here on: 90, 1:30 or 1:02:03.", rich_help_panel=VIDEO_PANEL
    ),
]
End = Annotated[str | None, typer.Option(metavar="TIME", help="Look at it up to here.", rich_help_panel=VIDEO_PANEL)]
VideoStream = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="Which of several video streams, from 0; else the default one.", rich_help_panel=VIDEO_PANEL
    ),
]
ImageFps = Annotated[
    float | None,
    typer.Option(
        metavar="RATE",
        help="Pictures a second of a folder; without it they have no times.",
        rich_help_panel=VIDEO_PANEL,
    ),
]
AllowTruncated = Annotated[
    bool,
    typer.Option(
        "--allow-truncated", help="Of a file that ends early, use what is there.", rich_help_panel=VIDEO_PANEL
    ),
]
BackendName = Annotated[
    Backend,
    typer.Option(
        metavar="NAME", help="What decodes: pyav, or torchcodec (extra torchcodec).", rich_help_panel=VIDEO_PANEL
    ),
]
Isolate = Annotated[
    bool,
    typer.Option(
        "--isolate",
        help="Decode in a process of its own, with limits: for files from strangers.",
        rich_help_panel=VIDEO_PANEL,
    ),
]
TimeSentence = Annotated[
    bool,
    typer.Option(
        "--time-sentence/--no-time-sentence", help="Tell the model when the frames are.", rich_help_panel=VIDEO_PANEL
    ),
]
MaxNewTokens = Annotated[
    int, typer.Option(metavar="N", help="At most so many tokens are answered.", rich_help_panel=_ANSWER)
]
Temperature = Annotated[
    float | None,
    typer.Option(
        metavar="X",
        help="Above 0: draw tokens by chance, the wilder the higher; else the likeliest each time.",
        min=0,
        rich_help_panel=_ANSWER,
    ),
]
TopP = Annotated[
    float | None,
    typer.Option(
        metavar="X",
        help="Draw only among the likeliest tokens that have this share of the chances together.",
        rich_help_panel=_ANSWER,
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(metavar="N", help="The same seed draws the same tokens.", min=0, rich_help_panel=_ANSWER),
]
BatchSize = Annotated[
    int,
    typer.Option(
        metavar="N", help="Questions that are read at a time; fewer need less memory.", rich_help_panel=RUN_PANEL
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.", rich_help_panel=OUTPUT_PANEL)]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="No progress bars and no remarks.", rich_help_panel=OUTPUT_PANEL)
]


@dataclass(frozen=True)
class NamedModel:
    """Which model it is."""

    model: ModelName = None
    base: Base = None


@dataclass(frozen=True)
class OtherModel:
    """Which model it is, where a recipe names one: a variable that is set for other commands replaces none of those."""

    model: ModelInstead = None
    base: Base = None


@dataclass(frozen=True)
class PlacedModel(NamedModel):
    """And where it is, in which numbers."""

    device: Device = "auto"
    dtype: Dtype = "auto"


@dataclass(frozen=True)
class MeasuredModel(PlacedModel):
    """What an evaluation takes of a model's options."""

    temporal_pooling: TemporalPooling = None


@dataclass(frozen=True)
class AttendingModel(PlacedModel):
    """And what computes its attention."""

    attn_implementation: AttnImplementation = None


@dataclass(frozen=True)
class OutlinedModel(AttendingModel):
    """A model of which no weight is read."""

    model: SizesOfModel = None
    temporal_pooling: TemporalPooling = None


@dataclass(frozen=True)
class ModelOptions(AttendingModel):
    """A model that is loaded."""

    quantization: Quantization = None
    temporal_pooling: TemporalPooling = None


@dataclass(frozen=True)
class SpanOptions:
    """Which part of the video."""

    start: Start = None
    end: End = None


@dataclass(frozen=True)
class TimedOptions(SpanOptions):
    """And whether the model is told when its frames are."""

    time_sentence: TimeSentence = True


@dataclass(frozen=True)
class FileOptions:
    """What is read of the video's file."""

    video_stream: VideoStream = None
    image_fps: ImageFps = None
    allow_truncated: AllowTruncated = False


@dataclass(frozen=True)
class ReadingOptions(FileOptions):
    """And what decodes it, and where."""

    backend: BackendName = Backend.pyav
    isolate: Isolate = False


@dataclass(frozen=True)
class AnswerOptions:
    """How long answers are, and how their tokens are drawn."""

    max_new_tokens: MaxNewTokens = 512
    temperature: Temperature = None
    top_p: TopP = None
    seed: Seed = None


@dataclass(frozen=True)
class PrintOptions:
    """What is printed."""

    json_: Json = False
    quiet: Quiet = False

    @property
    def hushed(self) -> bool:
        """Whether there are no progress bars and no remarks."""
        return self.quiet or self.json_


def video_settings(span: SpanOptions, reading: ReadingOptions) -> dict[str, Any]:
    """What `Video` takes of the options."""
    return asdict(reading) | {"backend": str(reading.backend), "start": span.start, "end": span.end}


def open_video(video: Path, span: SpanOptions, reading: ReadingOptions) -> "Video":
    """The video, probed, so that what is wrong with it is found before a model of many gigabytes is read.

    Raises:
        VideoError: it cannot be read.
        InputError: an option does not fit it, or it is an address.
    """
    from bimba.inference.encoded import SUFFIX
    from bimba.video.source import Video

    if video.suffix.lower() == SUFFIX:
        raise InputError(
            f"{video} is encoded already, so that nothing is left to plan or to encode.",
            fix="ask it (bimba ask, bimba chat), or name the video that it comes from.",
        )
    scheme, colon, rest = str(video).partition(":")
    if colon and rest.startswith("/") and scheme in _SCHEMES:
        raise InputError(f"{scheme} addresses are not fetched.", fix="download the video first, and name the file.")
    opened = Video(video, **video_settings(span, reading))
    _ = opened.indices
    return opened


def open_either(video: Path, span: SpanOptions, reading: ReadingOptions) -> "Video | EncodedVideo":
    """As `open_video`; or a video that was encoded before, whose frames are chosen already.

    Raises:
        VideoError: it cannot be read, or is not what it was when it was encoded.
        InputError: an option does not fit it, or it is an address.
    """
    from bimba.inference.encoded import SUFFIX, read_encoded

    if video.suffix.lower() != SUFFIX:
        return open_video(video, span, reading)
    given = {
        "--start": span.start, "--end": span.end, "--video-stream": reading.video_stream,
        "--image-fps": reading.image_fps, "--allow-truncated": reading.allow_truncated or None,
    }  # fmt: skip
    refuse_for_encoded(video, [name for name, value in given.items() if value is not None])
    return read_encoded(video, backend=str(reading.backend), isolate=reading.isolate)


def source_of(video: "Video | EncodedVideo") -> "Video":
    """The video itself, whose frames can be decoded.

    Raises:
        VideoError: it was encoded, and is no longer where it was.
    """
    from bimba.video.source import Video

    return video if isinstance(video, Video) else video.source()


def path_of(video: "Video | EncodedVideo") -> Path:
    """What it is called."""
    from bimba.video.source import Video

    return video.info.path if isinstance(video, Video) else video.path or Path("video")


def refuse_for_encoded(video: Path | None, given: list[str]) -> None:
    """Refuse options that come too late for a video that is encoded.

    Raises:
        InputError: there are some.
    """
    if given:
        raise InputError(
            f"{video or 'the video'} is encoded already, so that {' and '.join(given)} can change nothing.",
            fix="leave it out, or encode the video again with it (bimba encode).",
        )


def check_numbers(max_new_tokens: int, seed: int | None = None) -> None:
    """Refuse numbers with which nothing can be asked.

    Raises:
        InputError: one of them is below 1, or the seed is too large.
    """
    if seed is not None and seed > _LARGEST_SEED:
        raise InputError(f"--seed is {seed}.", fix="take one below 2**63.")
    if max_new_tokens < 1:
        raise InputError(f"--max-new-tokens is {max_new_tokens}.", fix="allow at least one token.")


def loading_settings(named: str, model: ModelOptions) -> dict[str, Any]:
    """What `bimba.load` takes of the options, but for how frames are pooled."""
    return {
        "model": named, "base": model.base, "device": model.device, "dtype": model.dtype,
        "attn_implementation": model.attn_implementation, "quantization": model.quantization,
    }  # fmt: skip


def load_model(named: str, model: ModelOptions, temporal_pooling: int | None) -> "VideoQA":
    """The model that the options describe.

    Args:
        named: its name.
        model: how it is loaded.
        temporal_pooling: frames that are averaged into one; None for the model's own.

    Raises:
        InputError: an option is unknown or cannot be had on this machine.
        CheckpointError: files are missing, unsafe, or do not fit each other.
    """
    from bimba import load

    return load(**loading_settings(named, model), config_overrides=pooling_override(temporal_pooling))


def pooling_override(temporal_pooling: int | None) -> dict[str, int] | None:
    """`config_overrides` of `bimba.load`."""
    return None if temporal_pooling is None else {"temporal_pooling": temporal_pooling}
