"""The sections of a recipe about data: which samples, which frames of them, and how they are read."""

import re
from pathlib import Path
from typing import Any, Literal, Self, get_args

from pydantic import Field, model_validator

from bimba.training.recipe.section import Settings
from bimba.video.interval_sampling import IntervalSampling
from bimba.video.sampling import Sampling

BIMBA_SAMPLING = get_args(Sampling)
"""What a BIMBA's frames can be chosen by; a Vamba's by all of `IntervalSampling`."""


class Frames(Settings):
    """Which frames of a video are seen.

    Attributes:
        count: at most so many.
        sampling: "uniform", "middle" (of equal intervals) or "fps" (one a second, if they fit); of a Vamba, whose
            default is "middle", also "random" (one of each of equal intervals, the same in every epoch).
        time_sentence: tell the model their times; a Vamba is not told them.
        backend: which decoder.
    """

    count: int = Field(default=64, ge=1)
    sampling: IntervalSampling = "uniform"
    time_sentence: bool = True
    backend: Literal["pyav", "torchcodec"] = "pyav"


class Needles(Settings):
    """Videos that are made for the run (see `bimba needles make`), and questions about them.

    Attributes:
        folder: where they are written to, once; later runs find them there.
        options: arguments of `bimba.needles.make_needles`.
        ask: "open" (the answer is what is seen) or "letter" (four options, the answer is a letter).
    """

    folder: Path
    options: dict[str, Any] = Field(default={})
    ask: Literal["open", "letter"] = "open"


class Stream(Settings):
    """Needle videos that are drawn while training and never stored (see `bimba.needles.NeedleStream`).

    A sample is a video with all of its questions: each is answered from the video alone, whatever else is asked, or,
    with `turns`, from the video and what was said before.

    Attributes:
        videos: how many; the video at an index is the same in every run.
        options: arguments of `bimba.needles.make_needles`, such as seed, split, seconds, fps, size and needles.
        kinds: of questions; all that can be answered without the frames' times if None.
        unknown: questions a video, on average, that it does not answer; the answer is "I cannot tell".
        itself: questions a video, on average, about what the model can be asked.
        turns: questions that make one conversation, in random order.
        rounds: how often each video is a sample, with other questions each time.
    """

    videos: int = Field(ge=1)
    options: dict[str, Any] = Field(default={})
    kinds: tuple[str, ...] | None = None
    unknown: float = Field(default=0.0, ge=0, le=10)
    itself: float = Field(default=0.0, ge=0, le=10)
    turns: int = Field(default=1, ge=1)
    rounds: int = Field(default=1, ge=1)


class Source(Settings):
    """Where samples come from: exactly one of `json_path`, `mixture`, `needles` and `stream`.

    Attributes:
        json_path: .json or .jsonl in the format of LLaVA-Video-178K.
        mixture: a published YAML list of such files with their sampling strategies.
        needles: videos made for the run.
        stream: videos that are drawn while training.
        sampling_strategy: all, first:N, end:N or random:N, where N is a number or a percentage.
        video_folder: what the samples' video and image paths are relative to; the json's own folder if None.
    """

    json_path: Path | None = None
    mixture: Path | None = None
    needles: Needles | None = None
    stream: Stream | None = None
    sampling_strategy: str = "all"
    video_folder: Path | None = None

    @model_validator(mode="after")
    def _holds(self) -> Self:
        given = [name for name in ("json_path", "mixture", "needles", "stream") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"a source has one of json_path, mixture, needles and stream, not {' and '.join(given) or 'none'}"
            )
        if re.fullmatch(r"all|(first|end|random):\d+(\.\d+)?%?", self.sampling_strategy) is None:
            allowed = "all, first:N, end:N or random:N, where N is a number or a percentage"
            raise ValueError(f"sampling_strategy is {self.sampling_strategy!r}; it should be {allowed}")
        return self


class Packing(Settings):
    """How many samples of a Vamba share a row of a batch; each sees itself alone, at the positions it has alone.

    It changes nothing of what is learned: a process takes `schedule.batch_size` samples at a time, in rows of these.

    Attributes:
        samples: so many, one after the other; or
        tokens: as many, one after the other, as have so many tokens of text together (longer ones have rows of their
            own).
    """

    samples: int | None = Field(default=None, ge=2)
    tokens: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _says_one(self) -> Self:
        if (self.samples is None) == (self.tokens is None):
            raise ValueError("packing has one of samples and tokens")
        return self


class Data(Settings):
    """Samples, and how they are read.

    Attributes:
        sources: of samples, one after the other; the order of training is another.
        labels: "released" (as the released model was trained: turn marks and headers are learned, too) or
            "assistant_only" (what the assistant says and the end of its turn).
        max_failed: share of the samples that may be unreadable; the run stops when there are more.
        max_tokens: longer samples are unreadable; the language model's context if None.
        workers: processes that decode ahead; 0 decodes in the training process.
        prefetch: batches that each of them is ahead.
        group_by_length: batch samples of like length together; measures all samples first (of streams
            the videos alone).
        cache: folder for the features of a frozen vision tower, so that further epochs, and other runs with the same
            tower and samples, skip decoding (or drawing) and vision.
        keep_tokens: keep in memory what the frozen parts before the language model make of each needle video, so that
            further rounds and epochs draw and encode nothing.
        packing: several samples of a Vamba share a row; each has its own if None.
    """

    sources: tuple[Source, ...] = Field(min_length=1)
    labels: Literal["released", "assistant_only"] = "released"
    max_failed: float = Field(default=0.01, ge=0, le=1)
    max_tokens: int | None = Field(default=None, ge=1)
    workers: int = Field(default=4, ge=0)
    prefetch: int = Field(default=2, ge=1)
    group_by_length: bool = False
    cache: Path | None = None
    keep_tokens: bool = False
    packing: Packing | None = None
