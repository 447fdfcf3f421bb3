"""Estimated seconds of each stage in; of all of them together out."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TimePlan:
    """Estimated seconds of each stage, as `Answer.timings` names them; loading the model is not among them.

    Args:
        decode: of the frames.
        pixels: resizing them.
        looking: what is done with them, by stage: "vision" (the vision tower), then "project" (its features to the
            language model's width) and "compress" of BIMBA, or "mix" (the mixers, and keys and values of each layer) of
            Vamba.
        first_token: the language model, until the answer begins.
        next_token: each token of the answer after the first.
        at_once: whether frames are read while others are looked at without slowing that down: on a GPU.
    """

    decode: float
    pixels: float
    looking: dict[str, float]
    first_token: float
    next_token: float
    at_once: bool

    @property
    def encode(self) -> float:
        """Until the video is encoded."""
        reading, looking = self.decode + self.pixels, sum(self.looking.values())
        return max(reading, looking) if self.at_once else reading + looking

    @property
    def until_answer(self) -> float:
        """Until the answer begins."""
        return self.encode + self.first_token

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, ready for JSON."""
        reading = {"decode": self.decode, "pixels": self.pixels}
        answering = {"first_token": self.first_token, "next_token": self.next_token, "at_once": self.at_once}
        return reading | self.looking | answering | {"encode": self.encode, "until_answer": self.until_answer}
