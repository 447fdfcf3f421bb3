"""How much of a video is looked at: options in; frames, how they are chosen and pooled, and the model's sizes out."""

import math
import sys
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bimba.cli.options import OUTPUT_PANEL, VIDEO_PANEL, NamedModel, pooling_override, refuse_for_encoded
from bimba.cli.progress import hush_transformers, waiting
from bimba.cli.units import in_count
from bimba.errors import InputError

if TYPE_CHECKING:
    from bimba.checkpoints.outline import ModelOutline
    from bimba.inference.budget import Fit
    from bimba.inference.encoded import EncodedVideo
    from bimba.video.source import Video

DEFAULT_FRAMES = 64
AUTO: Literal["auto"] = "auto"


class Sampling(StrEnum):
    """How frames are chosen."""

    uniform = "uniform"
    fps = "fps"
    middle = "middle"


Frames = Annotated[
    str | None,
    typer.Option(
        metavar="N|auto",
        help="At most so many frames are looked at (64 if not said); auto: one a second, as far as they fit.",
        rich_help_panel=VIDEO_PANEL,
    ),
]
Fps = Annotated[
    float | None,
    typer.Option(
        metavar="RATE",
        help="Look at so many frames a second, and average several into one until they fit.",
        rich_help_panel=VIDEO_PANEL,
    ),
]
MaxVideoTokens = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Let the video take so many tokens at most; else whatever the language model can read.",
        rich_help_panel=VIDEO_PANEL,
    ),
]
SamplingMode = Annotated[
    Sampling | None,
    typer.Option(
        metavar="HOW",
        help="uniform (if not said); fps: one frame a second, uniform still if that is more than --frames; or middle: "
        "of equal intervals, as Vamba was trained.",
        rich_help_panel=VIDEO_PANEL,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Only show what it comes to, as bimba plan does; no weight is read.",
        rich_help_panel=OUTPUT_PANEL,
    ),
]


@dataclass(frozen=True)
class LookOptions:
    """How much of a video is looked at, as it was said."""

    frames: Frames = None
    fps: Fps = None
    max_video_tokens: MaxVideoTokens = None
    sampling: SamplingMode = None


@dataclass(frozen=True)
class Asked:
    """What is asked about a video, as far as it takes room.

    Args:
        question: in words; its length counts.
        time_sentence: whether the model is told when the frames are.
        max_new_tokens: room for an answer.
    """

    question: str
    time_sentence: bool
    max_new_tokens: int


@dataclass(frozen=True)
class Look:
    """What the options say, none of which contradicts another.

    Args:
        frames: at most so many, or "auto".
        fps: so many a second; None if no rate is named.
        sampling: "uniform", "fps" or "middle".
        max_video_tokens: at most; None for whatever the language model can read.
        temporal_pooling: given by hand; None for the model's own, or what a budget asks for.
        said: names of the options that were given.
    """

    frames: int | Literal["auto"]
    fps: float | None
    sampling: str
    max_video_tokens: int | None
    temporal_pooling: int | None
    said: tuple[str, ...] = ()

    @property
    def has_budget(self) -> bool:
        """Whether the model's sizes decide how much is looked at."""
        return self.fps is not None or self.frames == AUTO or self.max_video_tokens is not None


@dataclass(frozen=True)
class Settled:
    """What is looked at.

    Args:
        num_frames: as `VideoQA.ask` takes it.
        sampling: as `VideoQA.ask` takes it.
        temporal_pooling: None for the model's own.
        outline: the model without its weights, pooling so; None where nobody asked for it.
    """

    num_frames: int
    sampling: str | float
    temporal_pooling: int | None
    outline: "ModelOutline | None"


def look_at(options: LookOptions, temporal_pooling: int | None) -> Look:
    """Hold the options against each other.

    Raises:
        InputError: one of them is out of range, or they contradict each other.
    """
    fps, sampling, max_video_tokens = options.fps, options.sampling, options.max_video_tokens
    count = _count(options.frames)
    if fps is not None and not (math.isfinite(fps) and fps > 0):
        raise InputError(f"--fps is {fps}.", fix="take a number of frames a second above 0, e.g. --fps 1.")
    if fps is not None and isinstance(count, int):
        raise InputError(
            f"--fps {fps:g} takes all frames at that rate, and --frames {count} so many.",
            fix="leave one of them out; --frames auto may stay, for that rate at most.",
        )
    if fps is not None and sampling in (Sampling.uniform, Sampling.middle):
        raise InputError(
            f"--fps {fps:g} takes frames at that rate, and --sampling {sampling} a number of them.",
            fix="leave one of them out.",
        )
    if max_video_tokens is not None and max_video_tokens < 1:
        raise InputError(f"--max-video-tokens is {max_video_tokens}.", fix="allow at least one token, e.g. 13440.")
    how = str(sampling or Sampling.uniform)
    given = {
        "--frames": options.frames, "--fps": fps, "--sampling": sampling, "--max-video-tokens": max_video_tokens,
        "--temporal-pooling": temporal_pooling,
    }  # fmt: skip
    said = tuple(name for name, value in given.items() if value is not None)
    return Look(DEFAULT_FRAMES if count is None else count, fps, how, max_video_tokens, temporal_pooling, said)


