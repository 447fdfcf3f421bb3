"""What a run of needle videos is made from: arguments in, checked and frozen settings out."""

import difflib
import re
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator, ValidationError, model_validator

from bimba.errors import InputError

NeedleKind = Literal["shape", "digit", "caption", "picture"]
NEEDLE_KINDS: tuple[NeedleKind, ...] = get_args(NeedleKind)
BUILT_IN_KINDS: tuple[NeedleKind, ...] = ("shape", "digit", "caption")

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
    num_needles: int = Field(default=4, ge=1, description="needles in each video")
    needle_seconds: float = Field(default=2.0, gt=0, allow_inf_nan=False, description="how long each is visible")
    kinds: tuple[NeedleKind, ...] = Field(default=BUILT_IN_KINDS, min_length=1, description="what needles may be")
    pictures: Path | None = Field(default=None, description="folder of png and jpg files for the picture needles")

    @model_validator(mode="after")
    def _kinds_fit_the_pictures(self) -> Self:
        if len(set(self.kinds)) != len(self.kinds):
            raise ValueError(f"kinds names one of {', '.join(self.kinds)} twice")
        if "picture" in self.kinds and self.pictures is None:
            raise ValueError("kinds has picture, but there is no pictures folder")
        if "picture" not in self.kinds and self.pictures is not None:
            raise ValueError(f"pictures is {self.pictures}, but kinds ({', '.join(self.kinds)}) has no picture")
        return self

    @classmethod
    def checked(cls, values: Mapping[str, object]) -> Self:
        """Build settings from names and values, turning what is wrong into a message for the user.

        Raises:
            InputError: a name is unknown (the nearest known one is suggested) or a value is out of range.
        """
        for name in values:
            if name not in cls.model_fields:
                near = difflib.get_close_matches(name, cls.model_fields, n=1, cutoff=0.5)
                known = f"{near[0]!r}" if near else ", ".join(cls.model_fields)
                raise InputError(f"needles have no setting {name!r}.", fix=f"use {known}.")
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise InputError(
                _one_line(error), fix="change that setting; `bimba needles make --help` lists them."
            ) from None

    @property
    def num_frames(self) -> int:
        """Frames of each video: the whole number nearest to seconds x fps, at least 1."""
        return whole_frames(self.seconds, self.fps)

    @property
    def needle_frames(self) -> int:
        """Frames for which each needle is visible: the whole number nearest to needle_seconds x fps, at least 1."""
        return whole_frames(self.needle_seconds, self.fps)


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


def _one_line(error: ValidationError) -> str:
    """Say each thing pydantic found wrong, with the setting's name and the value that was given."""
    found = []
    for item in error.errors(include_url=False, include_context=False):
        message = item["msg"].removeprefix("Value error, ")
        where = ".".join(str(part) for part in item["loc"])
        found.append(f"{where} = {item['input']!r}: {message}" if where else message)
    return "the needle settings do not hold: " + "; ".join(found) + "."
