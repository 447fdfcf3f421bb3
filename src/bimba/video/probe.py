"""What a file holds: a path goes in; size, frame count, rate, frame times and the packet table come out.

A probe reads the packets once and decodes nothing but the first picture, because only a picture tells how the camera
was turned. Letters: T frames, P packets of the video stream in file order, K keyframes.
"""

from __future__ import annotations  # PyAV's packets are generic in its stubs alone

import logging
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import numpy.typing as npt
from av.codec.context import CodecContext
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from bimba.errors import VideoError
from bimba.video.images import image_size

logger = logging.getLogger(__name__)

_MICROSECONDS = 1_000_000
# How far a header's rate may be from the presentation times before the times are believed (see `_average_fps`).
_RATE_TOLERANCE = 0.1
# A matroska or flv header gives the duration of the longest track, rounded and sometimes with its last silence.
_DURATION_SLACK_SECONDS = 1.0
_REMUX = "fetch the file again, or keep what is there: ffmpeg -i in.mp4 -c copy out.mp4."


@dataclass(frozen=True, eq=False)
class PacketTable:
    """Where each frame lies in the file; what the decoder needs to reach a frame without decoding all before it.

    Attributes:
        stream_index: the video stream's number in the file.
        timestamps: int64 [P], presentation time of each packet in the stream's time base, in file order.
        key_positions: int64 [K], positions in file order of the packets at which decoding can start, ascending.
        frame_timestamps: int64 [T], presentation time of each frame, strictly ascending.
        frame_positions: int64 [T], position in file order of the last packet that a frame is made of.
    """

    stream_index: int
    timestamps: npt.NDArray[np.int64]
    key_positions: npt.NDArray[np.int64]
    frame_timestamps: npt.NDArray[np.int64]
    frame_positions: npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class VideoInfo:
    """What a video or image file holds.

    Attributes:
        path: the file.
        width: pixels of a row, after the rotation the file asks for.
        height: rows, after the rotation.
        num_frames: T.
        average_fps: frames a second; 1 for a still image.
        frame_seconds: float64 [T], presentation times counted from the first frame; with a constant frame rate exactly
            index / average_fps.
        packets: where the frames lie; None for a still image.
    """

    path: Path
    width: int
    height: int
    num_frames: int
    average_fps: float
    frame_seconds: npt.NDArray[np.float64]
    packets: PacketTable | None

    @property
    def is_image(self) -> bool:
        """Whether the file is a still image: a video of one frame that lasts no time."""
        return self.packets is None

    @property
    def duration_seconds(self) -> float:
        """Frames / average_fps, which the public code prints as the video's length; 0 for a still image."""
        return 0.0 if self.is_image else self.num_frames / self.average_fps


def probe(path: str | Path) -> VideoInfo:
    """Read what a video or image file holds; only the first picture is decoded.

    Raises:
        VideoError: the file is missing, a folder, empty, no video, without pictures or timestamps, or shorter than its
            own header promises.
    """
    path = Path(path)
    _check_file(path)
    size = image_size(path)
    if size is not None:
        return VideoInfo(path, *size, num_frames=1, average_fps=1.0, frame_seconds=np.zeros(1), packets=None)
    with open_container(path) as container:
        stream = _video_stream(container, path)
        scan = _scan_packets(container, stream, path)
        _check_complete(container, stream, scan, path)
        table = _packet_table(scan, stream, path)
        width, height = _upright_size(stream, scan.first_key, path)
        times = table.frame_timestamps - table.frame_timestamps[0]
        average_fps, frame_seconds = _frame_seconds(stream, times, scan.last_duration)
    return VideoInfo(path, width, height, len(times), average_fps, frame_seconds, table)


def open_container(path: Path) -> InputContainer:
    """Open a file with FFmpeg.

    Raises:
        VideoError: FFmpeg knows no format that fits the content.
    """
    try:
        return av.open(path)
    except av.FFmpegError as error:
        raise VideoError(
            f"{path} cannot be opened as a video: {error.strerror}.",
            fix="check that it plays (ffplay FILE); a download that was cut off must be fetched again, other files "
            "converted: ffmpeg -i in.avi out.mp4.",
        ) from error


def is_picture_packet(packet: Packet[Any]) -> bool:
    """Whether a packet carries data; the demuxer ends with an empty one, and some AVI files mark repeats with them."""
    return packet.size > 0


def packet_timestamp(packet: Packet[Any]) -> int | None:
    """Presentation time of a packet; AVI stores none for streams without reordering, where decode order serves."""
    return packet.dts if packet.pts is None else packet.pts


@dataclass(eq=False)
class _PacketScan:
    """What one pass over the packets found, in file order."""

    timestamps: list[int | None]
    is_key: list[bool]
    is_shown: list[bool]
    first_key: Packet[Stream] | None = None
    last_duration: int = 0
    last_is_corrupt: bool = False
    video_end: int | None = None
    file_end_seconds: float = 0.0


