"""Small video files written for the tests, each frame recognisable by its pictures, and where shared files lie."""

from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest

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
) -> Path:
    """Encode `drawn_frame(0)`, `drawn_frame(1)`, ...; `times` are presentation times in `time_base`."""
    ticks = list(times) if times is not None else list(range(num_frames))
    with av.open(path, "w", options=dict(container_options or {})) as container:
        stream = container.add_stream(codec, rate=rate, options=dict(options or {}))
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = 1
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


def cut(path: Path, fraction: float, name: str) -> Path:
    """A copy of the file's first part, as a broken download leaves it."""
    content = path.read_bytes()
    shorter = path.with_name(name)
    shorter.write_bytes(content[: int(len(content) * fraction)])
    return shorter


def sequential_frames(path: Path) -> list[Frame]:
    """Every frame as FFmpeg decodes the file from its start, without seeking."""
    with av.open(path) as container:
        return [np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8) for frame in container.decode(video=0)]
