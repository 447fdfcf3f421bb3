"""Decode: the right frame for every index, few packets, little memory, and never a frame silently missing."""

import dataclasses
import hashlib
import json
import logging
import random
import struct
import weakref
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from video_files import Frame, cut, drawn_frame, sequential_frames, shared_file, write_video

from bimba.errors import VideoError
from bimba.video.decode import decode_frames, iter_frames
from bimba.video.decoders.pyav import plan_runs
from bimba.video.info import FileStamp, PacketTable, VideoInfo
from bimba.video.probe import probe


def digest(*frames: Frame) -> str:
    return hashlib.sha256(b"".join(frame.tobytes() for frame in frames)).hexdigest()


def assert_frames_equal(info: VideoInfo, indices: Sequence[int], expected: Sequence[Frame]) -> None:
    decoded = list(iter_frames(info, indices))
    wrong = [index for index, frame in zip(indices, decoded, strict=True) if digest(frame) != digest(expected[index])]
    assert not wrong


@pytest.mark.parametrize("case", [0, 2], ids=["8 frames", "16 frames"])
def test_golden_frames_are_equal_byte_for_byte(case: int) -> None:
    golden = json.loads(shared_file("golden/bimba/e2e/sampling.json").read_text())
    info = probe(shared_file("video/example.mp4"))
    frames = decode_frames(info, golden["cases"][case]["frame_idx"])
    assert frames.dtype == np.uint8
    assert frames.shape == (golden["cases"][case]["num_frames"], 480, 640, 3)
    assert digest(frames) == golden["cases"][case]["frames_sha256"]
    if len(frames) == 8:
        assert [digest(frame) for frame in frames] == golden["frame_sha256_8_forced"]


@pytest.mark.parametrize(("index", "name"), [(0, "frame8_0.png"), (749, "frame8_7.png")])
def test_golden_pictures_are_equal(index: int, name: str) -> None:
    expected = np.asarray(Image.open(shared_file(f"golden/bimba/e2e/frames/{name}")))
    frame = next(iter_frames(probe(shared_file("video/example.mp4")), [index]))
    np.testing.assert_array_equal(frame, expected)


@pytest.mark.parametrize("name", ["bikes", "bigbuckbunny", "example", "magic"])
def test_chosen_frames_equal_those_of_a_plain_sequential_decode(name: str) -> None:
    path = shared_file(f"video/{name}.mp4")
    info = probe(path)
    chosen = sorted(random.Random(7).sample(range(info.num_frames), 6))
    wanted = {}
    with av.open(path) as container:
        container.streams.video[0].thread_type = "AUTO"
        for index, frame in enumerate(container.decode(video=0)):
            if index in chosen:
                wanted[index] = digest(np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8))
    assert [digest(frame) for frame in iter_frames(info, chosen)] == [wanted[index] for index in chosen]


def test_all_frames_of_a_video_equal_a_plain_sequential_decode() -> None:
    path = shared_file("video/bikes.mp4")
    info = probe(path)
    assert_frames_equal(info, range(info.num_frames), sequential_frames(path))


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("ip.mp4", "libx264", {"g": "12", "bf": "0"}),
        ("ibp.mp4", "libx264", {"g": "20", "bf": "3"}),
        ("ibp.mkv", "libx264", {"g": "20", "bf": "3"}),
        ("ibp.ts", "libx264", {"g": "20", "bf": "3"}),
        ("ibp.flv", "libx264", {"g": "20", "bf": "2"}),
        ("open_gop.mp4", "libx264", {"x264-params": "open-gop=1:keyint=12:bframes=3"}),
        ("hevc.mp4", "libx265", {"x265-params": "open-gop=1:keyint=12:bframes=3:log-level=none"}),
        ("intra_refresh.mp4", "libx264", {"intra-refresh": "1", "g": "12", "bf": "0", "sc_threshold": "0"}),
        ("all_key.mp4", "libx264", {"g": "1"}),
        ("one_key.webm", "libvpx-vp9", {"g": "999"}),
        ("vp8.webm", "libvpx", {"g": "12"}),
        ("divx.avi", "mpeg4", {"g": "12"}),
        ("divx_b.avi", "mpeg4", {"g": "12", "bf": "2"}),
        ("dvd.mpg", "mpeg2video", {"g": "12", "bf": "2"}),
    ],
)
def test_every_frame_alone_and_together_in_many_formats(
    tmp_path: Path, name: str, codec: str, options: dict[str, str]
) -> None:
    path = write_video(tmp_path / name, codec=codec, options=options, num_frames=40)
    info, expected = probe(path), sequential_frames(path)
    assert info.num_frames == len(expected) == 40
    assert_frames_equal(info, range(40), expected)
    assert_frames_equal(info, [1, 5, 6, 19, 20, 21, 38], expected)
    for index in range(0, 40, 3):
        assert_frames_equal(info, [index], expected)


