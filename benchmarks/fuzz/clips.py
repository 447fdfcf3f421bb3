"""A folder goes in, ten small videos come out in it: ten codecs in eight containers, the same bytes in every run."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.container import OutputContainer
from PIL import Image

WIDTH, HEIGHT, FPS, NUM_FRAMES = 96, 64, 25, 48
_SAMPLE_RATE, _AUDIO_FRAME = 16_000, 1024
# Matroska would write random numbers, encoders their versions.
_BIT_EXACT = {"fflags": "+bitexact"}

Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Clip:
    """How one of the videos is made.

    Attributes:
        name: of its file.
        codec: FFmpeg's name of the encoder; "webp" is Pillow's.
        options: of the encoder.
        pixel_format: how its pictures are stored.
        has_sound: whether a sound track runs along.
    """

    name: str
    codec: str
    options: Mapping[str, str] = field(default_factory=dict)
    pixel_format: str = "yuv420p"
    has_sound: bool = False


# Keyframes every half second, so that frames spread over a clip take seeks. cpu-independent: see needles/writer.py.
CLIPS = (
    Clip("h264.mp4", "libx264", {"g": "12", "bf": "3", "x264-params": "cpu-independent=1"}, has_sound=True),
    Clip("hevc.mkv", "libx265", {"x265-params": "log-level=none:pools=none:frame-threads=1:keyint=12:bframes=2"}),
    Clip("vp8.webm", "libvpx", {"g": "12", "cpu-used": "8", "auto-alt-ref": "1", "lag-in-frames": "12"}),
    Clip("vp9.webm", "libvpx-vp9", {"g": "12", "cpu-used": "8", "deadline": "realtime"}),
    Clip("av1.mp4", "libsvtav1", {"g": "12", "preset": "10", "svtav1-params": "lp=1"}),
    Clip("mpeg4.avi", "mpeg4", {"g": "12"}),
    Clip("mpeg2.ts", "mpeg2video", {"g": "12", "bf": "2"}, has_sound=True),
    Clip("prores.mov", "prores_ks", {"profile": "0"}, "yuv422p10le"),
    Clip("flv1.flv", "flv", {"g": "12"}),
    Clip("animation.webp", "webp"),
)


def write_clips(folder: Path) -> list[Path]:
    """Write every clip, and return their paths in the order of `CLIPS`."""
    os.environ.setdefault("SVT_LOG", "1")  # else the AV1 encoder prints thirty lines about itself
    return [_write_animation(folder / clip.name) if clip.codec == "webp" else _write(folder, clip) for clip in CLIPS]


def picture(number: int) -> Picture:
    """A picture that is not trivial to code: waves that move, a bright square, a little noise; uint8 [H, W, 3]."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    waves = [np.sin((columns * (2 + colour) + rows * 3 + number * 5) / 9.0) for colour in range(3)]
    shown = np.stack(waves, axis=-1) * 80 + 120
    shown[20 + number % 24 : 36 + number % 24, number : number + 16] = 250
    shown += np.random.default_rng(number).normal(0, 6, shown.shape)
    return shown.clip(0, 255).astype(np.uint8)


def _write_animation(path: Path) -> Path:
    first, *others = [Image.fromarray(picture(number)) for number in range(0, NUM_FRAMES, 2)]
    first.save(path, save_all=True, append_images=others, duration=80, loop=0, quality=60, kmin=5, kmax=12)
    return path


def _write(folder: Path, clip: Clip) -> Path:
    path = folder / clip.name
    with av.open(path, "w", options=dict(_BIT_EXACT)) as container:
        stream = container.add_stream(clip.codec, rate=FPS, options=dict(clip.options))
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, clip.pixel_format
        stream.codec_context.thread_count = 1
        stream.codec_context.flags |= av.codec.context.Flags.bitexact
        sound = _Sound(container) if clip.has_sound else None
        for number in range(NUM_FRAMES):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
            if sound is not None:
                sound.write_until(Fraction(number + 1, FPS))
        container.mux(stream.encode(None))
        if sound is not None:
            sound.end()
    return path


class _Sound:
    """A sound track that is written along with the pictures, so that its packets lie between theirs."""

    def __init__(self, container: OutputContainer) -> None:
        self._container = container
        codec = "mp2" if container.format.name == "mpegts" else "aac"
        stream = container.add_stream(codec, rate=_SAMPLE_RATE)
        assert isinstance(stream, av.AudioStream)
        stream.codec_context.flags |= av.codec.context.Flags.bitexact
        self._stream, self._format = stream, "s16" if codec == "mp2" else "fltp"
        self._num_samples = 0

    def write_until(self, seconds: Fraction) -> None:
        """Write silence up to a time."""
        stream = self._stream
        size = stream.codec_context.frame_size or _AUDIO_FRAME
        while Fraction(self._num_samples + size, _SAMPLE_RATE) <= seconds:
            silence = np.zeros((1, size), dtype=np.int16 if self._format == "s16" else np.float32)
            frame = av.AudioFrame.from_ndarray(silence, format=self._format, layout="mono")
            frame.sample_rate, frame.pts = _SAMPLE_RATE, self._num_samples
            self._num_samples += size
            self._container.mux(stream.encode(frame))

    def end(self) -> None:
        """Write what the encoder has kept back."""
        self._container.mux(self._stream.encode(None))
