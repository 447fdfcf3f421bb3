"""The optional decoder torchcodec: the frames of PyAV, or an error; never others."""

import contextlib
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from video_files import sequential_frames, with_damaged_packets, write_streams, write_video

from bimba.errors import InputError, VideoError
from bimba.video.decode import decode_frames, iter_frames
from bimba.video.info import VideoInfo
from bimba.video.probe import probe
from bimba.video.source import Video


def torchcodec_fault() -> str:
    """Why torchcodec cannot be used here; empty if it can."""
    try:
        from torchcodec.decoders import VideoDecoder  # noqa: F401
    except ImportError:
        return "torchcodec is not installed"
    except (RuntimeError, OSError):
        return "torchcodec finds no FFmpeg of the system"
    return ""


needs_torchcodec = pytest.mark.skipif(torchcodec_fault() != "", reason=torchcodec_fault() or "it is there")

UNEVEN: dict[str, Any] = {"times": [0, 40, 90, 95, 400, 1000, 1010, 2500], "time_base": Fraction(1, 1000)}
DEEP: dict[str, Any] = {"pix_fmt": "yuv420p10le", "options": {"bf": "2", "g": "10"}}
SAME: dict[str, dict[str, Any]] = {
    "plain.mp4": {},
    "reordered.mp4": {"options": {"bf": "3", "g": "12"}},
    "reordered.mkv": {"options": {"bf": "3", "g": "12"}},
    "divx.avi": {"codec": "mpeg4", "options": {"g": "12"}},
    "capture.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "rgb.avi": {"codec": "utvideo", "pix_fmt": "gbrp"},
    "vp9.webm": {"codec": "libvpx-vp9"},
    "vp8.webm": {"codec": "libvpx"},
    "clear.webm": {"codec": "libvpx-vp9", "pix_fmt": "yuva420p"},
    "turned90.mp4": {"rotation": 90},
    "turned180.mp4": {"rotation": 180},
    "turned270.mp4": {"rotation": 270},
    "deep.mp4": DEEP,
    "deep.mkv": DEEP,
    "deep_turned.mp4": {**DEEP, "rotation": 90},
    "full.mp4": {"pix_fmt": "yuvj420p"},
    "chroma.mp4": {"pix_fmt": "yuv444p", "width": 65, "height": 49},
    "half_chroma.mp4": {"pix_fmt": "yuv422p"},
    "narrow.mp4": {"width": 50, "height": 38},
    "edit.mov": {"codec": "prores_ks", "pix_fmt": "yuv422p10le"},
    "uneven.mp4": UNEVEN,
    "uneven.mkv": UNEVEN,
    "delayed.mp4": {"times": range(50, 74)},
    "fast.mp4": {"rate": 10_000},
    "moving.gif": {"codec": "gif", "pix_fmt": "rgb8"},
}


def both(info: VideoInfo, indices: range | list[int]) -> tuple[Any, Any]:
    """Frames decoded by PyAV, and by torchcodec."""
    return decode_frames(info, indices), decode_frames(info, indices, backend="torchcodec")


@needs_torchcodec
@pytest.mark.parametrize("name", SAME)
def test_frames_are_those_of_pyav_byte_for_byte(tmp_path: Path, name: str) -> None:
    info = probe(write_video(tmp_path / name, **{"num_frames": 24, **SAME[name]}))
    np.testing.assert_array_equal(*both(info, range(info.num_frames)))
    for index in (0, 3, info.num_frames - 1):
        np.testing.assert_array_equal(*both(info, [index]))
    np.testing.assert_array_equal(*both(info, [1, 1, 6]))


@needs_torchcodec
@pytest.mark.parametrize("name", ["hard.ts", "hard.mpg", "hard.flv"])
def test_where_torchcodec_finds_other_frames_it_is_an_error(tmp_path: Path, name: str) -> None:
    codec = "mpeg2video" if name.endswith("mpg") else "libx264"
    info = probe(write_video(tmp_path / name, codec=codec, options={"bf": "3", "g": "12"}, num_frames=24))
    expected = decode_frames(info, range(24))
    with contextlib.suppress(VideoError):  # its seeking fails in these, which depends on the versions
        for index, frame in enumerate(iter_frames(info, range(24), backend="torchcodec")):
            np.testing.assert_array_equal(frame, expected[index])


