"""Which model encodes videos, and how it looks at them: plain values, so that another process can do the same."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bimba.checkpoints.outline import ModelOutline
from bimba.inference.budget import AUTO, ROOM_FOR_ANSWERS
from bimba.inference.encoded.describing import settings_of
from bimba.inference.encoded.video import EncodedVideo
from bimba.inference.load import load
from bimba.inference.plan import fit
from bimba.inference.video_qa import VideoQA
from bimba.video.source import Video


@dataclass(frozen=True)
class Encoding:
    """How videos are encoded.

    Attributes:
        loading: arguments of `bimba.load`.
        frames: at most so many, or "auto".
        sampling: "uniform", "fps" or "middle".
        fps: so many a second; None if no rate is named.
        max_video_tokens: at most; None for whatever the language model can read.
        temporal_pooling: given by hand; None for the model's own, or what a budget asks for.
        reading: options of `Video`.
    """

    loading: dict[str, Any]
    frames: int | Literal["auto"] = 64
    sampling: str = "uniform"
    fps: float | None = None
    max_video_tokens: int | None = None
    temporal_pooling: int | None = None
    reading: dict[str, Any] = field(default_factory=dict)

    @property
    def has_budget(self) -> bool:
        """Whether each video decides how much of it is looked at."""
        return self.fps is not None or self.frames == AUTO or self.max_video_tokens is not None

    def load(self) -> VideoQA:
        """The model.

        Raises:
            CheckpointError: its files are missing, unsafe, or do not fit each other.
            InputError: an option is unknown or cannot be had on this machine.
        """
        overrides = None if self.temporal_pooling is None else {"temporal_pooling": self.temporal_pooling}
        qa = load(**self.loading, config_overrides=overrides)
        qa.check_reads_no_question()
        return qa

    def settings(self, qa: VideoQA) -> dict[str, Any]:
        """What tells an encoded video from one that was looked at in another way."""
        return settings_of(qa.model.config, Video("", **self.reading), self._looking)

    @property
    def _looking(self) -> dict[str, Any]:
        """What was asked for; what that comes to differs from video to video."""
        looking: dict[str, Any] = {"num_frames": self.frames, "sampling": self.sampling}
        if self.has_budget:
            looking |= {"fps": self.fps, "max_video_tokens": self.max_video_tokens}
            looking |= {"temporal_pooling": self.temporal_pooling}
        return looking

    def encode(self, qa: VideoQA, path: Path) -> EncodedVideo:
        """Encode a video.

        Raises:
            VideoError: it cannot be read.
            InputError: it is too short or too long for the model.
        """
        with Video(path, **self.reading) as video:
            if isinstance(self.frames, int) and not self.has_budget:
                return qa.encode(video, num_frames=self.frames, sampling=self.sampling)
            own_pooling = qa.model.config.temporal_pooling
            chosen = fit(
                video,
                "?",
                ModelOutline(qa.model.config, qa.processor, qa.model.dtype),
                frames=self.frames,
                fps=self.fps,
                sampling=self.sampling,
                max_video_tokens=self.max_video_tokens,
                keep_pooling=self.temporal_pooling is not None,
                num_answer_tokens=ROOM_FOR_ANSWERS,
            )
            qa.pool_frames(chosen.temporal_pooling)
            try:
                return qa.encode(video, num_frames=chosen.num_frames, sampling=chosen.sampling, settings=self._looking)
            finally:
                qa.pool_frames(own_pooling)
