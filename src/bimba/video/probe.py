"""What a path holds: a file or folder goes in; size, frame count, rate, frame times and the packet table come out.

A probe reads the packets once and decodes nothing but the first picture, because only a picture tells how the camera
was turned.
"""

from __future__ import annotations  # PyAV's packets are generic in its stubs alone

import logging
import os
import stat
from dataclasses import replace
from pathlib import Path

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from bimba.errors import VideoError
from bimba.video.containers import gif, matroska
from bimba.video.containers.opening import MAX_PIXELS, choose_stream, open_container, refuse_lack_of_memory
from bimba.video.containers.packets import (
    PacketScan,
    frame_seconds,
    packet_table,
    scan_packets,
    start_seconds,
    what_is_missing,
)
from bimba.video.decoders.pyav import last_decodable_frame
from bimba.video.decoders.rgb import quarter_turns
from bimba.video.info import FileStamp, VideoInfo
from bimba.video.pictures import folder, images

logger = logging.getLogger(__name__)


def probe(
    path: str | Path,
    *,
    video_stream: int | None = None,
    image_fps: float | None = None,
    allow_truncated: bool = False,
) -> VideoInfo:
    """Read what a video, an image, an animation or a folder of pictures holds; only the first picture is decoded.

    Args:
        path: the file or folder.
        video_stream: which of several video streams, from 0; the default one if not given.
        image_fps: pictures a second of a folder, which has no times otherwise.
        allow_truncated: of a file that ends early, use what is there and log how much that is.

    Raises:
        VideoError: the path is missing, empty, no video, without pictures or timestamps, too large, or shorter than its
            own header promises.
        InputError: there is no such stream, or no use for a rate.
    """
    path = Path(path)
    if _is_folder(path):
        return folder.probe_folder(path, image_fps)
    folder.refuse_rate(path, image_fps)
    stamp = FileStamp.of(path)  # taken before, so that what is written in the meantime does not go unnoticed
    info = images.probe_image(path) or _probe_video(path, video_stream, allow_truncated)
    return replace(info, stamp=stamp)


def _probe_video(path: Path, number: int | None, allow_truncated: bool) -> VideoInfo:
    with open_container(path) as container:
        stream = choose_stream(container, path, number)
        scan = scan_packets(container, stream)
        if container.format.name == "gif" and gif.is_cut(path):
            scan.mark_last_cut()
        missing = what_is_missing(container, stream, scan)
        if missing is None and container.format.name == "matroska,webm":
            missing = _missing_bytes(path)
        _accept(missing, scan, path, allow_truncated)
        info = _video_info(container, stream, scan, path)
    return _without_cut_tail(info) if allow_truncated else info


def _missing_bytes(path: Path) -> str | None:
    promised, there = matroska.promised_bytes(path), path.stat().st_size
    return None if promised is None or promised <= there else f"ends after {there:,} of {promised:,} bytes"


def _accept(missing: str | None, scan: PacketScan, path: Path, allow_truncated: bool) -> None:
    if missing is None:
        return
    if not allow_truncated:
        raise VideoError(
            f"{path} {missing}.",
            fix="fetch the file again, or pass --allow-truncated (allow_truncated=True) to use what is there.",
        )
    logger.warning("%s %s; what is there is used", path, missing)
    if scan.is_corrupt and scan.is_corrupt[-1]:
        scan.drop_last()


def _video_info(container: InputContainer, stream: VideoStream, scan: PacketScan, path: Path) -> VideoInfo:
    table = packet_table(scan, stream, path)
    width, height, turns = _first_picture(stream, scan.first_key, path)
    lead = start_seconds(container, stream, int(table.frame_timestamps[0]))
    times = table.frame_timestamps - table.frame_timestamps[0]
    average_fps, seconds = frame_seconds(stream, times, scan.last_duration)
    aspect = float(stream.sample_aspect_ratio or 1)
    sideways = turns % 2 == 1
    return VideoInfo(
        path=path,
        kind="video",
        width=height if sideways else width,
        height=width if sideways else height,
        num_frames=table.num_frames,
        average_fps=average_fps,
        frame_seconds=lead + seconds,
        is_timed=True,
        codec=stream.codec_context.name,
        start_seconds=lead,
        pixel_aspect=1 / aspect if sideways else aspect,
        packets=table,
    )


def _without_cut_tail(info: VideoInfo) -> VideoInfo:
    """Leave out frames at the end that the cut made undecodable; containers without a table cannot tell otherwise."""
    if info.packets is None:
        return info
    num_frames = last_decodable_frame(info, info.packets) + 1
    if num_frames == info.num_frames:
        return info
    logger.warning("%s: the last %d frames cannot be decoded", info.path, info.num_frames - num_frames)
    return replace(
        info,
        num_frames=num_frames,
        frame_seconds=info.frame_seconds[:num_frames],
        packets=info.packets.first(num_frames),
    )


def _is_folder(path: Path) -> bool:
    """Whether a path is a folder.

    Raises:
        VideoError: it is neither a folder nor a file that can be read.
    """
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise VideoError(
            f"{path} does not exist.", fix="check the spelling, or pass the full path of the video."
        ) from error
    except (OSError, ValueError) as error:  # too long a name, no rights to its folder, a zero byte in the name
        raise VideoError(f"{path} cannot be opened: {error}.", fix="check the path and your rights to it.") from error
    is_folder = stat.S_ISDIR(status.st_mode)
    if not os.access(path, os.R_OK | os.X_OK if is_folder else os.R_OK):  # a folder's files are reached by entering it
        raise VideoError(f"{path} may not be read by you.", fix="ask for the right to read it, or copy it.")
    if is_folder:
        return True
    if not stat.S_ISREG(status.st_mode):
        raise VideoError(f"{path} is neither a file nor a folder.", fix="pass a file; a pipe is read as -.")
    if status.st_size == 0:
        raise VideoError(f"{path} is empty (0 bytes).", fix="copy or download the file again.")
    return False


def _first_picture(stream: VideoStream, first_key: Packet[Stream] | None, path: Path) -> tuple[int, int, int]:
    """Stored width and height of the first picture, and by how many quarter turns it must be turned.

    Raises:
        VideoError: neither the picture nor the header tells a size.
    """
    try:
        frames = [] if first_key is None else [*stream.codec_context.decode(first_key), *stream.codec_context.decode()]
    except av.FFmpegError as error:
        refuse_lack_of_memory(error)
        # Damage is the decoder's to report, when the damaged frame is one of those wanted.
        logger.warning("%s: the first picture cannot be decoded: %s", path, error.strerror)
        frames = []
    if not frames:  # damaged, or a picture of two fields, or one that needs those after it: the header has to do
        if not (stream.width and stream.height):
            raise VideoError(
                f"{path} tells nowhere how large its pictures are: its header does not, or names far more than the "
                f"{MAX_PIXELS:,} pixels that are read, and its first keyframe cannot be decoded.",
                fix="re-encode it, which leaves damaged frames out: ffmpeg -i in.ts -c:v libx264 out.mp4.",
            )
        return stream.width, stream.height, 0
    return frames[0].width, frames[0].height, quarter_turns(frames[0].rotation)
