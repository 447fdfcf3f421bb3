"""A probed video file in, its wanted pictures out: the fewest packets decoded, none mistaken, none missing in silence.

Only the packets between the nearest keyframe and the wanted frame are decoded, and of those between only the ones that
others refer to. Pictures are told apart by presentation time.
"""

from __future__ import annotations  # PyAV's packets are generic in its stubs alone

import logging
from collections import deque
from collections.abc import Collection, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Literal

import av
import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from bimba.errors import VideoError
from bimba.video.containers.opening import (
    MAX_PIXELS,
    is_picture_packet,
    open_container,
    packet_timestamp,
    read_packets,
    refuse_lack_of_memory,
)
from bimba.video.containers.packets import contradictory_times
from bimba.video.decoders.rgb import RGBConverter
from bimba.video.info import PacketTable, RGBFrame, VideoInfo

logger = logging.getLogger(__name__)

# How far back a frame is tried from, when its own keyframe is not enough: about twenty seconds.
_MAX_PACKETS_BACK = 600
# Codecs whose decoders leave out pictures that no other refers to; their containers store true presentation times.
# HEVC is not among them: what nothing of its own temporal layer refers to may be needed by a higher layer.
_CAN_SKIP = frozenset({"h264", "mpeg2video"})


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


def read_frames(info: VideoInfo, packets: PacketTable, indices: Sequence[int]) -> Generator[RGBFrame]:
    """Decode wanted frames, strictly ascending; closing the generator closes the file.

    Raises:
        VideoError: a frame does not come, or the file is not what it was when it was probed.
    """
    info.check_unchanged()
    reader = _Reader(info, packets)
    convert = RGBConverter(info.width, info.height)
    num_done = 0
    try:
        for run in plan_runs(packets, indices):
            for picture in _decode_run(reader, run, num_done, len(indices)):
                yield _converted(convert, picture, info, f"{num_done} of the {len(indices)} wanted frames")
                num_done += 1
        info.check_unchanged()
    finally:
        reader.close()
        logger.debug(
            "%s: delivered %d frames from %d packets, %d decoded, %d seeks",
            *(info.path, num_done, reader.num_packets, reader.num_decoded, reader.num_seeks),
        )


def _converted(convert: RGBConverter, picture: VideoFrame, info: VideoInfo, progress: str) -> RGBFrame:
    try:
        return convert(picture)
    except av.FFmpegError as error:
        refuse_lack_of_memory(error)
        raise VideoError(
            f"{info.path} gave {progress}: the next one ({picture.format.name}, {picture.width} x {picture.height}) "
            f"names colours that cannot be converted to RGB: {error.strerror}.",
            fix="re-encode it where it plays: ffmpeg -i in.mp4 -c:v libx264 -pix_fmt yuv420p out.mp4.",
        ) from error


def last_decodable_frame(info: VideoInfo, packets: PacketTable) -> int:
    """Number of the last frame that can be decoded; the end of the file is decoded to find out.

    Raises:
        VideoError: none of the last seconds can.
    """
    reader = _Reader(info, packets)
    last_position = len(packets.timestamps) - 1
    # Frames that are stored behind the last keyframe but shown before it may be the ones that the cut has damaged.
    behind = int(np.argmax(packets.frame_positions >= packets.key_positions[-1]))
    place, shown = int(packets.frame_positions[behind]), int(packets.frame_timestamps[behind])
    try:
        for start in _starts_back_from(packets, _keyframe_before(packets, place, shown)):
            timestamps = [picture.pts for picture in reader.sound_pictures(start, last_position, ())]
            found = np.flatnonzero(np.isin(packets.frame_timestamps, [time for time in timestamps if time is not None]))
            if len(found):
                return int(found[-1])
    finally:
        reader.close()
    raise VideoError(
        f"{info.path} breaks off, and none of its last pictures can be decoded.",
        fix="re-encode it, which leaves damaged frames out: ffmpeg -i in.mp4 -c:v libx264 out.mp4.",
    )


