"""What is known of a video before its frames are decoded: plain data that `probe` fills and the decoders read.

Letters: T frames, P packets of the video stream in file order, K keyframes.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from bimba.errors import VideoError

RGBFrame = npt.NDArray[np.uint8]
"""A decoded frame: uint8 RGB [H, W, 3], upright."""

VIDEO_SUFFIXES = (".mp4", ".mkv", ".webm", ".mov", ".avi", ".m4v")
"""What videos are called where a folder is searched for them; the oftener the earlier."""

Kind = Literal["video", "image", "animation", "folder"]
"""A stream of packets; one still picture; an animated webp or png; a folder of pictures."""


@dataclass(frozen=True, eq=False)
class PacketTable:
    """Where each frame lies in the file; what the decoder needs to reach a frame without decoding all before it.

    Attributes:
        stream_index: the video stream's number in the file.
        time_base: seconds of a tick.
        timestamps: int64 [P], presentation time of each packet in the stream's time base, in file order.
        key_positions: int64 [K], positions in file order of the packets at which decoding can start, ascending.
        frame_timestamps: int64 [T], presentation time of each frame, strictly ascending.
        frame_positions: int64 [T], position in file order of the last packet that a frame is made of.
    """

    stream_index: int
    time_base: float
    timestamps: npt.NDArray[np.int64]
    key_positions: npt.NDArray[np.int64]
    frame_timestamps: npt.NDArray[np.int64]
    frame_positions: npt.NDArray[np.int64]

    @property
    def num_frames(self) -> int:
        """T."""
        return len(self.frame_timestamps)

    def first(self, num_frames: int) -> "PacketTable":
        """The table without the frames from `num_frames` on; their packets stay, since earlier frames may need them."""
        return replace(
            self,
            frame_timestamps=self.frame_timestamps[:num_frames],
            frame_positions=self.frame_positions[:num_frames],
        )


class FileStamp(NamedTuple):
    """By what a file is known to be the same as before.

    Attributes:
        num_bytes: its size.
        modified_ns: when it was last written.
    """

    num_bytes: int
    modified_ns: int

    @classmethod
    def of(cls, path: Path) -> "FileStamp":
        """The stamp of a file as it is now.

        Raises:
            VideoError: the file is gone.
        """
        try:
            status = path.stat()
        except OSError as error:
            raise VideoError(
                f"{path} cannot be opened: {error.strerror}.", fix="check that it is still where it was."
            ) from error
        return cls(status.st_size, status.st_mtime_ns)


@dataclass(frozen=True, eq=False)
class VideoInfo:
    """What a video, an image, an animation or a folder of pictures holds.

    Attributes:
        path: the file or folder.
        kind: what it is.
        width: stored pixels of a row, after the rotation the file asks for.
        height: rows, after the rotation.
        num_frames: T.
        average_fps: frames a second; 1 where there are no times.
        frame_seconds: float64 [T], presentation times from the file's start; with a constant frame rate exactly
            index / average_fps. Zeros where there are no times.
        is_timed: whether the frames have times. A still image has none, nor has a folder whose rate nobody named.
        start_seconds: how long after the file's start the first frame comes; 0 unless sound runs well ahead of it.
        pixel_aspect: width of a pixel over its height, after the rotation; 1 for square pixels.
        codec: name of the coding, as FFmpeg or Pillow has it.
        stamp: the file's size and time when it was probed; None for a folder.
        packets: where the frames lie, for a video.
        pictures: the files of a folder, in order.
    """

    path: Path
    kind: Kind
    width: int
    height: int
    num_frames: int
    average_fps: float
    frame_seconds: npt.NDArray[np.float64]
    is_timed: bool
    codec: str
    start_seconds: float = 0.0
    pixel_aspect: float = 1.0
    stamp: FileStamp | None = None
    packets: PacketTable | None = None
    pictures: tuple[Path, ...] = ()

    @property
    def is_image(self) -> bool:
        """Whether it is a still image: a video of one frame that lasts no time."""
        return self.kind == "image"

    @property
    def duration_seconds(self) -> float:
        """Frames / average_fps, which the public code prints as the video's length; 0 without times."""
        return self.start_seconds + self.num_frames / self.average_fps if self.is_timed else 0.0

    @property
    def display_size(self) -> tuple[int, int]:
        """Width and height at which a player shows it, with square pixels."""
        return max(1, round(self.width * self.pixel_aspect)), self.height

    def check_unchanged(self) -> None:
        """Compare the file with what it was when it was probed.

        Raises:
            VideoError: it is gone, or was written to since.
        """
        if self.stamp is None:
            return
        now = FileStamp.of(self.path)
        if now != self.stamp:
            before, after = f"{self.stamp.num_bytes:,}", f"{now.num_bytes:,}"
            how = "its bytes were replaced" if before == after else f"it had {before} bytes and has {after} now"
            raise VideoError(
                f"{self.path} changed while it was read: {how}.",
                fix="wait until whatever writes it is done, or copy it and pass the copy.",
            )
