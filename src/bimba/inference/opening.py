"""A video as people have it in; what its frames can be chosen from out."""

from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

from bimba.errors import InputError
from bimba.inference.clip import ClipArray, ClipFile
from bimba.inference.encoded import SUFFIX, EncodedVideo, read_encoded
from bimba.video.source import Video

VideoInput = Video | EncodedVideo | str | Path | BinaryIO | np.ndarray | torch.Tensor
"""A `Video`; a file, image, animation or folder of pictures; a pipe ("-" or a binary file object); a video that was
encoded before, or its file; or frames that are chosen already, uint8 [T, H, W, 3]."""

Opened = ClipFile | ClipArray | EncodedVideo


def open_video(video: VideoInput) -> Opened:
    """Probe a video, or check frames, or read what was encoded.

    Raises:
        VideoError: it cannot be read as a video or image, or comes from one that has changed since it was encoded.
        InputError: frames of another shape or dtype.
    """
    if isinstance(video, Video):
        return ClipFile(video)
    if isinstance(video, EncodedVideo):
        return video
    if isinstance(video, np.ndarray | torch.Tensor):
        return ClipArray(video)
    if isinstance(video, str | Path) and is_encoded(video):
        return read_encoded(video)
    if isinstance(video, str | Path) or hasattr(video, "read"):
        return ClipFile(Video(video))
    raise InputError(
        f"the video is a {type(video).__name__}.",
        fix="pass a path, a bimba.Video, a binary file object, or frames as a uint8 array [T, H, W, 3].",
    )


def is_encoded(path: str | Path) -> bool:
    """Whether a file is, by its name, a video that was encoded."""
    return Path(path).suffix.lower() == SUFFIX