def _starts_back_from(packets: PacketTable, start: int) -> Iterator[int]:
    """Keyframes to start at when a nearer one was not enough: first the given one, then others in growing steps.

    Streams without true keyframes (periodic intra refresh) mark packets from which the picture is whole only some
    frames later.
    """
    yield start
    number = int(np.searchsorted(packets.key_positions, start))
    for step in (1 << power for power in range(number.bit_length() + 1)):
        earlier = int(packets.key_positions[max(number - step, 0)])
        if number == 0 or start - earlier > _MAX_PACKETS_BACK:
            return
        yield earlier
        if number - step <= 0:
            return


def _decode_run(reader: _Reader, run: Run, num_done: int, num_wanted: int) -> Iterator[VideoFrame]:
    """Yield the wanted pictures of a run; one that does not come is tried again from keyframes further back."""
    packets = reader.packets
    waiting = deque(run.indices)
    start = run.start
    while waiting:
        first = waiting[0]
        needed = packets.frame_timestamps[list(waiting)].tolist()
        for place, wanted in _attempts(reader, start, needed):
            for picture in reader.sound_pictures(place, run.last, wanted):
                if waiting and picture.pts == packets.frame_timestamps[waiting[0]]:
                    waiting.popleft()
                    num_done += 1
                    yield picture
            if not waiting or waiting[0] != first:
                break
        else:
            raise _missing(reader, start, run.last, first, num_done, num_wanted)
        if waiting:  # damage lies between this frame and the ones before it
            index = waiting[0]
            position = int(packets.frame_positions[index])
            start = _keyframe_before(packets, position, int(packets.frame_timestamps[index]))


def _attempts(reader: _Reader, start: int, needed: Collection[int]) -> Iterator[tuple[int, Collection[int]]]:
    """Where to start, and which pictures to decode (all, if none are named), until a frame comes: cheapest first."""
    if reader.can_skip:
        yield start, needed
    for place in _starts_back_from(reader.packets, start):
        yield place, ()


