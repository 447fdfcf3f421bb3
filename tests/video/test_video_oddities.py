"""Files as cameras, editors and recorders leave them: every frame that FFmpeg decodes comes, upright and in time."""

import logging
import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from video_files import (
    assert_all_frames_right,
    converted_frames,
    decoder_frames,
    read_and_compare,
    remuxed,
    sequential_frames,
    with_damaged_packets,
    write_video,
    write_with_sound,
)

from bimba.errors import VideoError
from bimba.video.decode import decode_frames
from bimba.video.probe import probe

UNEVEN_MILLISECONDS = [0, 40, 90, 95, 400, 1000, 1010, 2500, 2540, 2600, 4000, 4001]


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("phone.mov", "libx264", "yuv420p"),
        ("screen.mov", "qtrle", "rgb24"),
        ("disc.vob", "mpeg2video", "yuv420p"),
        ("tape.mpg", "mpeg1video", "yuv420p"),
        ("camera.m2ts", "libx264", "yuv420p"),
        ("archive.mkv", "ffv1", "yuv420p"),
        ("capture.avi", "mjpeg", "yuvj420p"),
        ("raw.avi", "rawvideo", "yuv420p"),
        ("rgb.avi", "utvideo", "gbrp"),
        ("broadcast.mxf", "mpeg2video", "yuv420p"),
        ("old.wmv", "wmv2", "yuv420p"),
        ("older.flv", "flv", "yuv420p"),
        ("free.ogg", "libvpx", "yuv420p"),
        ("plain.webm", "libvpx", "yuv420p"),
        ("clear.webm", "libvpx-vp9", "yuva420p"),
        ("bare.ivf", "libvpx", "yuv420p"),
        ("pipe.y4m", "wrapped_avframe", "yuv420p"),
        ("stream.mjpeg", "mjpeg", "yuvj420p"),
        ("moving.apng", "apng", "rgb24"),
    ],
)
def test_every_frame_of_many_containers(tmp_path: Path, name: str, codec: str, pix_fmt: str) -> None:
    info = read_and_compare(write_video(tmp_path / name, codec=codec, pix_fmt=pix_fmt, num_frames=25))
    assert info.frame_seconds.tolist() == [index / info.average_fps for index in range(25)]


@pytest.mark.parametrize("name", ["edit.mov", "live.mkv", "stream.mp4"])
def test_every_frame_of_files_written_in_pieces(tmp_path: Path, name: str) -> None:
    pieces = {"movflags": "frag_keyframe+empty_moov"} if name != "live.mkv" else {"live": "1"}
    path = write_video(tmp_path / name, options={"g": "10", "bf": "2"}, container_options=pieces)
    assert read_and_compare(path).num_frames == 60


@pytest.mark.parametrize("name", ["pyramid.mp4", "pyramid.mkv", "pyramid.ts", "pyramid.mov", "pyramid.flv"])
def test_every_frame_of_a_pyramid_of_b_frames(tmp_path: Path, name: str) -> None:
    options = {"x264-params": "bframes=6:b-adapt=0:b-pyramid=normal:keyint=30:scenecut=0:open-gop=1"}
    read_and_compare(write_video(tmp_path / name, options=options, num_frames=45))


