import dataclasses
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from needle_runs import small_settings
from numpy.typing import NDArray

from bimba.errors import InputError, VideoError
from bimba.needles import Encoding, choose_encoding, write_video
from bimba.needles.writer import WELL_KNOWN_CODECS

ENCODING = Encoding("mpeg4", "yuv420p", "mp4", width=64, height=48, fps=Fraction(10))


def grey_frames(count: int, height: int = 48) -> Iterator[NDArray[np.uint8]]:
    for index in range(count):
        yield np.full((height, 64, 3), 40 + index, np.uint8)


@pytest.mark.parametrize(
    ("codec", "container"),
    [("libx264", "mp4"), ("mpeg4", "mp4"), ("libvpx-vp9", "webm"), ("ffv1", "mkv"), ("mjpeg", "mkv"), ("snow", "mkv")],
)
def test_container_follows_from_the_codec(codec: str, container: str) -> None:
    assert choose_encoding(small_settings(codec=codec)).container == container


@pytest.mark.parametrize("codec", [name for name in WELL_KNOWN_CODECS if name != "libsvtav1"])
@pytest.mark.parametrize("fps", ["10", "29.97"])
def test_frame_rate_and_frames_come_back_and_bytes_repeat(tmp_path: Path, codec: str, fps: str) -> None:
    encoding = choose_encoding(small_settings(codec=codec, fps=fps))
    contents = []
    for name in ("one", "two"):
        path = tmp_path / f"{name}.{encoding.container}"
        assert write_video(path, grey_frames(12), encoding) == 12
        contents.append(path.read_bytes())
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            assert stream.average_rate == encoding.fps
            times = [
                Fraction(frame.pts * frame.time_base)
                for frame in container.decode(stream)
                if frame.pts is not None and frame.time_base is not None
            ]
        assert len(times) == 12
        # matroska and webm count in thousandths of a second, mp4 is exact.
        tolerance = 0 if encoding.container == "mp4" else Fraction(1, 1000)
        assert all(abs(time - index / encoding.fps) <= tolerance for index, time in enumerate(times))
    assert contents[0] == contents[1]


@pytest.mark.parametrize(
    ("changes", "problem", "fix"),
    [
        ({"codec": "x265"}, "PyAV has no encoder 'x265'", "libx264, libx265, mpeg4, libvpx-vp9"),
        ({"codec": "libopus"}, "libopus encodes audio, not video", "libx264"),
        ({"codec": "gif"}, "gif does not take the pixel format yuv420p", "--pixel-format: rgb8, bgr8"),
        ({"codec": "rawvideo", "pixel_format": "yuv42"}, "there is no pixel format 'yuv42'", "yuv444p"),
        ({"codec": "gif", "pixel_format": "rgb8"}, "none of mp4, mkv, webm can hold gif", "libx264"),
        ({"container": "webm"}, "webm cannot hold libx264", "leave --container out, or choose mp4 or mkv"),
        (
            {"width": 65},
            "yuv420p cannot hold 65x48 pixels: .* the width has",
            "--size 66x48, or pass --pixel-format yuv4",
        ),
        ({"height": 49}, "yuv420p cannot hold 64x49 pixels: .* the height has", "--size 64x50"),
        ({"codec": "mpeg4", "width": 65}, "yuv420p cannot hold 65x48", r"use --size 66x48\.$"),
    ],
)
def test_what_cannot_be_encoded_is_refused_with_a_way_out(changes: dict[str, object], problem: str, fix: str) -> None:
    with pytest.raises(InputError, match=rf"(?s){problem}.*fix: .*{fix}"):
        choose_encoding(small_settings(**changes))


@pytest.mark.parametrize("changes", [{"pixel_format": "yuv444p"}, {"codec": "ffv1", "pixel_format": "bgr0"}])
def test_odd_sizes_are_fine_where_every_pixel_has_its_colour(tmp_path: Path, changes: dict[str, object]) -> None:
    encoding = choose_encoding(small_settings(width=65, height=49, **changes))
    path = tmp_path / f"odd.{encoding.container}"
    write_video(path, (np.zeros((49, 65, 3), np.uint8) for _ in range(3)), encoding)
    with av.open(str(path)) as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == (65, 49)


@pytest.mark.parametrize(("codec", "fps"), [("mpeg1video", Fraction(7, 3)), ("mjpeg", Fraction(10))])
def test_encoder_that_refuses_is_the_users_to_change(tmp_path: Path, codec: str, fps: Fraction) -> None:
    encoding = dataclasses.replace(ENCODING, codec=codec, container="mkv", fps=fps)
    with pytest.raises(
        InputError, match=rf"(?s){codec} cannot encode 64x48 pixels of yuv420p at {fps} frames.*--pixel"
    ):
        write_video(tmp_path / "a.mkv", grey_frames(3), encoding)
    assert not list(tmp_path.iterdir())


def test_interrupted_writing_leaves_no_file(tmp_path: Path) -> None:
    seen_while_writing: list[str] = []

    def stopped() -> Iterator[NDArray[np.uint8]]:
        yield from grey_frames(5)
        seen_while_writing.extend(path.name for path in tmp_path.iterdir())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_video(tmp_path / "a.mp4", stopped(), ENCODING)
    assert seen_while_writing == [".a.mp4.partial"]
    assert not list(tmp_path.iterdir())


def test_interrupted_writing_leaves_an_earlier_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_video(path, grey_frames(5), ENCODING)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"frame 0 is \(50, 64, 3\), not \(48, 64, 3\)"):
        write_video(path, grey_frames(5, height=50), ENCODING)
    assert path.read_bytes() == before


def test_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"a\.mp4 could not be written after 0 frames"):
        write_video(tmp_path / "nowhere" / "a.mp4", grey_frames(2), ENCODING)
