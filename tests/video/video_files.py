"""Small video files written for the tests, each frame recognisable by its pictures, and where shared files lie."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import nullcontext, suppress
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import numpy as np
import numpy.typing as npt
import pytest
from av.stream import Disposition

from bimba.video.decode import decode_frames, iter_frames
from bimba.video.decoders.rgb import RGBConverter
from bimba.video.info import VideoInfo
from bimba.video.probe import probe

SHARED = Path(__file__).resolve().parents[2].parent / "shared"

Frame = npt.NDArray[np.uint8]


def shared_file(relative: str) -> Path:
    """A file of the folder `shared` beside the repository; the test is skipped where there is none."""
    path = SHARED / relative
    if not path.exists():
        pytest.skip(f"needs shared/{relative} beside the repository")
    return path


def drawn_frame(number: int, width: int = 64, height: int = 48) -> Frame:
    """A frame whose grey and whose bright column tell its number, uint8 [height, width, 3]."""
    frame = np.full((height, width, 3), 20 + number * 7 % 160, dtype=np.uint8)
    frame[:, number * 3 % width] = 255
    frame[: height // 2, :, 0] = 255 - number * 5 % 200
    return frame


def write_video(
    path: Path,
    *,
    num_frames: int = 60,
    codec: str = "libx264",
    rate: int | Fraction = 25,
    options: Mapping[str, str] | None = None,
    container_options: Mapping[str, str] | None = None,
    times: Iterable[int] | None = None,
    time_base: Fraction | None = None,
    rotation: int = 0,
    width: int = 64,
    height: int = 48,
    pix_fmt: str = "yuv420p",
    aspect: Fraction | None = None,
    setup: Callable[[av.VideoStream], None] | None = None,
) -> Path:
    """Encode `drawn_frame(0)`, `drawn_frame(1)`, ...; `times` are presentation times in `time_base`.

    `aspect` is a pixel's width over its height; `setup` may change the stream before it is encoded.
    """
    ticks = list(times) if times is not None else list(range(num_frames))
    # With pictures this small, the assembly of x264 now and then reads memory that nobody wrote, and files differ.
    steady = {"x264-params": "asm=0"} if codec == "libx264" else {}
    with av.open(path, "w", options=dict(container_options or {})) as container:
        stream = container.add_stream(codec, rate=rate, options={**steady, **(options or {})})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.codec_context.thread_count = 1
        if aspect is not None:
            stream.sample_aspect_ratio = stream.codec_context.sample_aspect_ratio = aspect
        if setup is not None:
            setup(stream)
        if time_base is not None:
            stream.time_base = stream.codec_context.time_base = time_base
        if rotation:
            stream.set_display_rotation(rotation)
        for number, tick in enumerate(ticks):
            frame = av.VideoFrame.from_ndarray(drawn_frame(number, width, height), format="rgb24")
            frame.pts = tick
            if time_base is not None:
                frame.time_base = time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_audio(path: Path) -> Path:
    """One second of silence and no pictures."""
    with av.open(path, "w") as container:
        stream = container.add_stream("aac", rate=16000)
        assert isinstance(stream, av.AudioStream)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), dtype=np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_streams(
    path: Path,
    sizes: Sequence[tuple[int, int]],
    *,
    defaults: Collection[int] = (),
    cover: Literal["first", "last"] | None = None,
    sound: str | None = None,
) -> Path:
    """Twelve frames in each of several video streams, with cover art before or behind them, and a second of sound."""
    kinds = ["frames"] * len(sizes)
    kinds = {"first": ["cover", *kinds], "last": [*kinds, "cover"], None: kinds}[cover]
    # The format that FFmpeg would choose for .m4a and .m4v takes no cover.
    with av.open(path, "w", format="mp4" if path.suffix.startswith(".m4") else None) as container:
        audio = container.add_stream(sound, rate=16000) if sound else None
        streams = []
        left = iter(sizes)
        for kind in kinds:
            stream = container.add_stream("mjpeg" if kind == "cover" else "libx264", rate=25)
            assert isinstance(stream, av.VideoStream)
            stream.width, stream.height = (64, 64) if kind == "cover" else next(left)
            stream.pix_fmt = "yuvj420p" if kind == "cover" else "yuv420p"
            stream.disposition = Disposition.attached_pic if kind == "cover" else Disposition(0)
            streams.append(stream)
        for number in defaults:
            streams[number].disposition = Disposition.default
        for kind, stream in zip(kinds, streams, strict=True):
            for number in range(1 if kind == "cover" else 12):
                picture = drawn_frame(number, stream.width, stream.height)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode(None))
        if audio is not None:
            assert isinstance(audio, av.AudioStream)
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 16000), dtype=np.float32), format="fltp", layout="mono")
            silence.sample_rate = 16000
            container.mux(audio.encode(silence))
            container.mux(audio.encode(None))
    return path


def cut(path: Path, fraction: float, name: str) -> Path:
    """A copy of the file's first part, as a broken download leaves it."""
    content = path.read_bytes()
    shorter = path.with_name(name)
    shorter.write_bytes(content[: int(len(content) * fraction)])
    return shorter