@pytest.mark.parametrize("name", ["uneven.mp4", "uneven.mkv", "uneven.mov", "uneven.ts", "uneven.flv"])
def test_frames_of_a_variable_rate_keep_their_times(tmp_path: Path, name: str) -> None:
    path = write_video(
        tmp_path / name, times=UNEVEN_MILLISECONDS, time_base=Fraction(1, 1000), options={"g": "4", "bf": "2"}
    )
    info = read_and_compare(path)
    np.testing.assert_allclose(info.frame_seconds, np.array(UNEVEN_MILLISECONDS) / 1000, atol=1e-9)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_turned_video_comes_upright_with_its_pixel_aspect_turned(tmp_path: Path, degrees: int) -> None:
    path = write_video(tmp_path / "turned.mp4", num_frames=12, rotation=degrees, aspect=Fraction(4, 3))
    info = probe(path)
    # A plain decode leaves the pictures lying; for what is up, see the test of a turned phone video.
    assert_all_frames_right(info, [np.rot90(frame, degrees // 90) for frame in sequential_frames(path)])
    if degrees == 180:
        assert (info.width, info.height) == (64, 48)
        assert info.pixel_aspect == pytest.approx(4 / 3)
        assert info.display_size == (85, 48)
    else:
        assert (info.width, info.height) == (48, 64)
        assert info.pixel_aspect == pytest.approx(3 / 4)
        assert info.display_size == (36, 64)


@pytest.mark.parametrize("name", ["wide.mp4", "wide.mkv", "wide.ts", "wide.mpg"])
def test_pixels_that_are_not_square_are_told_and_left_as_they_are(tmp_path: Path, name: str) -> None:
    codec, aspect = ("mpeg2video", Fraction(4, 3)) if name == "wide.mpg" else ("libx264", Fraction(64, 45))
    info = read_and_compare(write_video(tmp_path / name, codec=codec, aspect=aspect, num_frames=5))
    assert info.pixel_aspect == pytest.approx(float(aspect))
    assert (info.width, info.height) == (64, 48)
    assert info.display_size == (round(64 * aspect), 48)


def test_pixels_are_square_where_nobody_says_otherwise(tmp_path: Path) -> None:
    info = probe(write_video(tmp_path / "square.avi", codec="mpeg4", num_frames=3))
    assert info.pixel_aspect == 1
    assert info.display_size == (64, 48)


@pytest.mark.parametrize("size", [(65, 49), (65, 48), (64, 49), (17, 1)], ids=str)
@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("odd.mp4", "mpeg4", "yuv420p"),
        ("full.mp4", "libx264", "yuv444p"),
        ("odd.webm", "libvpx-vp9", "yuv420p"),
        ("odd.mkv", "ffv1", "yuv420p"),
    ],
)
def test_odd_sizes_keep_every_pixel(tmp_path: Path, name: str, codec: str, pix_fmt: str, size: tuple[int, int]) -> None:
    width, height = size
    path = write_video(tmp_path / name, codec=codec, pix_fmt=pix_fmt, num_frames=5, width=width, height=height)
    info = read_and_compare(path)
    assert (info.width, info.height) == size


def test_a_turned_video_of_ten_bits_and_odd_size_comes_upright(tmp_path: Path) -> None:
    deep = {"codec": "libx265", "pix_fmt": "yuv420p10le", "options": {"x265-params": "log-level=none"}}
    path = write_video(tmp_path / "deep.mp4", num_frames=5, width=66, height=50, rotation=90, **deep)  # type: ignore[arg-type]
    info = probe(path)
    assert (info.width, info.height) == (50, 66)
    assert_all_frames_right(info, converted_frames(path, info))


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("fields.ts", "mpeg2video", {"flags": "+ildct+ilme", "bf": "2", "g": "12"}),
        ("fields.mp4", "libx264", {"x264-params": "tff=1:bframes=2:keyint=12"}),
        ("fields.mkv", "libx264", {"x264-params": "bff=1:bframes=2:keyint=12"}),
    ],
)
def test_interlaced_pictures_come_woven_one_for_two_fields(
    tmp_path: Path, name: str, codec: str, options: dict[str, str]
) -> None:
    path = write_video(tmp_path / name, codec=codec, options=options, num_frames=30)
    assert decoder_frames(path)[3].interlaced_frame
    info = read_and_compare(path)
    assert (info.num_frames, info.height, info.average_fps) == (30, 48, 25)


def test_ten_thousand_frames_a_second(tmp_path: Path) -> None:
    info = read_and_compare(write_video(tmp_path / "fast.mp4", rate=10_000, num_frames=100, options={"g": "10"}))
    assert info.average_fps == 10_000
    assert info.frame_seconds.tolist() == [index / 10_000 for index in range(100)]


@pytest.mark.parametrize(
    "name", ["one.mp4", "one.mkv", "one.ts", "one.flv", "one.avi", "one.webm", "one.mpg", "one.gif"]
)
def test_a_single_frame(tmp_path: Path, name: str) -> None:
    codecs = {"avi": "mpeg4", "webm": "libvpx", "mpg": "mpeg2video", "gif": "gif"}
    extension = name.partition(".")[2]
    pix_fmt = "rgb8" if extension == "gif" else "yuv420p"
    path = write_video(tmp_path / name, num_frames=1, codec=codecs.get(extension, "libx264"), pix_fmt=pix_fmt)
    info = read_and_compare(path)
    assert info.num_frames == 1
    assert info.frame_seconds.tolist() == [0.0]
    assert info.average_fps == 25
    assert info.is_timed


@pytest.mark.parametrize("name", ["late.mp4", "late.mkv", "late.ts"])
def test_times_count_from_the_sound_that_starts_long_before_the_pictures(tmp_path: Path, name: str) -> None:
    path = write_with_sound(tmp_path / name, pictures_start=3, sound_start=0)
    info = probe(path)
    assert info.start_seconds == pytest.approx(3, abs=0.1)
    assert info.frame_seconds[0] == info.start_seconds
    np.testing.assert_allclose(np.diff(info.frame_seconds), 1 / 25)
    assert info.duration_seconds == pytest.approx(info.start_seconds + 20 / 25)
    assert_all_frames_right(info, sequential_frames(path))


