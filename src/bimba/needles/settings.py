"""What a run of needle videos is made from: arguments in, checked and frozen settings out."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationError,
    model_validator,
)

from bimba.errors import InputError

NeedleKind = Literal["shape", "digit", "letter", "caption", "picture"]
NEEDLE_KINDS: tuple[NeedleKind, ...] = get_args(NeedleKind)
BUILT_IN_KINDS: tuple[NeedleKind, ...] = ("shape", "digit", "letter", "caption")

Split = Literal["train", "validation", "test"]
"""Parts of all possible videos; no two of them share a seed, a haystack of their own making, or a held-out moment."""
SPLITS: tuple[Split, ...] = get_args(Split)

Container = Literal["mp4", "mkv", "webm"]
CONTAINERS: tuple[Container, ...] = get_args(Container)

NTSC_RATES = (24, 30, 48, 60, 120, 240)
"""Whole rates whose television variant is rate * 1000 / 1001, which people write 23.976, 29.97, 59.94, ..."""

MAX_FPS = 1000


def exact_fps(value: object) -> Fraction:
    """Return a frame rate as an exact fraction, in frames a second.

    Decimals that stand for a television rate become that rate (29.97 -> 30000/1001, 23.976 -> 24000/1001); every other
    decimal is taken at its word (12.5 -> 25/2).

    Args:
        value: a whole number, a decimal, a Fraction, or a text such as ``"25"``, ``"29.97"`` or ``"30000/1001"``.

    Raises:
        ValueError: the value is no number, or not between 0 (exclusive) and 1000 frames a second.
    """
    try:
        rate = Fraction(str(value))
    except (ValueError, ZeroDivisionError) as error:
        raise ValueError(f"{value!r} is not a frame rate such as 25, 29.97 or 30000/1001") from error
    if not 0 < rate <= MAX_FPS:
        raise ValueError(f"a frame rate is above 0 and at most {MAX_FPS}, not {value}")
    if not isinstance(value, Fraction) and "/" not in str(value):
        for whole in NTSC_RATES:
            television = Fraction(whole * 1000, 1001)
            # People round to two or three digits (29.97, 23.98, 59.94), so half of a hundredth covers them all.
            if abs(rate - television) <= Fraction(1, 200):
                return television
    return rate


ExactFps = Annotated[Fraction, PlainValidator(exact_fps), PlainSerializer(str, return_type=str)]


def number_range(value: object) -> tuple[float, float]:
    """Return the least and the greatest number of a range.

    Args:
        value: a number, a pair of numbers, or a text such as ``"4"`` or ``"2-6"``.

    Raises:
        ValueError: the value is no such range, or its end lies below its beginning.
    """
    parts = value.split("-") if isinstance(value, str) else list(value) if isinstance(value, list | tuple) else [value]
    try:
        numbers = [float(str(part)) for part in parts]
    except ValueError as error:
        raise ValueError(f"{value!r} is not a number or a range such as 2-6") from error
    if len(numbers) not in (1, 2) or not all(0 < number < float("inf") for number in numbers):
        raise ValueError(f"{value!r} is not a positive number or a range such as 2-6")
    low, high = numbers[0], numbers[-1]
    if high < low:
        raise ValueError(f"the range {low:g}-{high:g} ends below its beginning")
    return low, high


def count_range(value: object) -> tuple[int, int]:
    """Return the least and the greatest whole number of a range; see `number_range`.

    Raises:
        ValueError: the value is no range of whole numbers.
    """
    low, high = number_range(value)
    if low != int(low) or high != int(high):
        raise ValueError(f"{value!r} is not a whole number or a range of them such as 2-6")
    return int(low), int(high)


Range = Annotated[tuple[float, float], BeforeValidator(number_range)]
CountRange = Annotated[tuple[int, int], BeforeValidator(count_range)]


M = TypeVar("M", bound=BaseModel)


class NeedleSettings(BaseModel):
    """Everything that decides what the videos of a run look like; the same settings give the same videos."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(default=0, ge=0, description="the run's seed; video i of a seed is the same in every run")
    num_videos: int = Field(default=1, ge=1, description="how many videos")
    seconds: float = Field(default=60.0, gt=0, allow_inf_nan=False, description="length of each video")
    width: int = Field(default=448, ge=32, le=16384, description="pixels")
    height: int = Field(default=336, ge=32, le=16384, description="pixels")
    fps: ExactFps = Field(default=Fraction(25), description="frames a second, exact")
    codec: str = Field(default="libx264", min_length=1, description="name of an encoder of PyAV")
    pixel_format: str = Field(default="yuv420p", min_length=1, description="how the encoder stores a pixel")
    container: Container | None = Field(default=None, description="file format; None lets the codec decide")
    split: Split = Field(default="test", description="train, validation or test: they have no video in common")
    num_needles: CountRange = Field(default=(4, 4), description="needles in each video, a number or a range")
    needle_seconds: Range = Field(default=(2.0, 2.0), description="how long each is visible, a number or a range")
    gap_frames: int = Field(default=1, ge=0, description="bare frames between needles, at least; 1 tells repeats apart")
    kinds: tuple[NeedleKind, ...] = Field(default=BUILT_IN_KINDS, min_length=1, description="what needles may be")
    pictures: Path | None = Field(default=None, description="folder of pictures for the picture needles, not OpenMoji")
    inserted: float = Field(default=0.0, ge=0, le=1, description="share of needles that fill the whole frame")
    repeats: float = Field(default=0.0, ge=0, le=1, description="share of videos that show something several times")
    copies: CountRange = Field(default=(1, 1), description="how often a needle is there at the same time")
    pair_window: int | None = Field(default=None, ge=2, description="two needles share a window of so many frames")
    scenes: CountRange = Field(default=(1, 1), description="haystacks that a video cuts between, number or range")
    haystack: Path | None = Field(default=None, description="folder of videos to hide needles in, not procedural ones")
    photos: Path | None = Field(default=None, description="folder of photos that are panned over, not procedural ones")
    num_questions: int | None = Field(default=None, ge=1, description="questions a video; one of each kind if None")

    @model_validator(mode="after")
    def _settings_fit_together(self) -> Self:
        if len(set(self.kinds)) != len(self.kinds):
            raise ValueError(f"kinds names one of {', '.join(self.kinds)} twice")
        if self.haystack is not None and self.photos is not None:
            raise ValueError("haystack and photos are both given; a video has one of them behind its needles")
        if self.haystack is not None and self.scenes != (1, 1):
            raise ValueError(f"scenes is {self.scenes[0]}-{self.scenes[1]}, but the videos of haystack stay uncut")
        if self.gap_frames == 0 and self.repeats:
            raise ValueError("gap_frames is 0 with repeats, so that nobody could tell two appearances from one")
        if self.pair_window is not None and self.num_needles[0] < 2:
            raise ValueError(f"pair_window needs at least 2 needles in each video, not {self.num_needles[0]}")
        if self.pair_window is not None and self.pair_window * 2 > self.num_frames:
            raise ValueError(f"pair_window {self.pair_window} does not fit twice into {self.num_frames} frames")
        if "picture" not in self.kinds and self.pictures is not None:
            raise ValueError(f"pictures is {self.pictures}, but kinds ({', '.join(self.kinds)}) has no picture")
        return self

    @classmethod
    def checked(cls, values: Mapping[str, object]) -> Self:
        """Build settings from names and values, turning what is wrong into a message for the user.

        Raises:
            InputError: a name is unknown (the nearest known one is suggested) or a value is out of range.
        """
        fix = "change that setting; `bimba needles make --help` lists them."
        return checked_model(cls, values, ("needles have", "the needle settings"), fix)

    @classmethod
    def of_options(cls, options: Mapping[str, object]) -> Self:
        """Build settings from the arguments of `make_needles`, some of which have shorter names.

        Raises:
            InputError: a name is unknown (the nearest known one is suggested) or a value is out of range.
        """
        known_choices("needle videos", list(options), OPTIONS)
        values = {SHORT_NAMES.get(name, name): value for name, value in options.items()}
        size = values.pop("size", None)
        if size is not None:
            if not isinstance(size, str) and not (isinstance(size, list | tuple) and len(size) == 2):
                raise InputError(f"the needle videos' size is {size!r}.", fix='write it like "448x336".')
            values["width"], values["height"] = parse_size(size) if isinstance(size, str) else size
        if isinstance(values.get("kinds"), str):
            values["kinds"] = parse_kinds(str(values["kinds"]))
        return cls.checked(values)

    @property
    def num_frames(self) -> int:
        """Frames of each video: the whole number nearest to seconds x fps, at least 1."""
        return whole_frames(self.seconds, self.fps)

    @property
    def needle_frames(self) -> tuple[int, int]:
        """Least and most frames of a needle: the whole numbers nearest to needle_seconds x fps, at least 1."""
        low, high = self.needle_seconds
        return whole_frames(low, self.fps), whole_frames(high, self.fps)


