"""Decode: a probed file and frame indices go in, uint8 RGB frames come out, one at a time.

Only the packets between the nearest keyframe and the wanted frame are decoded, frames are told apart by presentation
time, and a frame that does not come is an error. Letters: T frames asked for, H rows, W columns.
"""

from __future__ import annotations  # PyAV's packets are generic in its stubs alone

import logging
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain, pairwise

import av
import numpy as np
import numpy.typing as npt
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from bimba.errors import VideoError
from bimba.video.images import read_image
from bimba.video.probe import (
    PacketTable,
    VideoInfo,
    is_picture_packet,
    open_container,
    packet_timestamp,
    quarter_turns,
)

logger = logging.getLogger(__name__)

RGBFrame = npt.NDArray[np.uint8]


def iter_frames(
    info: VideoInfo, indices: Sequence[int], *, on_frame: Callable[[int], None] | None = None
) -> Generator[RGBFrame]:
    """Decode the wanted frames, in order, one at a time; closing the generator closes the file.

    Args:
        info: what `probe` found.
        indices: T frame numbers, ascending; a number may come twice, and its frame then does.
        on_frame: called after each frame with the number of frames delivered so far, for a progress bar.

    Returns:
        A generator of T arrays, uint8 RGB [H, W, 3], upright.

    Raises:
        ValueError: indices are not ascending, or outside the file.
        VideoError: while iterating, a frame does not come: the file is damaged, or has changed since it was probed.
    """
    if any(later < earlier for earlier, later in pairwise(indices)):
        raise ValueError(f"indices must be ascending, got {list(indices)}")
    if len(indices) and (indices[0] < 0 or indices[-1] >= info.num_frames):
        raise ValueError(
            f"indices run from {indices[0]} to {indices[-1]}, but {info.path} has frames 0 to {info.num_frames - 1}"
        )
    return _delivered(info, indices, on_frame)


def decode_frames(
    info: VideoInfo, indices: Sequence[int], *, on_frame: Callable[[int], None] | None = None
) -> RGBFrame:
    """Decode the wanted frames into one array; arguments and errors as `iter_frames`.

    Returns:
        uint8 RGB [T, H, W, 3].
    """
    frames = np.empty((len(indices), info.height, info.width, 3), dtype=np.uint8)
    for place, frame in enumerate(iter_frames(info, indices, on_frame=on_frame)):
        frames[place] = frame
    return frames


def _delivered(info: VideoInfo, indices: Sequence[int], on_frame: Callable[[int], None] | None) -> Generator[RGBFrame]:
    """Repeat frames that were asked for more than once, and report each."""
    times_wanted = Counter(indices)  # in the order of `indices`, which ascends
    num_delivered = 0
    with closing(_decoded(info, list(times_wanted))) as decoded:
        for frame, num_times in zip(decoded, times_wanted.values(), strict=True):
            for _ in range(num_times):
                yield frame
                num_delivered += 1
                if on_frame is not None:
                    on_frame(num_delivered)


def _decoded(info: VideoInfo, indices: Sequence[int]) -> Generator[RGBFrame]:
    if info.packets is None:
        for _ in indices:
            yield read_image(info.path)
        return
    reader = _Reader(info, info.packets)
    num_done = 0
    try:
        for run in plan_runs(info.packets, indices):
            for picture in _decode_run(reader, run, num_done, len(indices)):
                yield _to_rgb(picture, info)
                num_done += 1
    finally:
        reader.close()
        logger.debug(
            "%s: delivered %d frames from %d packets, %d decoded, %d seeks",
            *(info.path, num_done, reader.num_packets, reader.num_decoded, reader.num_seeks),
        )


@dataclass
class Run:
    """A stretch of packets that is decoded without a seek, and the frames wanted of it.

    Attributes:
        start: position in file order of the keyframe to start at.
        last: position of the last packet needed.
        indices: frame numbers wanted, ascending.
    """

    start: int
    last: int
    indices: list[int] = field(default_factory=list)


def plan_runs(packets: PacketTable, indices: Sequence[int]) -> list[Run]:
    """Group wanted frames into runs: a new run, which costs a seek, begins only where packets can be left out.

    Args:
        packets: where the frames lie.
        indices: frame numbers, strictly ascending.
    """
    runs: list[Run] = []
    for index in indices:
        position = int(packets.frame_positions[index])
        start = _keyframe_before(packets, position, int(packets.frame_timestamps[index]))
        if not runs or not runs[-1].start <= start <= runs[-1].last + 1:
            runs.append(Run(start, position))
        runs[-1].last = max(runs[-1].last, position)
        runs[-1].indices.append(index)
    return runs


def _keyframe_before(packets: PacketTable, position: int, timestamp: int) -> int:
    """Position of the nearest keyframe that lies before a frame both in the file and in time.

    A frame stored after a keyframe but shown before it may refer to what came before that keyframe (an open group of
    pictures), so decoding must start one keyframe earlier.
    """
    before = int(np.searchsorted(packets.key_positions, position, side="right")) - 1
    while before > 0 and packets.timestamps[packets.key_positions[before]] > timestamp:
        before -= 1
    return int(packets.key_positions[max(before, 0)])


