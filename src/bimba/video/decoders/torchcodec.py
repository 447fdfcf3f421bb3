"""The optional decoder: a probed video and frame indices in, the frames that torchcodec makes of them out.

It uses the FFmpeg of the system. Its frames are those of PyAV, byte for byte; only in pictures of odd size or of two
fields, whose colours are stored for several pixels at once, it spreads them in another way (by less than one level on
average). HDR it does not map to what a usual screen shows, so that such videos are refused here.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bimba.errors import InputError, VideoError
from bimba.video.info import PacketTable, RGBFrame, VideoInfo

if TYPE_CHECKING:
    from torchcodec.decoders import VideoDecoder

_HDR = ("smpte2084", "arib-std-b67")
_USE_PYAV = "leave --backend out, so that PyAV decodes it."


def read_frames(info: VideoInfo, packets: PacketTable, indices: Sequence[int]) -> Generator[RGBFrame]:
    """Decode wanted frames, strictly ascending.

    Raises:
        InputError: torchcodec is not installed, or finds no FFmpeg.
        VideoError: a frame does not come, or is not the one that was asked for.
    """
    info.check_unchanged()
    decoder = _open(info, packets)
    # By number, if it counts the same frames: by time, it takes frames of a variable rate for the ones before them.
    is_by_number = len(decoder) == packets.num_frames == len(packets.timestamps)
    for num_done, index in enumerate(indices):
        seconds = float(packets.frame_timestamps[index]) * packets.time_base
        try:
            # A quarter of a tick later, so that rounding leads neither to the frame before nor to the next.
            later = seconds + packets.time_base / 4
            frame = decoder.get_frame_at(index) if is_by_number else decoder.get_frame_played_at(later)
        except (RuntimeError, IndexError) as error:
            raise VideoError(
                f"{info.path} gave {num_done} of the {len(indices)} wanted frames: torchcodec cannot decode frame "
                f"{index} of {info.num_frames} (at {info.frame_seconds[index]:.2f} s).",
                fix=_USE_PYAV,
            ) from error
        if abs(frame.pts_seconds - seconds) > packets.time_base / 2:  # a tick may be a whole frame
            raise VideoError(
                f"{info.path}: for frame {index} at {seconds:.4f} s of the stream torchcodec gave the one at "
                f"{frame.pts_seconds:.4f} s.",
                fix=_USE_PYAV,
            )
        array = np.ascontiguousarray(frame.data.numpy())
        if array.shape != (info.height, info.width, 3):
            raise VideoError(
                f"{info.path} changes its size at frame {index}, from {info.width} x {info.height} to "
                f"{array.shape[1]} x {array.shape[0]}.",
                fix=_USE_PYAV,
            )
        yield array
    info.check_unchanged()


def _open(info: VideoInfo, packets: PacketTable) -> VideoDecoder:
    try:
        from torchcodec.decoders import VideoDecoder
    except ImportError as error:
        raise InputError(
            "torchcodec is not installed.", fix="pip install 'bimba[torchcodec]', or leave --backend out."
        ) from error
    except (RuntimeError, OSError) as error:
        raise InputError(
            "torchcodec is installed, but finds no FFmpeg of the system, or one that does not fit this torch.",
            fix="install FFmpeg (apt install ffmpeg, brew install ffmpeg), or leave --backend out.",
        ) from error
    try:
        # The prefix keeps FFmpeg from reading a name such as concat:a|b as anything but a name.
        path = f"file:{info.path}"
        decoder = VideoDecoder(path, stream_index=packets.stream_index, dimension_order="NHWC", num_ffmpeg_threads=0)
    except (RuntimeError, ValueError) as error:
        raise VideoError(f"torchcodec cannot open {info.path}.", fix=_USE_PYAV) from error
    if decoder.metadata.color_transfer_characteristic in _HDR:
        raise VideoError(f"{info.path} is HDR, which torchcodec does not map to usual colours.", fix=_USE_PYAV)
    return decoder