@pytest.mark.parametrize(("pictures_start", "sound_start"), [(0.3, 0.0), (0.0, 3.0), (0.0, 0.0)])
def test_times_count_from_the_pictures_where_sound_is_hardly_ahead_or_behind(
    tmp_path: Path, pictures_start: float, sound_start: float
) -> None:
    info = probe(write_with_sound(tmp_path / "even.mkv", pictures_start=pictures_start, sound_start=sound_start))
    assert info.start_seconds == 0
    assert info.frame_seconds.tolist() == [index / 25 for index in range(20)]


def test_times_count_from_where_the_file_starts_and_not_from_zero(tmp_path: Path) -> None:
    info = probe(write_with_sound(tmp_path / "later.mkv", pictures_start=5, sound_start=3))
    assert info.start_seconds == pytest.approx(2)


def test_an_edit_that_shows_nothing_at_first_hides_no_frame(tmp_path: Path) -> None:
    path = write_video(tmp_path / "delayed.mp4", times=range(50, 90), options={"bf": "2", "g": "12"})
    assert path.read_bytes().count(b"elst") == 1
    at = path.read_bytes().index(b"elst") + 12
    assert struct.unpack(">Ii", path.read_bytes()[at : at + 8]) == (2000, -1)  # the first edit is empty, for 2 seconds
    info = read_and_compare(path)
    assert info.num_frames == 40
    assert info.frame_seconds.tolist() == [index / 25 for index in range(40)]


def test_an_empty_edit_of_a_file_with_sound_is_a_late_start(tmp_path: Path) -> None:
    path = write_with_sound(tmp_path / "delayed.mp4", pictures_start=2, sound_start=0)
    assert path.read_bytes().count(b"elst") >= 1
    info = probe(path)
    assert info.start_seconds == pytest.approx(2)
    assert_all_frames_right(info, sequential_frames(path))


@pytest.mark.parametrize("name", ["headless.mkv", "headless.mp4", "headless.flv"])
def test_what_lies_before_the_first_keyframe_is_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    whole = write_video(tmp_path / f"whole-{name}", num_frames=40, options={"g": "10", "bf": "0", "sc_threshold": "0"})
    path = remuxed(whole, name, lambda number: number >= 6)
    with caplog.at_level(logging.WARNING, logger="bimba"):
        info = probe(path)
    assert "4 frames before the first keyframe cannot be decoded" in caplog.text
    assert_all_frames_right(info, sequential_frames(whole)[10:])


def test_clocks_of_transport_streams_may_start_again(tmp_path: Path) -> None:
    wrap = 2**33  # the clock has 33 bits
    ticks = range(wrap - 126_000 - 90_000, wrap + 90_000, 3600)
    path = write_video(tmp_path / "day.ts", times=ticks, time_base=Fraction(1, 90_000), options={"g": "10", "bf": "2"})
    info = read_and_compare(path)
    np.testing.assert_allclose(info.frame_seconds, np.arange(len(ticks)) / 25)


@pytest.mark.parametrize("times", [range(20), range(5, 25), range(400, 420)], ids=["again", "overlapping", "before"])
def test_recordings_joined_without_new_times_are_refused(tmp_path: Path, times: range) -> None:
    options = {"g": "10", "bf": "0"}
    first = write_video(tmp_path / "first.ts", times=range(400, 420), options=options)
    second = write_video(tmp_path / "second.ts", times=times, options=options)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    with pytest.raises(VideoError, match=r"times that contradict the order of its frames(.|\n)*ffmpeg"):
        decode_frames(probe(joined), range(20))


def test_recordings_joined_with_a_gap_in_time_are_one_video(tmp_path: Path) -> None:
    first = write_video(tmp_path / "first.ts", num_frames=20, options={"g": "10", "bf": "2"})
    second = write_video(tmp_path / "second.ts", times=range(500, 520), options={"g": "10", "bf": "2"})
    joined = tmp_path / "joined.ts"
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    info = read_and_compare(joined)
    assert info.num_frames == 40
    assert info.frame_seconds[20] - info.frame_seconds[0] == pytest.approx(
        20, abs=0.1
    )  # reordering delays the first one


def test_a_turned_video_without_its_first_keyframe_still_comes_upright(tmp_path: Path) -> None:
    options = {"g": "5", "bf": "0", "sc_threshold": "0"}
    whole = write_video(tmp_path / "whole.mp4", num_frames=15, rotation=90, options=options)
    info = probe(with_damaged_packets(whole, [0], "damaged.mp4"))
    assert (info.width, info.height) == (48, 64)
    assert_all_frames_right(info, [np.rot90(frame) for frame in sequential_frames(whole)[5:]])
