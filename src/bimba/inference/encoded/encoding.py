"""Which model encodes videos, and how it looks at them: plain values, so that another process can do the same."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bimba.inference.encoded.describing import settings_of
from bimba.inference.encoded.video import EncodedVideo
from bimba.inference.load import load
from bimba.inference.video_qa import VideoQA
from bimba.video.source import Video


@dataclass(frozen=True)
class Encoding:
    """How videos are encoded.

    Attributes:
        loading: arguments of `bimba.load`.
        num_frames: as in `VideoQA.ask`.
        sampling: as in `VideoQA.ask`.
        reading: options of `Video`.
    """

    loading: dict[str, Any]
    num_frames: int = 64
    sampling: str = "uniform"
    reading: dict[str, Any] = field(default_factory=dict)

    def load(self) -> VideoQA:
        """The model.

        Raises:
            CheckpointError: its files are missing, unsafe, or do not fit each other.
            InputError: an option is unknown or cannot be had on this machine.
        """
        return load(**self.loading)

    def settings(self, qa: VideoQA) -> dict[str, Any]:
        """What tells an encoded video from one that was looked at in another way."""
        part = Video("", start=self.reading.get("start"), end=self.reading.get("end"))
        return settings_of(qa.model.config, part, {"num_frames": self.num_frames, "sampling": self.sampling})

    def encode(self, qa: VideoQA, path: Path) -> EncodedVideo:
        """Encode a video.

        Raises:
            VideoError: it cannot be read.
            InputError: it is too short or too long for the model.
        """
        with Video(path, **self.reading) as video:
            return qa.encode(video, num_frames=self.num_frames, sampling=self.sampling)