def _count(frames: str | None) -> int | Literal["auto"] | None:
    if frames is None or frames == AUTO:
        return None if frames is None else AUTO
    try:
        count = int(frames)
    except ValueError as error:
        raise InputError(f"--frames is {frames!r}.", fix="take a number, e.g. --frames 64, or auto.") from error
    if count < 1:
        raise InputError(f"--frames is {count}.", fix="take at least one frame, e.g. --frames 64.")
    return count


def settle(
    look: Look,
    video: "Video | EncodedVideo",
    asked: Asked,
    model: NamedModel,
    *,
    quiet: bool,
    outlined: bool,
    several: bool = False,
) -> Settled:
    """Find out what is looked at; where a budget is asked for, from the model's small files, and with a remark.

    Args:
        look: the options.
        video: what is looked at.
        asked: what is asked about it.
        model: which one; if it has no name, the sizes of the released one count.
        quiet: no spinner and no remark.
        outlined: read the model's small files in any case.
        several: leave room for more than one answer.

    Raises:
        VideoError: the video cannot be read.
        CheckpointError: files of the model are missing or damaged.
        InputError: the budget is too small.
    """
    from bimba.inference import encoded

    if isinstance(video, encoded.EncodedVideo):
        refuse_for_encoded(video.path, list(look.said))
        if outlined:
            raise InputError(
                f"{video.path} is encoded already, so that there is nothing left to plan.", fix="leave --dry-run out."
            )
        return Settled(video.about.num_frames, look.sampling, None, None)
    if isinstance(look.frames, int) and not (look.has_budget or outlined):
        return Settled(look.frames, look.sampling, look.temporal_pooling, None)
    with waiting("reading the model's small files", quiet=quiet):
        from bimba.checkpoints.outline import read_outline
        from bimba.inference.budget import ANSWERS_IN_A_CHAT
        from bimba.inference.plan import fit

        hush_transformers(quiet=True)
        outline = read_outline(model.model, model.base, pooling_override(look.temporal_pooling))
        if isinstance(look.frames, int) and not look.has_budget:
            return Settled(look.frames, look.sampling, look.temporal_pooling, outline)
        chosen = fit(
            video,
            asked.question,
            outline,
            frames=look.frames,
            fps=look.fps,
            sampling=look.sampling,
            max_video_tokens=look.max_video_tokens,
            keep_pooling=look.temporal_pooling is not None,
            time_sentence=asked.time_sentence,
            num_answer_tokens=asked.max_new_tokens * (ANSWERS_IN_A_CHAT if several else 1),
        )
    if not quiet:
        _remark(
            chosen, outline.config.temporal_pooling, times_told=asked.time_sentence and outline.config.time_sentence
        )
    pooled = outline.pooled(chosen.temporal_pooling)
    return Settled(chosen.num_frames, chosen.sampling, chosen.temporal_pooling, pooled)


def _remark(chosen: "Fit", own_pooling: int, *, times_told: bool) -> None:
    """Say on stderr what a budget came to."""
    from bimba.inference.budget import MOST_POOLED

    pooling = chosen.temporal_pooling
    how = f"{in_count(chosen.num_frames)} frames" + (f", {in_count(pooling)} pooled into one" if pooling > 1 else "")
    print(f"looking at {how}: {in_count(chosen.num_video_tokens)} tokens", file=sys.stderr)
    if pooling > max(MOST_POOLED, own_pooling):
        room = ", and --no-time-sentence leaves more room" if times_told else ""
        print(
            f"the model was not trained with so many pooled into one; --frames auto pools {MOST_POOLED} at most{room}",
            file=sys.stderr,
        )


def with_dtype(outline: "ModelOutline", dtype: str) -> "ModelOutline":
    """The outline of a model that is loaded in another dtype.

    Raises:
        InputError: there is no dtype of that name.
    """
    from bimba.checkpoints.loading import named_dtype

    named = named_dtype(dtype)
    return outline if isinstance(named, str) else replace(outline, dtype=named)