SHORT_NAMES = {"videos": "num_videos", "needles": "num_needles", "questions": "num_questions"}
"""What `make_needles` and the command line call some settings."""
OPTIONS = (
    *SHORT_NAMES,
    "size",
    *(name for name in NeedleSettings.model_fields if name not in {*SHORT_NAMES.values(), "width", "height"}),
)
"""Names of the arguments of `make_needles` that decide what videos look like."""


def whole_frames(seconds: float, fps: Fraction) -> int:
    """Return the number of frames nearest to a duration, at least 1.

    The duration goes through its decimal text, so that 0.1 seconds are a tenth and not the binary number next to it.
    """
    return max(1, round(Fraction(str(seconds)) * fps))


def parse_size(text: str) -> tuple[int, int]:
    """Return (width, height) in pixels of a text such as ``"448x336"``.

    Raises:
        InputError: the text is not two whole numbers with an x between them.
    """
    match = re.fullmatch(r"\s*(\d+)\s*[xX]\s*(\d+)\s*", text)
    if match is None:
        raise InputError(f"size {text!r} is not WIDTHxHEIGHT.", fix="write it like 448x336.")
    return int(match.group(1)), int(match.group(2))


def parse_kinds(text: str) -> tuple[NeedleKind, ...]:
    """Return the needle kinds named in a text such as ``"shape,digit"``.

    Raises:
        InputError: a kind is unknown.
    """
    chosen: list[NeedleKind] = []
    for name in (part.strip() for part in text.split(",")):
        kind = next((known for known in NEEDLE_KINDS if known == name), None)
        if kind is None:
            raise InputError(f"there is no needle kind {name!r}.", fix=f"choose from {', '.join(NEEDLE_KINDS)}.")
        chosen.append(kind)
    return tuple(chosen)