def sequential_frames(path: Path, *, stream: int = 0, skip_damage: bool = False) -> list[Frame]:
    """Every frame as FFmpeg decodes the file from its start, without seeking.

    `stream` is the number of the video stream; `skip_damage` leaves out packets that the decoder refuses.
    """
    frames: list[Frame] = []
    with av.open(path) as container:
        container.streams.video[stream].thread_type = "NONE" if skip_damage else "SLICE"
        for packet in container.demux(video=stream):
            with suppress(av.FFmpegError) if skip_damage else nullcontext():
                frames += [np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8) for frame in packet.decode()]
    return frames


def decoder_frames(path: Path) -> list[av.VideoFrame]:
    """Every picture as FFmpeg decodes the file from its start, before its colours are converted."""
    with av.open(path) as container:
        return list(container.decode(video=0))


def converted_frames(path: Path, info: VideoInfo) -> list[Frame]:
    """Every picture of a sequential decode in the colours that this package gives to HDR and to more than 8 bits."""
    convert = RGBConverter(info.width, info.height)
    return [convert(picture) for picture in decoder_frames(path)]


def assert_all_frames_right(info: VideoInfo, expected: Sequence[Frame]) -> None:
    """Each frame must be the expected one, whether it is decoded with all others, with some, or alone."""
    assert info.num_frames == len(expected)
    assert [
        index for index, frame in enumerate(iter_frames(info, range(len(expected)))) if differs(frame, expected[index])
    ] == []
    few = sorted({0, len(expected) // 3, len(expected) // 2, len(expected) - 1})
    assert [
        index for index, frame in zip(few, iter_frames(info, few), strict=True) if differs(frame, expected[index])
    ] == []
    for index in few:
        assert not differs(decode_frames(info, [index])[0], expected[index])


def differs(frame: Frame, other: Frame) -> bool:
    """Whether two frames differ in size or in a single byte."""
    return not np.array_equal(frame, other)


def read_and_compare(path: Path) -> VideoInfo:
    """Probe a file and hold each of its frames against a sequential decode of it."""
    info = probe(path)
    assert_all_frames_right(info, sequential_frames(path))
    return info


def patched(path: Path, name: str, patches: Mapping[int, bytes]) -> Path:
    """A copy of a file with some bytes replaced: offset to bytes."""
    content = bytearray(path.read_bytes())
    for offset, replacement in patches.items():
        content[offset : offset + len(replacement)] = replacement
    copy = path.with_name(name)
    copy.write_bytes(content)
    return copy


def packet_places(path: Path) -> list[tuple[int, int]]:
    """Where each packet of the first video stream lies, in file order: offset and size."""
    with av.open(path) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    return [(packet.pos or 0, packet.size) for packet in packets]


def with_damaged_packets(path: Path, numbers: Collection[int], name: str) -> Path:
    """A copy of a file in which some packets hold nothing but bytes of 255."""
    places = packet_places(path)
    return patched(path, name, {places[number][0]: b"\xff" * places[number][1] for number in numbers})


def remuxed(path: Path, name: str, keep: Callable[[int], bool]) -> Path:
    """A copy of a file's video without the packets, numbered in file order, that are not to be kept."""
    copy = path.with_name(name)
    with av.open(path) as source, av.open(copy, "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if packet.size and keep(number):
                packet.stream = stream
                target.mux(packet)
    return copy


def write_with_sound(path: Path, *, pictures_start: float, sound_start: float, num_frames: int = 20) -> Path:
    """Frames at 25 a second and two seconds of silence, which start at different times."""
    with av.open(path, "w") as container:
        video, audio = container.add_stream("libx264", rate=25), container.add_stream("aac", rate=16000)
        assert isinstance(video, av.VideoStream)
        assert isinstance(audio, av.AudioStream)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 32000), dtype=np.float32), format="fltp", layout="mono")
        silence.sample_rate, silence.pts = 16000, round(sound_start * 16000)
        container.mux(audio.encode(silence))
        container.mux(audio.encode(None))
        for number in range(num_frames):
            frame = av.VideoFrame.from_ndarray(drawn_frame(number), format="rgb24")
            frame.pts = round(pictures_start * 25) + number
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    return path
