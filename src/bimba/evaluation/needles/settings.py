"""What an evaluation on needle videos asks: arguments in, checked and frozen settings out."""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from bimba.errors import InputError
from bimba.needles import KINDS_WITHOUT_TIMES, NeedleSettings, NeedleStream
from bimba.needles.questions import QUESTION_KINDS
from bimba.needles.schedule import check_schedule
from bimba.needles.settings import (
    BUILT_IN_KINDS,
    CountRange,
    NeedleKind,
    Split,
    checked_model,
    count_range,
    known_choices,
    parse_size,
)

SEED = 9590
"""Where a run's videos come from unless another seed is given; no shipped recipe trains on it."""
MOST_FRAMES = 2**16 - 1


def _size(value: object) -> object:
    return parse_size(value) if isinstance(value, str) else value


Size = Annotated[tuple[int, int], BeforeValidator(_size)]


class NeedleEvaluation(BaseModel):
    """Everything that decides what is asked, and of which model; the same settings give the same results."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    model: str = Field(min_length=1, description="folder or hub id")
    base: str | None = Field(default=None, description="of an adapter, if not the one it names")
    dtype: str = Field(default="auto", description="auto (as stored), float32, bfloat16 or float16")
    temporal_pooling: int | None = Field(default=None, ge=1, description="other than the model's own")
    spatial_pooling: int | None = Field(default=None, ge=1, description="other than the model's own")

    seed: int = Field(default=SEED, ge=0, description="the same seed gives the same videos")
    split: Split = Field(default="test", description="of which the videos are; none is in a training run's split")
    frames: tuple[int, ...] = Field(default=(64, 128, 256, 512), min_length=1, description="lengths; all are seen")
    videos: int = Field(default=16, ge=1, description="of each length")
    sizes: tuple[Size, ...] = Field(default=((128, 72),), min_length=1, description="(width, height), taken in turns")
    questions: int | None = Field(default=None, ge=1, description="a video; None: one of each kind that it allows")
    kinds: tuple[str, ...] = Field(default=KINDS_WITHOUT_TIMES, min_length=1, description="of questions")
    unknown: float = Field(default=1.0, ge=0, description="questions a video that it does not answer, on average")
    needles: CountRange = Field(default=(2, 6), description="in each video")
    needle_frames: CountRange = Field(default=(1, 3), description="that each needle is seen in, whatever the length")
    needle_kinds: tuple[NeedleKind, ...] = Field(default=BUILT_IN_KINDS, min_length=1, description="what they may be")
    pictures: Path | None = Field(default=None, description="folder of pictures, not OpenMoji")
    inserted: float = Field(default=0.25, ge=0, le=1, description="share of needles that fill the whole frame")
    repeats: float = Field(default=0.25, ge=0, le=1, description="share of videos that show something several times")
    copies: CountRange = Field(default=(1, 1), description="of a needle at the same time")
    pair_window: int | None = Field(default=None, ge=2, description="two needles share a window of so many frames")
    scenes: CountRange = Field(default=(1, 3), description="that a video cuts between; 1 with a haystack of one's own")
    haystack: Path | None = Field(default=None, description="folder of videos to hide needles in")
    photos: Path | None = Field(default=None, description="folder of photos to pan over")
    max_new_tokens: int = Field(default=24, ge=1, description="of an answer in words")

    @model_validator(mode="before")
    @classmethod
    def _own_videos_stay_uncut(cls, values: object) -> object:
        if isinstance(values, dict) and values.get("haystack") is not None and "scenes" not in values:
            return values | {"scenes": (1, 1)}
        return values

    @model_validator(mode="after")
    def _settings_fit_together(self) -> Self:
        for name, chosen in (("frames", self.frames), ("kinds", self.kinds), ("sizes", self.sizes)):
            if len(set(chosen)) != len(chosen):
                raise ValueError(f"{name} names one of {', '.join(map(str, chosen))} twice")
        if not 1 <= min(self.frames) <= max(self.frames) <= MOST_FRAMES:
            raise ValueError(f"frames are 1 to {MOST_FRAMES:,}, not {min(self.frames)} to {max(self.frames)}")
        return self

    @classmethod
    def checked(cls, values: Mapping[str, object]) -> Self:
        """Build settings from names and values, turning what is wrong into a message for the user.

        Raises:
            InputError: a name is unknown (the nearest known one is suggested), a value is out of range, needles do not
                fit into the shortest video, or a folder holds nothing to show.
        """
        fix = "change it; `bimba eval run needles --help` tells more."
        called = ("bimba eval run needles has", "the evaluation's settings")
        settings = checked_model(cls, values, called, fix)
        known_choices("kinds of questions", settings.kinds, QUESTION_KINDS)
        for frames in settings.frames:
            for size in settings.sizes:
                _check_room(settings.videos_of(frames, size))
        return settings

    @property
    def config_overrides(self) -> dict[str, int] | None:
        """Of `bimba.load`."""
        given = {"temporal_pooling": self.temporal_pooling, "spatial_pooling": self.spatial_pooling}
        return {name: value for name, value in given.items() if value is not None} or None

    def videos_of(self, frames: int, size: tuple[int, int]) -> NeedleSettings:
        """The videos of one length: a frame lasts a second, so that each frame of the video is one that is seen.

        Each length has its own videos, so that its results are no repetition of another's.

        Raises:
            InputError: settings do not go together.
        """
        return NeedleSettings.checked(
            {
                "seed": self.seed * (MOST_FRAMES + 1) + frames,
                "split": self.split,
                "num_videos": self.videos,
                "seconds": float(frames),
                "fps": Fraction(1),
                "width": size[0],
                "height": size[1],
                "num_needles": self.needles,
                "needle_seconds": self.needle_frames,
                "kinds": self.needle_kinds,
                "pictures": self.pictures,
                "inserted": self.inserted,
                "repeats": self.repeats,
                "copies": self.copies,
                "pair_window": self.pair_window,
                "scenes": self.scenes,
                "haystack": self.haystack,
                "photos": self.photos,
                "num_questions": self.questions,
            }
        )

    def streams(self) -> Iterator[tuple[int, tuple[int, int], NeedleStream]]:
        """The videos of each length and size.

        Raises:
            InputError: a folder of pictures holds none, or OpenMoji is asked for and not installed.
        """
        for frames in self.frames:
            for size in self.sizes:
                videos = self.videos_of(frames, size)
                yield frames, size, NeedleStream(videos, kinds=self.kinds, num_unknown=self.unknown)


def parse_frames(text: str) -> tuple[int, ...]:
    """Return the lengths named in a text such as ``"64,128"``.

    Raises:
        InputError: one of them is no whole number.
    """
    try:
        return tuple(count_range(part.strip())[0] for part in text.split(","))
    except ValueError as error:
        raise InputError(f"--frames {text!r}: {error}.", fix="write lengths with commas between: 64,128.") from error


def _check_room(videos: NeedleSettings) -> None:
    """Check that the needles fit into the videos.

    Raises:
        InputError: they do not.
    """
    try:
        check_schedule(videos)
    except InputError as error:
        raise InputError(
            error.problem, fix="take longer videos (--frames), or at most that many needles (--needles)."
        ) from error