def _check_file(path: Path) -> None:
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise VideoError(
            f"{path} does not exist.", fix="check the spelling, or pass the full path of the video."
        ) from error
    except (OSError, ValueError) as error:  # too long a name, no rights to its folder, a zero byte in the name
        raise VideoError(f"{path} cannot be opened: {error}.", fix="check the path and your rights to it.") from error
    if stat.S_ISDIR(status.st_mode):
        raise VideoError(f"{path} is a folder, not a video file.", fix="pass one file inside it.")
    if status.st_size == 0:
        raise VideoError(f"{path} is empty (0 bytes).", fix="copy or download the file again.")
    if not os.access(path, os.R_OK):
        raise VideoError(f"{path} may not be read by you.", fix="ask for the right to read it, or copy it.")


def _video_stream(container: InputContainer, path: Path) -> VideoStream:
    for stream in container.streams.video:
        # The cover art of a song is stored as a video stream of one picture.
        if not stream.disposition & Disposition.attached_pic:
            _check_decodable(stream, path)
            return stream
    kinds = ", ".join(stream.type for stream in container.streams) or "none"
    raise VideoError(f"{path} has no video stream (its streams: {kinds}).", fix="pass a file that has pictures.")


def _check_decodable(stream: VideoStream, path: Path) -> None:
    # PyAV's stubs leave out that a stream of an unknown codec has no decoder.
    if cast("CodecContext | None", stream.codec_context) is None:
        raise VideoError(
            f"{path} holds a video of a codec that this FFmpeg build cannot decode.",
            fix="re-encode it where it plays: ffmpeg -i in.mp4 -c:v libx264 out.mp4.",
        )


def _scan_packets(container: InputContainer, stream: VideoStream, path: Path) -> _PacketScan:
    scan = _PacketScan([], [], [])
    try:
        # All streams are read, not only the video: a header's duration is that of the longest.
        for packet in container.demux():
            timestamp = packet_timestamp(packet)
            if timestamp is not None and packet.time_base:
                end = float((timestamp + (packet.duration or 0)) * packet.time_base)
                scan.file_end_seconds = max(scan.file_end_seconds, end)
            if packet.stream_index == stream.index and is_picture_packet(packet):
                _note_packet(scan, packet, stream)
    except av.FFmpegError as error:
        raise VideoError(
            f"{path} breaks off after {len(scan.timestamps)} frames: {error.strerror}.", fix=_REMUX
        ) from error
    return scan


def _note_packet(scan: _PacketScan, packet: Packet[Stream], stream: VideoStream) -> None:
    timestamp = packet_timestamp(packet)
    scan.timestamps.append(timestamp)
    if timestamp is not None:
        end = timestamp + (packet.duration or 0)
        scan.video_end = end if scan.video_end is None else max(scan.video_end, end)
    scan.is_key.append(packet.is_keyframe)
    # Edit lists mark packets that are decoded but not shown. VP8 stores pictures that only serve as a reference in
    # packets of their own: bit 4 of the frame tag (RFC 6386, section 9.1) says whether one is shown.
    hidden_reference = stream.codec_context.name == "vp8" and not bytes(packet)[0] & 0x10
    scan.is_shown.append(not packet.is_discard and not hidden_reference)
    if packet.is_keyframe and scan.first_key is None:
        scan.first_key = packet
    scan.last_duration = packet.duration or 0
    scan.last_is_corrupt = packet.is_corrupt


def _check_complete(container: InputContainer, stream: VideoStream, scan: _PacketScan, path: Path) -> None:
    found = len(scan.timestamps)
    if 0 < found < stream.frames and _ends_early(stream, scan):
        raise VideoError(f"{path} ends after {found} of {stream.frames} frames.", fix=_REMUX)
    if scan.last_is_corrupt:
        raise VideoError(f"{path} ends within frame {found}, its last one.", fix=_REMUX)
    if stream.duration is None and container.duration is not None:
        promised = container.duration / _MICROSECONDS
        if scan.file_end_seconds + _DURATION_SLACK_SECONDS < promised:
            raise VideoError(f"{path} ends after {scan.file_end_seconds:.2f} of {promised:.2f} seconds.", fix=_REMUX)


def _ends_early(stream: VideoStream, scan: _PacketScan) -> bool:
    """Whether the frames found last less long than the header says.

    An mp4's edit list may hide many of the frames its header counts, so that a low count alone proves nothing.
    """
    if stream.duration is None or scan.video_end is None:
        return True
    half_a_frame = stream.duration / stream.frames / 2
    return scan.video_end - (stream.start_time or 0) + half_a_frame < stream.duration