def test_uneven_times_find_the_right_frames(tmp_path: Path) -> None:
    milliseconds = [0, 40, 90, 95, 400, 1000, 1010, 2500]
    path = write_video(tmp_path / "uneven.mp4", times=milliseconds, time_base=Fraction(1, 1000), options={"g": "3"})
    assert_frames_equal(probe(path), range(8), sequential_frames(path))


def test_frames_that_an_edit_list_hides_are_decoded_but_not_delivered(tmp_path: Path) -> None:
    path = write_video(tmp_path / "edited.mp4", options={"bf": "3", "g": "15"})
    content = bytearray(path.read_bytes())
    at = content.index(b"elst") + 12  # after name, version and count: duration in ms, start in ticks of 1/12800 s
    _, first_tick = struct.unpack(">Ii", content[at : at + 8])
    content[at : at + 8] = struct.pack(">Ii", 1000, first_tick + 20 * 512)
    path.write_bytes(content)
    expected = sequential_frames(path)
    info = probe(path)
    assert info.num_frames == len(expected) == 25
    assert_frames_equal(info, range(25), expected)


def test_hidden_reference_pictures_of_vp8_are_not_frames(tmp_path: Path) -> None:
    path = write_video(tmp_path / "shown.webm", codec="libvpx", options={"g": "999"}, num_frames=12)
    hidden = tmp_path / "hidden.webm"
    with av.open(path) as source, av.open(hidden, "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if packet.pts is None:
                continue
            content = bytearray(bytes(packet))
            if number == 5:
                content[0] &= ~0x10
            copied = av.Packet(bytes(content))
            copied.pts, copied.dts, copied.time_base = packet.pts, packet.dts, packet.time_base
            copied.is_keyframe, copied.stream = packet.is_keyframe, stream
            target.mux(copied)
    expected = sequential_frames(hidden)
    info = probe(hidden)
    assert info.num_frames == len(expected) == 11
    assert_frames_equal(info, range(11), expected)


def test_frames_before_the_first_keyframe_are_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_video(tmp_path / "whole.ts", options={"g": "10", "bf": "0", "sc_threshold": "0"}, num_frames=30)
    with av.open(path) as container:
        starts = [packet.pos for packet in container.demux(video=0) if packet.pos is not None]
    late = tmp_path / "late.ts"
    content = path.read_bytes()
    late.write_bytes(content[: 3 * 188] + content[starts[4] :])
    with caplog.at_level(logging.WARNING, logger="bimba"):
        info = probe(late)
    assert info.num_frames == 20
    assert "6 frames before the first keyframe" in caplog.text
    assert_frames_equal(info, range(20), sequential_frames(path)[10:])


def test_a_gif_is_a_video(tmp_path: Path) -> None:
    path = tmp_path / "moving.gif"
    first, *others = [Image.fromarray(drawn_frame(number)) for number in range(12)]
    first.save(path, save_all=True, append_images=others, duration=100)
    info = probe(path)
    assert info.frame_seconds.tolist() == [index / 10 for index in range(12)]
    assert_frames_equal(info, range(12), sequential_frames(path))
    assert_frames_equal(info, [7], sequential_frames(path))


def test_a_video_that_changes_its_size_keeps_the_first_frames_size(tmp_path: Path) -> None:
    small = write_video(tmp_path / "small.ts", num_frames=3)
    large = write_video(tmp_path / "large.ts", times=range(20, 23), width=128, height=96)
    both = tmp_path / "both.ts"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    frames = decode_frames(probe(both), range(6))
    assert frames.shape == (6, 48, 64, 3)
    unscaled = sequential_frames(both)[5]
    assert unscaled.shape == (96, 128, 3)
    assert abs(float(frames[5].mean()) - float(unscaled.mean())) < 5


def test_a_file_whose_packets_cannot_be_found_is_an_error(tmp_path: Path) -> None:
    info = probe(write_video(tmp_path / "video.mp4", options={"g": "10", "sc_threshold": "0"}))
    other = write_video(tmp_path / "other.mp4", times=range(7, 507, 100), time_base=Fraction(1, 1000))
    with pytest.raises(VideoError, match="gave 0 of the 1 wanted frames"):
        decode_frames(dataclasses.replace(info, path=other, stamp=FileStamp.of(other)), [59])


def test_times_that_contradict_the_order_of_the_frames_are_an_error(tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.mp4", options={"bf": "0", "g": "99"}, num_frames=10)
    mixed = tmp_path / "mixed.mp4"
    with av.open(path) as source, av.open(mixed, "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.pts is not None:
                packet.dts = packet.pts - 5 * 512
                packet.pts += {3: 2, 5: -2}.get(packet.pts // 512, 0) * 512
                packet.stream = stream
                target.mux(packet)
    with pytest.raises(VideoError, match="contradict the order of its frames"):
        decode_frames(probe(mixed), range(10))


def test_a_turned_phone_video_comes_out_upright(tmp_path: Path) -> None:
    lying = write_video(tmp_path / "lying.mp4", num_frames=3)
    turned = write_video(tmp_path / "turned.mp4", num_frames=3, rotation=90)
    expected = [np.rot90(frame) for frame in sequential_frames(lying)]
    np.testing.assert_array_equal(decode_frames(probe(turned), [0, 1, 2]), expected)


def test_a_frame_asked_for_twice_comes_twice(tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.mp4", num_frames=10)
    info, expected = probe(path), sequential_frames(path)
    assert_frames_equal(info, [0, 0, 4, 4, 4, 9], expected)


def test_no_frame_asked_for_gives_none(tmp_path: Path) -> None:
    info = probe(write_video(tmp_path / "video.mp4", num_frames=3))
    assert decode_frames(info, []).shape == (0, 48, 64, 3)


def test_the_first_frame_of_a_long_group_costs_one_packet(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    info = probe(write_video(tmp_path / "long.mp4", num_frames=200, options={"g": "100", "sc_threshold": "0"}))
    assert decoded_and_seeks(info, [0], caplog) == (1, 0)


def test_the_last_frame_costs_its_own_group_of_pictures(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    options = {"g": "50", "sc_threshold": "0", "bf": "0"}
    info = probe(write_video(tmp_path / "long.mp4", num_frames=210, options=options))
    assert decoded_and_seeks(info, [209], caplog) == (10, 1)
    assert decoded_and_seeks(info, [200, 203, 209], caplog) == (10, 1)
    assert decoded_and_seeks(info, [0, 51, 160], caplog) == (1 + 2 + 11, 2)


def test_neighbouring_groups_are_decoded_without_a_seek(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    info = probe(write_video(tmp_path / "long.mp4", num_frames=60, options={"g": "10", "sc_threshold": "0"}))
    assert decoded_and_seeks(info, range(60), caplog) == (60, 0)


def decoded_and_seeks(info: VideoInfo, indices: Sequence[int], caplog: pytest.LogCaptureFixture) -> tuple[int, int]:
    """Decode, and read from the decoder's own report how many pictures and seeks that took."""
    caplog.clear()
    with caplog.at_level(logging.DEBUG, logger="bimba.video.decoders.pyav"):
        assert sum(1 for _ in iter_frames(info, indices)) == len(indices)
    report = caplog.records[-1].args
    assert isinstance(report, tuple)
    _, num_delivered, _, num_decoded, num_seeks = report
    assert num_delivered == len(set(indices))
    assert isinstance(num_decoded, int)
    assert isinstance(num_seeks, int)
    return num_decoded, num_seeks


def test_a_frame_shown_before_its_keyframe_needs_the_keyframe_before() -> None:
    # File order: I0 P3 b1 b2 | I6 b4 b5 | P7; the frames 4 and 5 refer to P3 as well.
    timestamps = np.array([0, 3, 1, 2, 6, 4, 5, 7])
    table = PacketTable(0, 0.04, timestamps, np.array([0, 4]), np.sort(timestamps), np.argsort(timestamps))
    assert [(run.start, run.last) for run in plan_runs(table, [5])] == [(0, 6)]
    assert [(run.start, run.last) for run in plan_runs(table, [6])] == [(4, 4)]
    assert [(run.start, run.last) for run in plan_runs(table, [1, 7])] == [(0, 2), (4, 7)]
    assert [(run.start, run.last) for run in plan_runs(table, [5, 7])] == [(0, 7)]


def test_a_wrongly_marked_keyframe_is_made_up_for(tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.mp4", num_frames=30, options={"g": "15", "bf": "0", "sc_threshold": "0"})
    info = probe(path)
    assert info.packets is not None
    every_packet = dataclasses.replace(info.packets, key_positions=np.arange(30))
    misled = dataclasses.replace(info, packets=every_packet)
    assert_frames_equal(misled, [4, 22], sequential_frames(path))


def test_only_a_few_frames_are_alive_while_iterating(tmp_path: Path) -> None:
    info = probe(write_video(tmp_path / "video.mp4", num_frames=40))
    delivered: list[weakref.ref[Frame]] = []
    most = 0
    for frame in iter_frames(info, range(40)):
        delivered.append(weakref.ref(frame))
        most = max(most, sum(reference() is not None for reference in delivered))
    assert len(delivered) == 40
    assert most <= 2


def test_closing_the_iterator_early_releases_the_file(tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.mp4")
    info = probe(path)
    frames = iter_frames(info, range(60))
    next(frames)
    assert str(path) in open_files()
    frames.close()
    assert str(path) not in open_files()
    assert list(frames) == []


def open_files() -> list[str]:
    folder = Path("/proc/self/fd")
    if not folder.exists():
        pytest.skip("needs /proc to see which files are open")
    return [str(entry.readlink()) for entry in folder.iterdir() if entry.is_symlink()]


def test_progress_counts_the_frames_delivered(tmp_path: Path) -> None:
    info = probe(write_video(tmp_path / "video.mp4", num_frames=10))
    seen: list[int] = []
    decode_frames(info, [0, 3, 3, 9], on_frame=seen.append)
    assert seen == [1, 2, 3, 4]


@pytest.mark.parametrize("indices", [[3, 1], [-1], [0, 10]])
def test_indices_must_ascend_and_exist(tmp_path: Path, indices: list[int]) -> None:
    info = probe(write_video(tmp_path / "video.mp4", num_frames=10))
    with pytest.raises(ValueError, match="indices"):
        iter_frames(info, indices)


def test_a_file_that_ends_before_its_table_says_how_many_frames_came(tmp_path: Path) -> None:
    options = {"g": "10", "bf": "0", "sc_threshold": "0"}
    path = write_video(tmp_path / "video.mp4", options=options, container_options={"movflags": "faststart"})
    info = probe(path)
    shorter = cut(path, 0.7, "part.mp4")
    part = dataclasses.replace(info, path=shorter, stamp=FileStamp.of(shorter))
    with pytest.raises(VideoError, match=r"gave 2 of the 4 wanted frames: frame 55 of 60 \(at 2\.20 s\)(.|\n)*ffmpeg"):
        decode_frames(part, [0, 5, 55, 59])


@pytest.mark.parametrize("codec", ["libx264", "libvpx-vp9"])
def test_damaged_packets_are_an_error(tmp_path: Path, codec: str) -> None:
    options = {"g": "60", "bf": "0"} if codec == "libx264" else {"g": "60", "lag-in-frames": "0"}
    path = write_video(tmp_path / "video.mp4", codec=codec, options=options, num_frames=20)
    info = probe(path)
    content = bytearray(path.read_bytes())
    with av.open(path) as container:
        packets = [packet for packet in container.demux(video=0) if packet.pos is not None]
    position, size = packets[12].pos, packets[12].size
    assert position is not None
    content[position : position + size] = b"\xff" * size
    path.write_bytes(content)
    with pytest.raises(VideoError, match=r"changed while it was read: its bytes were replaced"):
        decode_frames(info, [3, 12])
    damaged = r"gave 1 of the 2 wanted frames: frame 12 of 20 \(at 0\.48 s\) cannot be decoded; 1 of the \d+ packets"
    with pytest.raises(VideoError, match=damaged):
        decode_frames(probe(path), [3, 12])


def test_a_file_deleted_since_it_was_probed_is_an_error(tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.mp4", num_frames=3)
    info = probe(path)
    path.unlink()
    with pytest.raises(VideoError, match="cannot be opened"):
        decode_frames(info, [0])


@pytest.mark.parametrize("extension", ["png", "bmp", "webp", "jpg"])
def test_a_still_image_is_decoded_as_one_frame(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"still.{extension}"
    Image.fromarray(drawn_frame(3)).save(path, lossless=True)
    frames = decode_frames(probe(path), [0, 0])
    assert frames.shape == (2, 48, 64, 3)
    tolerance = 40 if extension == "jpg" else 0
    assert np.abs(frames[0].astype(int) - drawn_frame(3)).mean() <= tolerance


def test_a_photo_is_turned_as_its_exif_orientation_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held so that the picture must be turned clockwise
    path = tmp_path / "photo.png"
    Image.fromarray(drawn_frame(3)).save(path, exif=exif)
    info = probe(path)
    assert (info.width, info.height) == (48, 64)
    np.testing.assert_array_equal(next(iter_frames(info, [0])), np.rot90(drawn_frame(3), -1))


def test_an_image_cut_off_after_its_header_is_named(tmp_path: Path) -> None:
    Image.fromarray(drawn_frame(3)).save(tmp_path / "whole.bmp")
    part = cut(tmp_path / "whole.bmp", 0.5, "part.bmp")
    with pytest.raises(VideoError, match=r"part\.bmp looks like an image but cannot be read"):
        decode_frames(probe(part), [0])