def known_choices(what: str, chosen: Sequence[str], known: Iterable[str]) -> None:
    """Check that every chosen name is known.

    Raises:
        InputError: one is not; the nearest known one is suggested.
    """
    names = list(known)
    for name in chosen:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
            fix = f"use {near[0]!r}." if near else f"use one of {', '.join(names)}."
            raise InputError(f"{what}: there is no {name!r}.", fix=fix)


def checked_model(kind: type[M], values: Mapping[str, object], called: tuple[str, str], fix: str) -> M:
    """Build settings of any kind from names and values, turning what is wrong into a message for the user.

    Args:
        kind: of the settings.
        values: by name.
        called: what messages begin with: "needles have" (no setting ...), "the needle settings" (do not hold: ...).
        fix: what to do about a value that is out of range.

    Raises:
        InputError: a name is unknown (the nearest known one is suggested) or a value is out of range.
    """
    for name in values:
        if name not in kind.model_fields:
            near = difflib.get_close_matches(name, kind.model_fields, n=1, cutoff=0.5)
            known = f"{near[0]!r}" if near else ", ".join(kind.model_fields)
            raise InputError(f"{called[0]} no setting {name!r}.", fix=f"use {known}.")
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        raise InputError(f"{called[1]} do not hold: {_one_line(error)}.", fix=fix) from None


def _one_line(error: ValidationError) -> str:
    """Say each thing pydantic found wrong, with the setting's name and the value that was given."""
    found = []
    for item in error.errors(include_url=False, include_context=False):
        message = item["msg"].removeprefix("Value error, ")
        where = ".".join(str(part) for part in item["loc"])
        found.append(f"{where} = {item['input']!r}: {message}" if where else message)
    return "; ".join(found)
