"""An opened video stream in; its packet table, frame times and rate out. Nothing is decoded but the first picture.

Letters: T frames, P packets of the video stream in file order.
"""

from __future__ import annotations  # PyAV's packets are generic in its stubs alone

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from bimba.errors import VideoError
from bimba.video.containers.opening import is_picture_packet, packet_timestamp, read_packets, refuse_lack_of_memory
from bimba.video.info import PacketTable

logger = logging.getLogger(__name__)

_MICROSECONDS = 1_000_000
# How far a header's rate may be from the presentation times before the times are believed (see `_average_fps`).
_RATE_TOLERANCE = 0.1
# A matroska or flv header gives the duration of the longest track, rounded and sometimes with its last silence.
_DURATION_SLACK_SECONDS = 1.0
# Sound and pictures rarely start together to the millisecond; players and the public code count from the pictures.
_START_TOLERANCE_SECONDS = 0.5
# Presentation times beyond this are damage; sums and differences of smaller ones fit into 64 bits.
_LARGEST_TIMESTAMP = 2**61


@dataclass(eq=False)
class PacketScan:
    """What one pass over the packets found, in file order.

    Attributes:
        timestamps: presentation time of each packet of the video, if it has one.
        is_key: whether decoding can start at it.
        is_shown: whether its picture is meant to be seen.
        is_corrupt: whether the demuxer marked it as damaged.
        first_key: the first packet at which decoding can start.
        last_duration: of the last packet, in ticks; 0 if unknown.
        video_end: where the pictures end, in ticks.
        file_end_seconds: where the last stream ends.
        failure: why the file could not be read to its end.
    """

    timestamps: list[int | None] = field(default_factory=list)
    is_key: list[bool] = field(default_factory=list)
    is_shown: list[bool] = field(default_factory=list)
    is_corrupt: list[bool] = field(default_factory=list)
    first_key: Packet[Stream] | None = None
    last_duration: int = 0
    video_end: int | None = None
    file_end_seconds: float = 0.0
    failure: str | None = None

    def mark_last_cut(self) -> None:
        """Note that the file ends within the last packet, which the demuxer did not notice."""
        self.is_corrupt[-1:] = [True] * len(self.is_corrupt[-1:])

    def drop_last(self) -> None:
        """Forget the last packet, which the file's end has cut."""
        for values in (self.timestamps, self.is_key, self.is_shown, self.is_corrupt):
            values.pop()


def scan_packets(container: InputContainer, stream: VideoStream) -> PacketScan:
    """Read every packet of the file, without decoding any."""
    scan = PacketScan()
    try:
        # All streams are read, not only the video: a header's duration is that of the longest.
        for packet in read_packets(container):
            timestamp = packet_timestamp(packet)
            if timestamp is not None and packet.time_base:
                end = float((timestamp + (packet.duration or 0)) * packet.time_base)
                scan.file_end_seconds = max(scan.file_end_seconds, end)
            if packet.stream_index == stream.index and is_picture_packet(packet):
                _note_packet(scan, packet, stream)
    except av.FFmpegError as error:
        refuse_lack_of_memory(error)
        scan.failure = error.strerror
    return scan


def _note_packet(scan: PacketScan, packet: Packet[Stream], stream: VideoStream) -> None:
    timestamp = packet_timestamp(packet)
    if timestamp is not None and abs(timestamp) > _LARGEST_TIMESTAMP:
        timestamp = None
    scan.timestamps.append(timestamp)
    if timestamp is not None:
        end = timestamp + (packet.duration or 0)
        scan.video_end = end if scan.video_end is None else max(scan.video_end, end)
    scan.is_key.append(packet.is_keyframe)
    # Edit lists mark packets that are decoded but not shown. VP8 stores pictures that only serve as a reference in
    # packets of their own: bit 4 of the frame tag (RFC 6386, section 9.1) says whether one is shown.
    hidden_reference = stream.codec_context.name == "vp8" and not bytes(packet)[0] & 0x10
    scan.is_shown.append(not packet.is_discard and not hidden_reference)
    scan.is_corrupt.append(packet.is_corrupt)
    if packet.is_keyframe and scan.first_key is None:
        scan.first_key = packet
    scan.last_duration = packet.duration or 0


def what_is_missing(container: InputContainer, stream: VideoStream, scan: PacketScan) -> str | None:
    """How much of the file is there, if that is less than its header promises; completes "FILE ...".

    An mp4's edit list may hide many of the frames its header counts, so that a low count alone proves nothing.
    """
    found = len(scan.timestamps)
    if scan.failure is not None:
        return f"breaks off after {found} frames: {scan.failure}"
    if 0 < found < stream.frames and _ends_early(stream, scan):
        return f"ends after {found} of {stream.frames} frames"
    if found and scan.is_corrupt[-1]:
        return f"ends within frame {found}, its last one"
    if stream.duration is None and container.duration is not None:
        promised = container.duration / _MICROSECONDS
        if scan.file_end_seconds + _DURATION_SLACK_SECONDS < promised:
            return f"ends after {scan.file_end_seconds:.2f} of {promised:.2f} seconds"
    return None


def _ends_early(stream: VideoStream, scan: PacketScan) -> bool:
    """Whether the frames found last less long than the header says."""
    if stream.duration is None or scan.video_end is None:
        return True
    half_a_frame = stream.duration / stream.frames / 2
    return scan.video_end - (stream.start_time or 0) + half_a_frame < stream.duration


def packet_table(scan: PacketScan, stream: VideoStream, path: Path) -> PacketTable:
    """Put the packets in order of display.

    Raises:
        VideoError: there are no frames, or their times or order are unknown.
    """
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
    if (np.diff(timestamps[key_positions]) < 0).any():  # recordings joined end to end, each with a clock of its own
        raise contradictory_times(path)
    frame_timestamps, frame_positions = _frames_in_order(timestamps[shown_positions], shown_positions, path)
    time_base = float(stream.time_base or 0)
    return PacketTable(stream.index, time_base, timestamps, key_positions, frame_timestamps, frame_positions)


def contradictory_times(path: Path) -> VideoError:
    """What to say of a file whose frames, told apart by time, would come in an order that is not theirs."""
    return VideoError(
        f"{path} stores presentation times that contradict the order of its frames.",
        fix="re-encode it with times of its own: ffmpeg -i in.avi -c:v libx264 out.mp4.",
    )


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


def start_seconds(container: InputContainer, stream: VideoStream, first_timestamp: int) -> float:
    """How long after the file's start the first frame comes, if that is long enough to be meant; else 0.

    The file starts where its first stream does. In recordings of meetings the camera may be switched on late.
    """
    if stream.time_base is None:
        return 0.0
    late = float(first_timestamp * stream.time_base) - (container.start_time or 0) / _MICROSECONDS
    return late if late > _START_TOLERANCE_SECONDS else 0.0


def frame_seconds(
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