@needs_torchcodec
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("odd.mp4", {"codec": "mpeg4", "width": 65, "height": 49}),
        ("fields.mp4", {"options": {"x264-params": "tff=1"}}),
    ],
)
def test_odd_and_interlaced_pictures_differ_by_little(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    ours, theirs = both(probe(write_video(tmp_path / name, num_frames=8, **options)), range(8))
    assert np.abs(ours.astype(int) - theirs).mean() < 2


@needs_torchcodec
@pytest.mark.parametrize("transfer", [16, 18], ids=["PQ", "HLG"])
def test_hdr_is_refused(tmp_path: Path, transfer: int) -> None:
    def tag(stream: Any) -> None:
        stream.codec_context.color_trc, stream.codec_context.color_primaries = transfer, 9
        stream.codec_context.colorspace = 9

    info = probe(write_video(tmp_path / "hdr.mp4", pix_fmt="yuv420p10le", num_frames=3, setup=tag))
    with pytest.raises(VideoError, match=r"hdr\.mp4 is HDR, which torchcodec does not map(.|\n)*leave --backend out"):
        decode_frames(info, [0], backend="torchcodec")


@needs_torchcodec
def test_the_chosen_video_stream_is_read(tmp_path: Path) -> None:
    path = write_streams(tmp_path / "several.mkv", [(32, 24), (64, 48)], defaults=[0])
    info = probe(path, video_stream=1)
    np.testing.assert_array_equal(
        decode_frames(info, range(12), backend="torchcodec"), sequential_frames(path, stream=1)
    )


@needs_torchcodec
def test_parts_progress_and_isolation_work_as_with_pyav(tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.mp4", num_frames=24, options={"bf": "2"})
    seen: list[int] = []
    for isolate in (False, True):
        with Video(path, start=0.2, end=0.5, backend="torchcodec", isolate=isolate) as video:
            frames = list(video.frames(video.indices, on_frame=seen.append))
        np.testing.assert_array_equal(frames, sequential_frames(path)[5:13])
    assert seen == [*range(1, 9), *range(1, 9)]


@needs_torchcodec
def test_images_animations_and_folders_are_read_without_it(tmp_path: Path) -> None:
    Image.new("RGB", (4, 3), "red").save(tmp_path / "still.png")
    for path in (tmp_path / "still.png", tmp_path):
        np.testing.assert_array_equal(*both(probe(path), [0]))


@needs_torchcodec
def test_a_file_that_changes_is_named(tmp_path: Path) -> None:
    path = write_video(tmp_path / "growing.mp4", num_frames=12)
    frames = iter_frames(probe(path), range(12), backend="torchcodec")
    next(frames)
    with path.open("ab") as file:
        file.write(bytes(100))
    with pytest.raises(VideoError, match="changed while it was read"):
        list(frames)


@needs_torchcodec
def test_a_name_is_only_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.ts", "b.ts"):
        write_video(Path(name), num_frames=5)
    path = write_video(Path("video.mp4"), num_frames=7).rename("concat:a.ts|b.ts")
    np.testing.assert_array_equal(*both(probe(path), range(7)))


@needs_torchcodec
def test_damaged_packets_are_an_error(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.mp4", codec="libvpx-vp9", options={"g": "10", "lag-in-frames": "0"})
    info = probe(with_damaged_packets(whole, [23], "damaged.mp4"))
    expected = sequential_frames(whole)
    frames = iter_frames(info, [2, 23], backend="torchcodec")
    np.testing.assert_array_equal(next(frames), expected[2])
    with pytest.raises(VideoError, match="torchcodec"):
        next(frames)


def test_without_torchcodec_the_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchcodec", None)
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", None)
    info = probe(write_video(tmp_path / "video.mp4", num_frames=3))
    with pytest.raises(InputError, match=r"torchcodec is not installed(.|\n)*pip install 'bimba\[torchcodec\]'"):
        decode_frames(info, [0], backend="torchcodec")


def test_a_torchcodec_without_ffmpeg_names_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "torchcodec"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "decoders.py").write_text("raise RuntimeError('Could not load libtorchcodec.')")
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchcodec"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    info = probe(write_video(tmp_path / "video.mp4", num_frames=3))
    with pytest.raises(InputError, match=r"finds no FFmpeg(.|\n)*apt install ffmpeg"):
        decode_frames(info, [0], backend="torchcodec")
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchcodec"]:
        del sys.modules[name]
