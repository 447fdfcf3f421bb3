"""Decode: what was probed and frame indices go in, uint8 RGB frames come out, one at a time.

Letters: T frames asked for, H rows, W columns.
"""

from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from itertools import pairwise
from typing import Literal, get_args

import numpy as np

from bimba.errors import InputError
from bimba.video.decoders import pyav
from bimba.video.info import RGBFrame, VideoInfo
from bimba.video.pictures import folder, images

Backend = Literal["pyav", "torchcodec"]
"""What decodes videos: PyAV, which brings FFmpeg along, or torchcodec (extra `torchcodec`), which uses the system's."""


def iter_frames(
    info: VideoInfo,
    indices: Sequence[int],
    *,
    on_frame: Callable[[int], None] | None = None,
    backend: str = "pyav",
) -> Generator[RGBFrame]:
    """Decode the wanted frames, in order, one at a time; closing the generator closes the file.

    Args:
        info: what `probe` found.
        indices: T frame numbers, ascending; a number may come twice, and its frame then does.
        on_frame: called after each frame with the number of frames delivered so far, for a progress bar.
        backend: "pyav" or "torchcodec"; both give the same frames.

    Returns:
        A generator of T arrays, uint8 RGB [H, W, 3], upright.

    Raises:
        ValueError: indices are not ascending, or outside the file.
        InputError: the backend is unknown or not installed.
        VideoError: while iterating, a frame does not come: the file is damaged, or has changed since it was probed.
    """
    check_backend(backend)
    check_indices(info, indices)
    return _delivered(info, indices, on_frame, backend)


def decode_frames(
    info: VideoInfo,
    indices: Sequence[int],
    *,
    on_frame: Callable[[int], None] | None = None,
    backend: str = "pyav",
) -> RGBFrame:
    """Decode the wanted frames into one array; arguments and errors as `iter_frames`.

    Returns:
        uint8 RGB [T, H, W, 3].
    """
    frames = np.empty((len(indices), info.height, info.width, 3), dtype=np.uint8)
    for place, frame in enumerate(iter_frames(info, indices, on_frame=on_frame, backend=backend)):
        frames[place] = frame
    return frames


def check_indices(info: VideoInfo, indices: Sequence[int]) -> None:
    """Hold frame numbers against what `iter_frames` takes.

    Raises:
        ValueError: they are not ascending, or outside the file.
    """
    if any(later < earlier for earlier, later in pairwise(indices)):
        raise ValueError(f"indices must be ascending, got {list(indices)}")
    if len(indices) and (indices[0] < 0 or indices[-1] >= info.num_frames):
        raise ValueError(
            f"indices run from {indices[0]} to {indices[-1]}, but {info.path} has frames 0 to {info.num_frames - 1}"
        )


def check_backend(backend: str) -> None:
    """Refuse a backend that there is none of.

    Raises:
        InputError: it is neither "pyav" nor "torchcodec".
    """
    if backend not in get_args(Backend):
        raise InputError(
            f"The video backend is {backend!r}, which is none of {', '.join(get_args(Backend))}.",
            fix="leave it out, or pass --backend torchcodec.",
        )


def _delivered(
    info: VideoInfo, indices: Sequence[int], on_frame: Callable[[int], None] | None, backend: str
) -> Generator[RGBFrame]:
    """Repeat frames that were asked for more than once, and report each."""
    times_wanted = Counter(indices)  # in the order of `indices`, which ascends
    num_delivered = 0
    with closing(_decoded(info, list(times_wanted), backend)) as decoded:
        for frame, num_times in zip(decoded, times_wanted.values(), strict=True):
            for _ in range(num_times):
                yield frame
                num_delivered += 1
                if on_frame is not None:
                    on_frame(num_delivered)


def _decoded(info: VideoInfo, indices: Sequence[int], backend: str) -> Generator[RGBFrame]:
    """Frames with strictly ascending numbers."""
    if info.kind == "folder":
        return folder.read_pictures(info, indices)
    if info.kind != "video":
        return images.read_animation(info, indices)
    if info.packets is None:
        raise ValueError(f"{info.path} was probed in isolation; its frames come from the Video that probed it")
    if backend == "torchcodec":
        from bimba.video.decoders.torchcodec import read_frames

        return read_frames(info, info.packets, indices)
    return pyav.read_frames(info, info.packets, indices)
