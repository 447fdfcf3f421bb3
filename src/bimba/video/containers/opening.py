"""A path in, an opened container out: which formats and streams are read, and how a file is opened safely."""

from __future__ import annotations  # PyAV's packets are generic in its stubs alone

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import av
from av.codec.context import CodecContext
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from bimba.errors import InputError, VideoError

logger = logging.getLogger(__name__)

MAX_PIXELS = 100_000_000
"""Largest picture that is read; 8K has 33 million pixels. A header may promise any size, and its memory is spent."""

# Playlists (hls, dash, concat, sdp, ...) are left out: a file that looks like a video could make FFmpeg open others.
FORMATS = (
    "3g2,3gp,aac,ac3,aiff,apng,asf,av1,avi,dirac,dnxhd,dv,eac3,flac,flv,gif,gif_pipe,gxf,h261,h263,h264,hevc,ivf,"
    "live_flv,loas,m4a,m4v,matroska,mj2,mjpeg,mov,mp3,mp4,mpeg,mpegts,mpegvideo,mxf,nut,obu,ogg,rm,smjpeg,truehd,vc1,"
    "vvc,w64,wav,webm,wtv,wv,yuv4mpegpipe"
)
"""What files may be, by FFmpeg's names."""
_OPEN_OPTIONS = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
_BOX_SIZES = (8, 16)  # of an mp4 box's header, with a size of 32 or of 64 bits


def open_container(path: Path) -> InputContainer:
    """Open a file with FFmpeg.

    Raises:
        VideoError: FFmpeg knows no format that fits the content.
    """
    try:
        # The prefix keeps FFmpeg from reading a name such as concat:a|b as anything but a name.
        return av.open(f"file:{path}", options=_OPEN_OPTIONS, metadata_errors="replace")
    except av.FFmpegError as error:
        refuse_lack_of_memory(error)
        cut = _cut_mp4(path)
        if cut is not None:
            raise VideoError(
                f"{path} ends after {cut[0]:,} of {cut[1]:,} bytes, before the index without which nothing in it can "
                "be found.",
                fix="fetch the file again; if it is still being written, wait until that is done.",
            ) from error
        raise VideoError(
            f"{path} cannot be opened as a video: {error.strerror}.",
            fix="check that it plays (ffplay FILE); a download that was cut off must be fetched again, other files "
            "converted: ffmpeg -i in.avi out.mp4.",
        ) from error


def choose_stream(container: InputContainer, path: Path | str, number: int | None = None) -> VideoStream:
    """The video stream to read: the one asked for, else the first that is marked as default, else the first.

    Args:
        container: an opened file.
        path: its name, for messages.
        number: 0 for the first video stream, and so on; cover art does not count.

    Raises:
        VideoError: there is none, or one that this FFmpeg build cannot decode, or its pictures are too large.
        InputError: there is no such number.
    """
    # The cover art of a song is stored as a video stream of one picture.
    streams = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not streams:
        kinds = ", ".join(stream.type for stream in container.streams) or "none"
        raise VideoError(f"{path} has no video stream (its streams: {kinds}).", fix="pass a file that has pictures.")
    if number is not None and not 0 <= number < len(streams):
        raise InputError(
            f"{path} has {len(streams)} video streams, but number {number} is asked for.",
            fix=f"pass a number from 0 to {len(streams) - 1}.",
        )
    defaults = [stream for stream in streams if stream.disposition & Disposition.default]
    chosen = streams[number] if number is not None else (defaults or streams)[0]
    if len(streams) > 1 and number is None:
        sizes = ", ".join(f"{s.width} x {s.height}" if _has_decoder(s) else "of an unknown codec" for s in streams)
        logger.warning(
            "%s has %d video streams (%s); number %d is read, --video-stream takes another",
            *(path, len(streams), sizes, streams.index(chosen)),
        )
    _check_stream(chosen, path)
    chosen.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
    return chosen


def _has_decoder(stream: VideoStream) -> bool:
    """Whether FFmpeg knows the codec; PyAV's stubs leave out that such a stream has neither decoder nor size."""
    return cast("CodecContext | None", stream.codec_context) is not None


def _check_stream(stream: VideoStream, path: Path | str) -> None:
    if not _has_decoder(stream):
        raise VideoError(
            f"{path} holds a video of a codec that this FFmpeg build cannot decode.",
            fix="re-encode it where it plays: ffmpeg -i in.mp4 -c:v libx264 out.mp4.",
        )
    check_size(stream.width, stream.height, path)


def check_size(width: int, height: int, path: Path | str) -> None:
    """Refuse pictures that would take more memory than anybody means to spend.

    Raises:
        VideoError: there are more than `MAX_PIXELS` of them.
    """
    if width * height > MAX_PIXELS:
        raise VideoError(
            f"{path} has pictures of {width} x {height} = {width * height:,} pixels; at most {MAX_PIXELS:,} are read.",
            fix="make it smaller: ffmpeg -i in.mp4 -vf scale=3840:-2 out.mp4.",
        )


def read_packets(container: InputContainer, *streams: Stream) -> Iterator[Packet[Any]]:
    """Packets of an opened file in the order of the file: of some streams, or of all.

    Raises:
        av.FFmpegError: the file cannot be read further.
    """
    try:
        yield from container.demux(*streams)
    except IndexError:
        # Behind the last packet PyAV asks for one more of each stream, and trips over those that a damaged MPEG-TS or
        # FLV showed only on the way.
        logger.debug("streams appeared while %s was read", container.name)


def is_picture_packet(packet: Packet[Any]) -> bool:
    """Whether a packet carries data; the demuxer ends with an empty one, and some AVI files mark repeats with them."""
    return packet.size > 0


def packet_timestamp(packet: Packet[Any]) -> int | None:
    """Presentation time of a packet; AVI stores none for streams without reordering, where decode order serves."""
    return packet.dts if packet.pts is None else packet.pts


def refuse_lack_of_memory(error: av.FFmpegError) -> None:
    """Keep what is no fault of the file from being taken for one.

    Raises:
        MemoryError: FFmpeg got no memory.
    """
    if isinstance(error, MemoryError):
        raise error


def _cut_mp4(path: Path) -> tuple[int, int] | None:
    """Bytes that an mp4 has and that its boxes promise, if those are more; None for any other file."""
    num_bytes = path.stat().st_size
    try:
        with path.open("rb") as file:
            ends = list(_box_ends(file, num_bytes))
    except OSError:
        return None
    return (num_bytes, ends[-1]) if ends and ends[-1] > num_bytes else None


def _box_ends(file: BinaryIO, num_bytes: int) -> Iterator[int]:
    """Where each top-level box of an mp4 ends (ISO/IEC 14496-12, section 4.2); nothing for any other file."""
    start = 0
    while start + _BOX_SIZES[0] <= num_bytes:
        file.seek(start)
        header = file.read(_BOX_SIZES[1])
        if start == 0 and header[4:8] != b"ftyp":
            return
        size = int.from_bytes(header[:4], "big")
        if size == 1:  # the size follows in 64 bits
            size = int.from_bytes(header[8:16], "big")
        if size < _BOX_SIZES[0]:  # 0: up to the end of the file
            return
        start += size
        yield start