class _Reader:
    """An open file that decodes stretches of packets, and counts what that took.

    Attributes:
        num_packets: packets read.
        num_decoded: pictures decoded.
        num_seeks: jumps in the file.
        num_damaged: packets that the decoder refused or made a damaged picture of. Threads may swallow some.

    Args:
        threads: "AUTO"; or "NONE", so that no damage is swallowed.
    """

    def __init__(self, info: VideoInfo, packets: PacketTable, threads: Literal["AUTO", "NONE"] = "AUTO") -> None:
        self.info, self.packets, self._threads = info, packets, threads
        self.num_packets = self.num_decoded = self.num_seeks = self.num_damaged = 0
        # Reversed, so that of two packets of the same time the first in the file is found.
        numbered = reversed(list(enumerate(packets.timestamps.tolist())))
        self._positions: dict[int | None, int] = {timestamp: position for position, timestamp in numbered}
        self._open()

    def _open(self) -> None:
        self._container = open_container(self.info.path)
        streams = {stream.index: stream for stream in self._container.streams.video}
        if self.packets.stream_index not in streams:
            self._container.close()
            raise VideoError(
                f"{self.info.path} lacks the video stream that it had when it was probed.",
                fix="wait until whatever writes it is done, or copy it and pass the copy.",
            )
        self._stream: VideoStream = streams[self.packets.stream_index]
        self._stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        self._stream.thread_type = self._threads
        self._is_fresh = True

    @property
    def can_skip(self) -> bool:
        """Whether the decoder can leave out pictures to which no other refers."""
        return self._stream.codec_context.name in _CAN_SKIP

    def close(self) -> None:
        """Release the file and the decoder's threads."""
        self._container.close()

    def sound_pictures(self, start: int, last: int, wanted: Collection[int]) -> Iterator[VideoFrame]:
        """Decode the packets from a keyframe to `last`, both positions in file order, in the order of display.

        Pictures end at the first damage, because later ones may refer to it.

        Args:
            start: the keyframe's position.
            last: position of the last packet.
            wanted: presentation times of the pictures that are needed; the others are left out where nothing refers
                to them. Empty: all are needed.

        Raises:
            VideoError: the order of display is not that of the times by which pictures are told apart.
        """
        previous: int | None = None
        for picture in self._pictures(start, last, wanted):
            if self.num_damaged:
                return
            if previous is not None and picture.pts is not None and picture.pts < previous:
                raise contradictory_times(self.info.path)
            previous = picture.pts
            yield picture

    def count_damage(self, start: int, last: int) -> None:
        """Decode a stretch to its end whatever happens, for the sake of `num_packets` and `num_damaged`."""
        for _ in self._pictures(start, last, ()):
            pass

    def _pictures(self, start: int, last: int, wanted: Collection[int]) -> Iterator[VideoFrame]:
        decoder = self._stream.codec_context
        can_skip = bool(wanted) and self.can_skip
        shown_from = int(self.packets.timestamps[start])
        self.num_damaged = 0
        try:
            for position, packet in enumerate(self._packets_from(start), start):
                self.num_packets += 1
                decoder.skip_frame = self._skipped(packet, wanted) if can_skip else "DEFAULT"
                yield from self._decoded(packet, shown_from)
                if position == last:
                    break
        except av.FFmpegError as error:  # the file cannot be read further
            refuse_lack_of_memory(error)
            logger.debug("%s: %s", self.info.path, error)
            self.num_damaged += 1
        # The decoder holds pictures back for reordering and for its threads; nothing after `last` is needed for them.
        yield from self._decoded(None, shown_from)

    @staticmethod
    def _skipped(packet: Packet[VideoStream], wanted: Collection[int]) -> Literal["NONREF", "DEFAULT"]:
        return "NONREF" if packet.pts is not None and packet.pts not in wanted else "DEFAULT"

    def _decoded(self, packet: Packet[VideoStream] | None, shown_from: int) -> Iterator[VideoFrame]:
        try:
            pictures = self._stream.codec_context.decode(packet)
        except av.FFmpegError as error:
            refuse_lack_of_memory(error)
            logger.debug("%s: %s", self.info.path, error)
            self.num_damaged += 1
            return
        for picture in pictures:
            self.num_decoded += 1
            # What is shown before the keyframe may refer to pictures before it, and is not asked for.
            if picture.pts is None or picture.pts >= shown_from:
                self.num_damaged += picture.is_corrupt
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
            return self._skip_to(start)
        except av.FFmpegError:  # a format that cannot seek; the caller reads it from the beginning
            logger.debug("%s: cannot seek", self.info.path)
            return None

    def _skip_to(self, start: int) -> Iterator[Packet[VideoStream]] | None:
        """Pass over packets before `start` without decoding them; None when the file's position is behind it."""
        self._is_fresh = False
        packets = (packet for packet in read_packets(self._container, self._stream) if is_picture_packet(packet))
        for packet in packets:
            position = self._positions.get(packet_timestamp(packet))
            if position == start:
                return chain((packet,), packets)
            if position is not None and position > start:
                return None
        return None


def _missing(reader: _Reader, start: int, last: int, index: int, num_done: int, num_wanted: int) -> VideoError:
    """What to say of a frame that does not come: how much was read, and how much of that is damaged."""
    info = reader.info
    info.check_unchanged()  # a better reason
    observer = _Reader(info, reader.packets, "NONE")
    try:
        observer.count_damage(start, last)
    finally:
        observer.close()
    return VideoError(
        f"{info.path} gave {num_done} of the {num_wanted} wanted frames: frame {index} of {info.num_frames} "
        f"(at {info.frame_seconds[index]:.2f} s) cannot be decoded; {observer.num_damaged} of the "
        f"{observer.num_packets} packets read for it are damaged.",
        fix="re-encode it, which leaves damaged frames out: ffmpeg -i in.mp4 -c:v libx264 out.mp4.",
    )
