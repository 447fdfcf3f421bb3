"""Frames to a video file: an iterable of frames and an encoding go in, a finished file comes out, or none at all.

One frame is in memory at a time. The file is written under a hidden name beside its final one and renamed at the end,
so a run that is interrupted leaves nothing half-made under the final name. Encoders run on one thread with ffmpeg's
bit-exact switches: the same frames give the same bytes on the same machine.
"""

import contextlib
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.codec.codec import Codec, UnknownCodecError
from av.codec.context import Flags
from av.container import OutputContainer
from av.video.stream import VideoStream

from bimba.errors import InputError, VideoError
from bimba.needles.haystacks import FrameArray
from bimba.needles.settings import CONTAINERS, Container, NeedleSettings

FORMAT_NAMES: dict[Container, str] = {"mp4": "mp4", "mkv": "matroska", "webm": "webm"}
"""What ffmpeg calls the containers."""

USUAL_CONTAINERS: dict[str, Container] = {"vp8": "webm", "vp9": "webm", "ffv1": "mkv", "mjpeg": "mkv"}
"""Where a codec is expected although mp4 may hold it; all others go to mp4 where it takes them, else to mkv."""

WELL_KNOWN_CODECS = ("libx264", "libx265", "mpeg4", "libvpx-vp9", "libsvtav1", "ffv1")

ENCODER_OPTIONS: dict[str, dict[str, str]] = {
    # Without cpu-independent the macroblock tree of some builds of x264 (AVX-512) differs from run to run.
    "libx264": {"preset": "veryfast", "crf": "20", "x264-params": "cpu-independent=1"},
    "libx265": {"preset": "veryfast", "crf": "22", "x265-params": "log-level=error:pools=none:frame-threads=1"},
    "libvpx-vp9": {"deadline": "good", "cpu-used": "5", "crf": "30"},
    "libsvtav1": {"preset": "8", "crf": "32", "svtav1-params": "lp=1"},
}
"""Options of encoders that aim at a quality; every other encoder gets a bit rate."""

BITS_A_PIXEL = 0.15
KEYFRAME_SECONDS = 2
"""A key frame this often, so that a reader can jump into a long video."""


@dataclass(frozen=True)
class Encoding:
    """How frames become a file: encoder, pixel format, container, frame size in pixels and exact frames a second."""

    codec: str
    pixel_format: str
    container: Container
    width: int
    height: int
    fps: Fraction


def choose_encoding(settings: NeedleSettings) -> Encoding:
    """Check that PyAV can make a file of these settings, and return how; nothing is replaced in silence.

    Raises:
        InputError: the codec is unknown or no video encoder, does not take the pixel format, the frame has an odd side
            that the pixel format cannot hold, or the container cannot hold the codec.
    """
    codec = _video_encoder(settings.codec)
    _check_pixel_format(codec, settings)
    return Encoding(
        codec=settings.codec,
        pixel_format=settings.pixel_format,
        container=_choose_container(codec, settings),
        width=settings.width,
        height=settings.height,
        fps=settings.fps,
    )