class _Reader:
    """An open file that decodes stretches of packets, and counts what that took."""

    def __init__(self, info: VideoInfo, packets: PacketTable) -> None:
        self.info, self.packets = info, packets
        self.num_packets = self.num_decoded = self.num_seeks = 0
        # Reversed, so that of two packets of the same time the first in the file is found.
        numbered = reversed(list(enumerate(packets.timestamps.tolist())))
        self._positions: dict[int | None, int] = {timestamp: position for position, timestamp in numbered}
        self._open()

    def _open(self) -> None:
        self._container = open_container(self.info.path)
        self._stream: VideoStream = self._container.streams.video[0]
        for stream in self._container.streams.video:
            if stream.index == self.packets.stream_index:
                self._stream = stream
        self._stream.thread_type = "AUTO"
        self._is_fresh = True

    def close(self) -> None:
        """Release the file and the decoder's threads."""
        self._container.close()

    def pictures(self, start: int, last: int) -> Iterator[VideoFrame]:
        """Decode the packets from a keyframe to `last`, both positions in file order, in the order of display."""
        decoder = self._stream.codec_context
        packets = self._packets_from(start)
        for position, packet in enumerate(packets, start):
            self.num_packets += 1
            for picture in decoder.decode(packet):
                self.num_decoded += 1
                yield picture
            if position == last:
                break
        # The decoder holds pictures back for reordering and for its threads; nothing after `last` is needed for them.
        for picture in decoder.decode(None):
            self.num_decoded += 1
            yield picture

    def _packets_from(self, start: int) -> Iterator[Packet[VideoStream]]:
        """Packets in file order from the one at position `start` on."""
        is_first = start == int(self.packets.key_positions[0])
        if not (is_first and self._is_fresh):
            for position in self._seek_positions(start):
                packets = self._seek(position, start)
                if packets is not None:
                    return packets
            # Containers without a usable index are read from their beginning.
            self.close()
            self._open()
        return self._skip_to(start) or iter(())

    def _seek_positions(self, start: int) -> list[int]:
        """Keyframes to seek to, best first: some formats land behind the time they are asked for."""
        before = int(np.searchsorted(self.packets.key_positions, start))
        return [start, int(self.packets.key_positions[max(before - 1, 0)])]

    def _seek(self, position: int, start: int) -> Iterator[Packet[VideoStream]] | None:
        self.num_seeks += 1
        try:
            self._container.seek(int(self.packets.timestamps[position]), stream=self._stream)
        except av.FFmpegError:  # a format that cannot seek; the caller reads it from the beginning
            logger.debug("%s: cannot seek", self.info.path)
            return None
        return self._skip_to(start)

    def _skip_to(self, start: int) -> Iterator[Packet[VideoStream]] | None:
        """Pass over packets before `start` without decoding them; None when the file's position is behind it."""
        self._is_fresh = False
        packets = (packet for packet in self._container.demux(self._stream) if is_picture_packet(packet))
        for packet in packets:
            position = self._positions.get(packet_timestamp(packet))
            if position == start:
                return chain((packet,), packets)
            if position is not None and position > start:
                return None
        return None


def _decode_run(reader: _Reader, run: Run, num_done: int, num_wanted: int) -> Iterator[VideoFrame]:
    """Yield the wanted pictures of a run, starting further back when a keyframe turns out not to be enough.

    Streams without true keyframes (periodic intra refresh) mark packets from which the picture is whole only some
    frames later.
    """
    packets = reader.packets
    waiting = deque(run.indices)
    start = run.start
    while waiting:
        cause: av.FFmpegError | None = None
        try:
            for picture in _in_order(reader, start, run.last):
                if waiting and picture.pts == packets.frame_timestamps[waiting[0]] and not picture.is_corrupt:
                    waiting.popleft()
                    num_done += 1
                    yield picture
        except av.FFmpegError as error:
            cause = error
        if waiting:
            before = int(np.searchsorted(packets.key_positions, start)) - 1
            if before < 0:
                raise _missing(reader.info, waiting[0], num_done, num_wanted) from cause
            start = int(packets.key_positions[before])


def _in_order(reader: _Reader, start: int, last: int) -> Iterator[VideoFrame]:
    """Decode a stretch, checking that display order is the order of the times by which frames are told apart."""
    previous: int | None = None
    for picture in reader.pictures(start, last):
        if previous is not None and picture.pts is not None and picture.pts < previous:
            raise VideoError(
                f"{reader.info.path} stores presentation times that contradict the order of its frames.",
                fix="re-encode it with times of its own: ffmpeg -i in.avi -c:v libx264 out.mp4.",
            )
        previous = picture.pts
        yield picture


def _missing(info: VideoInfo, index: int, num_done: int, num_wanted: int) -> VideoError:
    return VideoError(
        f"{info.path} gave {num_done} of the {num_wanted} wanted frames: frame {index} of {info.num_frames} "
        f"(at {info.frame_seconds[index]:.2f} s) cannot be decoded.",
        fix="re-encode it, which leaves damaged frames out: ffmpeg -i in.mp4 -c:v libx264 out.mp4.",
    )


def _to_rgb(picture: VideoFrame, info: VideoInfo) -> RGBFrame:
    """Convert a decoded picture to uint8 RGB [H, W, 3], upright and of the file's size."""
    turns = quarter_turns(picture.rotation)
    # A stream may change its size halfway; later pictures are scaled to the first one's size, as players do.
    width, height = (info.height, info.width) if turns % 2 else (info.width, info.height)
    array = np.asarray(picture.to_ndarray(format="rgb24", width=width, height=height), dtype=np.uint8)
    return np.ascontiguousarray(np.rot90(array, turns))
