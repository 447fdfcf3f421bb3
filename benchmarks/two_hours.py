"""Nothing in; a two-hour H.264 file out, written once and kept for the next run.

Two minutes are encoded, with a keyframe every ten seconds and B-frames between; their packets follow each other 60
times, each time at later times. So the file is there in seconds, and to a decoder it is like any other.
"""

import sys
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import cast

import av
from av.packet import Packet
from av.video.stream import VideoStream

from benchmarks.moving_pictures import FPS, cache_folder, pictures

WIDTH, HEIGHT = 320, 180
SECONDS = 2 * 60 * 60
KEYFRAMES_EVERY, MOST_B_FRAMES = 250, 3
_PART_FRAMES = 2 * 60 * FPS
# Changed when the file changes.
_VERSION = 1


def write_two_hours() -> Path:
    """The file's path; it is written first if it is missing."""
    path = cache_folder() / f"two-hours-{_VERSION}.mp4"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        print("  writing the file of two hours", file=sys.stderr, flush=True)
        temporary = path.with_suffix(".tmp")
        _write(temporary)
        temporary.replace(path)
    return path


def _write(path: Path) -> None:
    with av.open(path, "w", format="mp4") as container:
        options = {
            "preset": "veryfast",
            "crf": "30",
            "g": str(KEYFRAMES_EVERY),
            "keyint_min": str(KEYFRAMES_EVERY),
            "sc_threshold": "0",  # no keyframes at scene cuts
            "bf": str(MOST_B_FRAMES),
        }
        stream = container.add_stream("libx264", rate=FPS, options=options)
        if not isinstance(stream, VideoStream):
            raise TypeError(f"libx264 gave a {type(stream).__name__}.")
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        packets = list(_encoded(stream))
        for begin in range(0, SECONDS * FPS, _PART_FRAMES):
            for packet in packets:
                container.mux(_later(packet, begin, stream))


def _encoded(stream: VideoStream) -> Iterator["Packet[VideoStream]"]:
    """Packets of the part, the first keyframe first."""
    for number, planes in enumerate(islice(pictures(), _PART_FRAMES)):
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p").reformat(WIDTH, HEIGHT)
        frame.pts, frame.time_base = number, Fraction(1, FPS)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def _later(packet: "Packet[VideoStream]", num_frames: int, stream: VideoStream) -> "Packet[VideoStream]":
    """The same packet, so many frames later."""
    if packet.pts is None or packet.dts is None or packet.time_base is None:
        raise ValueError("the encoder gave a packet without times.")
    shift = int(num_frames / FPS / packet.time_base)
    copy = cast("Packet[VideoStream]", Packet(bytes(packet)))
    copy.stream, copy.time_base = stream, packet.time_base
    copy.pts, copy.dts, copy.duration = packet.pts + shift, packet.dts + shift, packet.duration
    copy.is_keyframe = packet.is_keyframe
    return copy