def _packet_table(scan: _PacketScan, stream: VideoStream, path: Path) -> PacketTable:
    if not scan.timestamps:
        raise VideoError(f"{path} has a video stream without a single frame.", fix="pass a file that has pictures.")
    first = scan.is_key.index(True) if True in scan.is_key else 0
    known: list[int] = [timestamp for timestamp in scan.timestamps[first:] if timestamp is not None]
    num_missing = len(scan.timestamps) - first - len(known)
    if num_missing:
        raise VideoError(
            f"{path} stores no presentation time for {num_missing} of {len(scan.timestamps)} frames.",
            fix="re-encode it into a container with timestamps: ffmpeg -i in.h264 -c:v libx264 out.mp4.",
        )
    _check_reordering(stream, known, path)
    # What lies before the first keyframe keeps its place in the file order, with a time that no frame has.
    timestamps = np.array([known[0] - 1] * first + known, dtype=np.int64)
    is_shown = np.array(scan.is_shown) & (timestamps >= timestamps[first])
    shown_positions = np.flatnonzero(is_shown)
    if not len(shown_positions):
        raise VideoError(f"{path} has {len(timestamps)} pictures, none of which is shown.", fix="re-encode the file.")
    _log_left_out(scan.is_shown, is_shown, path)
    key_positions = np.flatnonzero(scan.is_key) if True in scan.is_key else np.zeros(1, dtype=np.int64)
    frame_timestamps, frame_positions = _frames_in_order(timestamps[shown_positions], shown_positions, path)
    return PacketTable(stream.index, timestamps, key_positions, frame_timestamps, frame_positions)


def _check_reordering(stream: VideoStream, timestamps: list[int], path: Path) -> None:
    # AVI has no presentation times; FFmpeg then numbers the packets, which is wrong where frames are reordered.
    is_avi = stream.container.format.name == "avi"
    if is_avi and stream.codec_context.has_b_frames and timestamps == sorted(timestamps):
        raise VideoError(
            f"{path} reorders its frames (codec {stream.codec_context.name}) but stores no presentation times.",
            fix="re-encode it into a container with timestamps: ffmpeg -i in.avi -c:v libx264 out.mp4.",
        )


def _frames_in_order(
    timestamps: npt.NDArray[np.int64], positions: npt.NDArray[np.intp], path: Path
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Sort packets by presentation time; two of the same time are the two fields of one frame, which the last ends."""
    unique, first_in_reverse = np.unique(timestamps[::-1], return_index=True)
    if len(unique) < len(timestamps):
        num_pairs = len(timestamps) - len(unique)
        logger.warning("%s: %d packets repeat the time of another and count as the same frame", path, num_pairs)
    return unique, positions[::-1][first_in_reverse].astype(np.int64)


def _log_left_out(marked_shown: Sequence[bool], is_shown: npt.NDArray[np.bool_], path: Path) -> None:
    num_left_out = sum(marked_shown) - int(is_shown.sum())
    if num_left_out:
        logger.warning(
            "%s: %d frames before the first keyframe cannot be decoded and are not counted", path, num_left_out
        )


def _upright_size(stream: VideoStream, first_key: Packet[Stream] | None, path: Path) -> tuple[int, int]:
    try:
        frames = [] if first_key is None else [*stream.codec_context.decode(first_key), *stream.codec_context.decode()]
    except av.FFmpegError as error:
        # Damage is the decoder's to report, when the damaged frame is one of those wanted.
        logger.warning("%s: the first picture cannot be decoded: %s", path, error.strerror)
        frames = []
    if not frames:  # damaged, or a picture of two fields, or one that needs those after it: the header has to do
        return stream.width, stream.height
    sideways = quarter_turns(frames[0].rotation) % 2 == 1
    return (frames[0].height, frames[0].width) if sideways else (frames[0].width, frames[0].height)


def quarter_turns(rotation_degrees: int) -> int:
    """How often a picture is turned by 90 degrees counterclockwise, 0 to 3, for the angle its file asks for."""
    return round(rotation_degrees / 90) % 4


def _frame_seconds(
    stream: VideoStream, times: npt.NDArray[np.int64], last_duration: int
) -> tuple[float, npt.NDArray[np.float64]]:
    """Average rate and float64 [T] seconds from int64 [T] times that start at 0 and count in the time base."""
    time_base = float(stream.time_base or 0)
    # Where the last frame's duration is not stored, it is taken to be that of the others on average.
    last_frame = last_duration or int(times[-1]) / max(len(times) - 1, 1)
    average_fps = _average_fps(stream, len(times), (int(times[-1]) + last_frame) * time_base)
    constant = np.arange(len(times)) / average_fps
    measured = times.astype(np.float64) * time_base
    # A container rounds times to its time base: two roundings, of the first frame and of this one, are one tick.
    if np.abs(measured - constant).max() <= time_base * (1 + 1e-6):
        return average_fps, constant
    return average_fps, measured


def _average_fps(stream: VideoStream, num_frames: int, span_seconds: float) -> float:
    """The header's rate, as the public code takes it, unless the frames' own times contradict it.

    Containers without a frame table make the rate an estimate from the first frames, which may be far off for a
    recording of variable rate; durations and sampling would be wrong by the same factor.
    """
    header = float(stream.average_rate or 0)
    if span_seconds <= 0:
        return header or 1.0
    measured = num_frames / span_seconds
    return header if header and abs(measured / header - 1) <= _RATE_TOLERANCE else measured