def write_video(path: Path, frames: Iterable[FrameArray], encoding: Encoding) -> int:
    """Write frames, uint8 ``[H, W, 3]`` each, to a video file and return how many there were.

    The frame rate is constant and exact: frame n is presented at n / fps seconds (matroska and webm round that to a
    thousandth of a second, as their format does).

    Raises:
        InputError: the encoder refuses the frame size, frame rate or pixel format, or needs hardware that is not there.
        VideoError: the file could not be written to its end.
        ValueError: a frame is not of the encoding's size.
    """
    partial = path.with_name(f".{path.name}.partial")
    num_frames = 0
    try:
        with _open(partial, encoding) as (container, stream):
            for frame in frames:
                if frame.shape != (encoding.height, encoding.width, 3):
                    raise ValueError(f"frame {num_frames} is {frame.shape}, not {encoding.height, encoding.width, 3}")
                picture = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format=encoding.pixel_format)
                picture.pts, picture.time_base = num_frames, 1 / encoding.fps
                container.mux(stream.encode(picture))
                num_frames += 1
            container.mux(stream.encode(None))
        partial.replace(path)
    except av.FFmpegError as error:
        raise VideoError(
            f"{path} could not be written after {num_frames} frames: {error}.",
            fix="make room on the disk, or choose another folder (--out) or encoder (--codec).",
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return num_frames


@contextlib.contextmanager
def _open(path: Path, encoding: Encoding) -> Iterator[tuple[OutputContainer, VideoStream]]:
    """Open a file and its encoder for writing.

    Raises:
        InputError: the encoder refuses the settings.
    """
    options = {"fflags": "+bitexact"}  # without it matroska writes a random identity into every file
    with av.open(str(path), "w", format=FORMAT_NAMES[encoding.container], options=options) as container:
        stream = container.add_stream(
            encoding.codec, rate=encoding.fps, options=ENCODER_OPTIONS.get(encoding.codec, {})
        )
        if not isinstance(stream, VideoStream):
            raise TypeError(f"{encoding.codec} opened a {stream.type} stream")
        stream.width, stream.height, stream.pix_fmt = encoding.width, encoding.height, encoding.pixel_format
        stream.time_base = 1 / encoding.fps
        context = stream.codec_context
        context.time_base = 1 / encoding.fps
        context.thread_count = 1
        context.flags |= Flags.bitexact
        context.gop_size = max(1, min(600, round(KEYFRAME_SECONDS * encoding.fps)))
        if encoding.codec not in ENCODER_OPTIONS:
            pixels_a_second = encoding.width * encoding.height * encoding.fps
            context.bit_rate = max(200_000, min(2**31 - 1, round(BITS_A_PIXEL * float(pixels_a_second))))
        try:
            context.open()
        except av.FFmpegError as error:
            raise InputError(
                f"{encoding.codec} cannot encode {encoding.width}x{encoding.height} pixels of {encoding.pixel_format} "
                f"at {encoding.fps} frames a second into {encoding.container}: {error.strerror}.",
                fix="choose another --codec (libx264 takes nearly everything), --pixel-format, --size or --fps.",
            ) from error
        yield container, stream


def _video_encoder(name: str) -> Codec:
    """Return the encoder of a name.

    Raises:
        InputError: PyAV has no video encoder of that name.
    """
    known = ", ".join(codec for codec in WELL_KNOWN_CODECS if codec in av.codecs_available)
    try:
        codec = Codec(name, "w")
    except UnknownCodecError as error:
        raise InputError(f"PyAV has no encoder {name!r}.", fix=f"choose one it has, such as {known}.") from error
    if codec.type != "video":
        raise InputError(f"{name} encodes {codec.type}, not video.", fix=f"choose a video encoder such as {known}.")
    return codec


def _check_pixel_format(codec: Codec, settings: NeedleSettings) -> None:
    """Check that the encoder takes the pixel format, and the pixel format the frame size.

    Raises:
        InputError: one of them does not.
    """
    name = settings.pixel_format
    formats = [video_format.name for video_format in codec.video_formats or ()]
    if formats and name not in formats:
        raise InputError(
            f"{codec.name} does not take the pixel format {name}.",
            fix=f"choose one of its own with --pixel-format: {', '.join(formats[:8])}.",
        )
    try:
        video_format = av.VideoFormat(name, settings.width, settings.height)
    except ValueError as error:
        raise InputError(f"there is no pixel format {name!r}.", fix="choose one such as yuv420p or yuv444p.") from error
    # Where two pixels share a colour sample, an odd side would leave a pixel without its partner.
    shares_columns, shares_rows = video_format.chroma_width(8) < 8, video_format.chroma_height(8) < 8
    odd_width, odd_height = shares_columns and settings.width % 2, shares_rows and settings.height % 2
    if odd_width or odd_height:
        even = f"{settings.width + settings.width % 2}x{settings.height + settings.height % 2}"
        whole = [f for f in formats if f in ("yuv444p", "gbrp", "bgr0", "rgb24")]
        other = f", or pass --pixel-format {whole[0]}" if whole else ""
        raise InputError(
            f"{name} cannot hold {settings.width}x{settings.height} pixels: neighbours share their colour, "
            f"so {'the width' if odd_width else 'the height'} has to be even.",
            fix=f"use --size {even}{other}.",
        )


def _choose_container(codec: Codec, settings: NeedleSettings) -> Container:
    """Return the container asked for, or the codec's usual one.

    Raises:
        InputError: the container (or, if none was asked for, every container) cannot hold the codec.
    """
    able = [container for container in CONTAINERS if _holds(container, codec)]
    if not able:
        raise InputError(
            f"none of {', '.join(CONTAINERS)} can hold {settings.codec}.",
            fix="choose another --codec, such as libx264.",
        )
    if settings.container is None:
        usual = USUAL_CONTAINERS.get(codec.canonical_name)
        return usual if usual in able else able[0]
    if settings.container not in able:
        raise InputError(
            f"{settings.container} cannot hold {settings.codec}.",
            fix=f"leave --container out, or choose {' or '.join(able)}.",
        )
    return settings.container


def _holds(container: Container, codec: Codec) -> bool:
    with av.open(io.BytesIO(), "w", format=FORMAT_NAMES[container]) as probe:
        return codec.canonical_name in probe.supported_codecs
