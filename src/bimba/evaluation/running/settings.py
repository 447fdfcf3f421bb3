"""What an evaluation on a benchmark asks: arguments in, checked and frozen settings out."""

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from bimba.evaluation.benchmarks import find_benchmark
from bimba.needles.settings import checked_model


class BenchmarkEvaluation(BaseModel):
    """Everything that decides what is asked, and of which model; the same settings give the same answers."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    benchmark: str = Field(description="name, as `bimba eval list` has it")
    model: str = Field(min_length=1, description="folder or hub id")
    base: str | None = Field(default=None, description="of an adapter, if not the one it names")
    dtype: str = Field(default="auto", description="auto (as stored), float32, bfloat16 or float16")
    temporal_pooling: int | None = Field(default=None, ge=1, description="other than the model's own")
    spatial_pooling: int | None = Field(default=None, ge=1, description="other than the model's own")

    frames_as: Literal["video", "images"] = Field(
        default="video", description="how a model that is none of ours is given frames"
    )
    frames: int = Field(default=64, ge=1, description="at most so many are chosen of each video")
    sampling: Literal["uniform", "fps", "middle"] = Field(default="uniform", description="how they are chosen")
    prompt: Literal["released", "official"] = Field(default="released", description="whose wording")
    time_sentence: bool = Field(default=False, description="tell the model when the frames are")
    score: Literal["generate", "likelihood"] = Field(
        default="generate", description="let the model answer in words, or compare the likelihoods of the letters"
    )
    extract: Literal["option", "released"] = Field(
        default="option", description="which rule reads an answer in words: extract_option, or the public code's"
    )
    max_new_tokens: int = Field(default=16, ge=1, description="of an answer in words")

    @classmethod
    def checked(cls, values: Mapping[str, object]) -> Self:
        """Build settings from names and values, turning what is wrong into a message for the user.

        Raises:
            InputError: a name or the benchmark is unknown (the nearest is suggested), or a value is out of range.
        """
        fix = "change it; `bimba eval run benchmark --help` tells more."
        settings = checked_model(cls, values, ("bimba eval run has", "the evaluation's settings"), fix)
        find_benchmark(settings.benchmark)
        return settings

    @property
    def config_overrides(self) -> dict[str, int] | None:
        """Of `bimba.load`."""
        given = {"temporal_pooling": self.temporal_pooling, "spatial_pooling": self.spatial_pooling}
        return {name: value for name, value in given.items() if value is not None} or None
