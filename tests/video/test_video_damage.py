"""Files that are cut, damaged, written to or wrong about themselves: what is there comes, and the rest is counted."""

import logging
import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from av.container import InputContainer
from av.video.stream import VideoStream
from PIL import Image
from video_files import (
    Frame,
    assert_all_frames_right,
    cut,
    drawn_frame,
    patched,
    read_and_compare,
    remuxed,
    sequential_frames,
    with_damaged_packets,
    write_video,
)

from bimba.errors import VideoError
from bimba.video.containers.packets import PacketScan, scan_packets
from bimba.video.decode import decode_frames, iter_frames
from bimba.video.info import VideoInfo
from bimba.video.probe import probe

EVERY_TENTH_IS_KEY = {"g": "10", "bf": "0", "sc_threshold": "0"}
REORDERED = {"g": "12", "bf": "2"}


def after(path: Path, name: bytes, offset: int) -> int:
    """Where in the file a value lies: so many bytes behind the first time that a name comes."""
    return path.read_bytes().index(name) + len(name) + offset


@pytest.mark.parametrize("factor", [0, 1 / 3, 3, 1000])
@pytest.mark.parametrize(("box", "offset"), [(b"mvhd", 16), (b"tkhd", 20), (b"mdhd", 16)])
def test_an_mp4_wrong_about_its_duration_gives_every_frame(
    tmp_path: Path, box: bytes, offset: int, factor: float
) -> None:
    whole = write_video(tmp_path / "whole.mp4", num_frames=30, options=REORDERED)
    at = after(whole, box, offset)
    (duration,) = struct.unpack(">I", whole.read_bytes()[at : at + 4])
    info = read_and_compare(patched(whole, "wrong.mp4", {at: struct.pack(">I", round(duration * factor))}))
    assert info.num_frames == 30
    assert info.frame_seconds.tolist() == [index / 25 for index in range(30)]
    assert info.duration_seconds == 30 / 25


@pytest.mark.parametrize("box", [b"stsz", b"stts"])
def test_an_mp4_that_promises_more_frames_than_its_tables_hold_gives_every_frame(tmp_path: Path, box: bytes) -> None:
    whole = write_video(tmp_path / "whole.mp4", num_frames=30, options=REORDERED)
    at = after(whole, box, 8)
    assert read_and_compare(patched(whole, "more.mp4", {at: struct.pack(">I", 45)})).num_frames == 30


def test_an_mp4_whose_tables_contradict_each_other_is_cut_short(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.mp4", num_frames=30, options=EVERY_TENTH_IS_KEY)
    wrong = patched(whole, "fewer.mp4", {after(whole, b"stsz", 8): struct.pack(">I", 20)})
    with pytest.raises(VideoError, match=r"ends after 20 of 30 frames(.|\n)*--allow-truncated"):
        probe(wrong)
    assert_all_frames_right(probe(wrong, allow_truncated=True), sequential_frames(whole)[:20])


@pytest.mark.parametrize(("name", "offset"), [(b"avih", 20), (b"strh", 36)], ids=["dwTotalFrames", "dwLength"])
def test_an_avi_that_promises_fewer_frames_gives_every_frame(tmp_path: Path, name: bytes, offset: int) -> None:
    whole = write_video(tmp_path / "whole.avi", codec="mpeg4", num_frames=30)
    wrong = patched(whole, "fewer.avi", {after(whole, name, offset): struct.pack("<I", 20)})
    assert read_and_compare(wrong).num_frames == 30


def test_an_avi_that_promises_more_frames_is_cut_short(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.avi", codec="mpeg4", num_frames=30)
    other = patched(whole, "total.avi", {after(whole, b"avih", 20): struct.pack("<I", 45)})
    assert read_and_compare(other).num_frames == 30
    wrong = patched(whole, "length.avi", {after(whole, b"strh", 36): struct.pack("<I", 45)})
    with pytest.raises(VideoError, match=r"ends after 30 of 45 frames(.|\n)*--allow-truncated"):
        probe(wrong)
    assert_all_frames_right(probe(wrong, allow_truncated=True), sequential_frames(wrong))


@pytest.mark.parametrize("name", ["wrong.mkv", "wrong.webm", "wrong.flv"])
def test_a_container_that_knows_only_a_duration_is_held_to_it(tmp_path: Path, name: str) -> None:
    codec = "libvpx" if name.endswith("webm") else "libx264"
    whole = write_video(tmp_path / f"whole-{name}", codec=codec, num_frames=30)
    at = after(whole, b"duration", 1) if name.endswith("flv") else after(whole, b"\x44\x89\x88", 0)
    (duration,) = struct.unpack(">d", whole.read_bytes()[at : at + 8])
    assert read_and_compare(patched(whole, f"less-{name}", {at: struct.pack(">d", duration / 2)})).num_frames == 30
    more = patched(whole, name, {at: struct.pack(">d", duration * 4)})
    with pytest.raises(VideoError, match=r"ends after 1\.2\d of [45]\.\d+ seconds(.|\n)*--allow-truncated"):
        probe(more)
    info = probe(more, allow_truncated=True)
    assert_all_frames_right(info, sequential_frames(more))
    assert info.duration_seconds == pytest.approx(1.2)


CUTS: dict[str, tuple[str, dict[str, str]]] = {
    "cut.mp4": ("libx264", REORDERED),
    "cut.mkv": ("libx264", REORDERED),
    "cut.ts": ("libx264", REORDERED),
    "cut.flv": ("libx264", REORDERED),
    "cut.webm": ("libvpx-vp9", {"g": "12"}),
    "cut.avi": ("mjpeg", {}),
    "cut.mpg": ("mpeg2video", REORDERED),
    "cut.ivf": ("libvpx", {"g": "12"}),
}


def whole_and_cut(folder: Path, name: str, fraction: float) -> tuple[Path, Path]:
    """A file of 60 frames, and its first part."""
    codec, options = CUTS[name]
    container_options = {"movflags": "faststart"} if name.endswith("mp4") else {}
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = folder / f"whole-{name}"
    write_video(path, codec=codec, options=options, container_options=container_options, pix_fmt=pix_fmt)
    return path, cut(path, fraction, name)


@pytest.mark.parametrize("fraction", [0.45, 0.55, 0.81])
@pytest.mark.parametrize("name", CUTS)
def test_a_cut_file_gives_what_is_there_if_it_may(tmp_path: Path, name: str, fraction: float) -> None:
    whole, path = whole_and_cut(tmp_path, name, fraction)
    info = probe(path, allow_truncated=True)
    there = sequential_frames(path, skip_damage=True)
    # FFmpeg makes a picture even of the part of a packet that lies before the cut, and of what refers to it.
    assert len(there) - 2 <= info.num_frames <= len(there)
    assert 10 < info.num_frames < 60
    assert_all_frames_right(info, there[: info.num_frames])
    undamaged = {frame.tobytes() for frame in sequential_frames(whole)}
    assert all(frame.tobytes() in undamaged for frame in iter_frames(info, range(info.num_frames)))


def test_a_file_cut_within_one_of_its_pieces_gives_what_is_there_if_it_may(tmp_path: Path) -> None:
    pieces = {"movflags": "frag_keyframe+empty_moov"}
    whole = write_video(tmp_path / "whole.mp4", options={**EVERY_TENTH_IS_KEY}, container_options=pieces)
    content = whole.read_bytes()
    path = cut(whole, (content.rindex(b"mdat") + 200) / len(content), "cut.mp4")
    with pytest.raises(VideoError, match=r"ends within frame 5\d, its last one(.|\n)*--allow-truncated"):
        probe(path)
    info = probe(path, allow_truncated=True)
    assert 50 < info.num_frames < 60
    assert_all_frames_right(info, sequential_frames(whole)[: info.num_frames])


@pytest.mark.parametrize("name", ["cut.mp4", "cut.mkv", "cut.flv", "cut.webm", "cut.avi", "cut.ivf"])
def test_a_cut_file_is_refused_unless_it_may_be_cut(tmp_path: Path, name: str) -> None:
    _, path = whole_and_cut(tmp_path, name, 0.4)
    with pytest.raises(VideoError, match=r"ends (after [\d.]+ of [\d.]+ |within frame )(.|\n)*--allow-truncated"):
        probe(path)


@pytest.mark.parametrize("name", ["cut.mkv", "cut.webm"])
def test_a_matroska_file_cut_within_its_last_second_is_refused_as_well(tmp_path: Path, name: str) -> None:
    whole, path = whole_and_cut(tmp_path, name, 0.8)
    with pytest.raises(VideoError, match=r"ends after [\d,]+ of [\d,]+ bytes(.|\n)*--allow-truncated"):
        probe(path)
    assert probe(whole).num_frames == 60


def test_a_matroska_file_that_was_sent_live_does_not_say_how_long_it_is(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.mkv", options=EVERY_TENTH_IS_KEY, container_options={"live": "1"})
    assert probe(whole).num_frames == 60
    assert 30 < probe(cut(whole, 0.8, "cut.mkv")).num_frames < 60


def test_what_is_used_of_a_cut_file_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = write_video(tmp_path / "whole.mp4", options=REORDERED, container_options={"movflags": "faststart"})
    with caplog.at_level(logging.WARNING, logger="bimba"):
        info = probe(cut(whole, 0.5, "part.mp4"), allow_truncated=True)
    assert "of 60 frames; what is there is used" in caplog.text
    assert info.duration_seconds == info.num_frames / 25


def test_a_whole_file_may_be_cut_as_well(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_video(tmp_path / "whole.mp4", options=REORDERED)
    with caplog.at_level(logging.WARNING, logger="bimba"):
        assert_all_frames_right(probe(path, allow_truncated=True), sequential_frames(path))
    assert not caplog.records


def test_frames_around_the_damage_still_come(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.mp4", options=EVERY_TENTH_IS_KEY)
    path = with_damaged_packets(whole, [23], "damaged.mp4")
    info, expected = probe(path), sequential_frames(whole)
    sound = [*range(23), *range(30, 60)]
    assert_frames(info, sound, expected)
    assert_frames(info, [2, 45], expected)
    assert_frames(info, [22, 30], expected)
    for index in (0, 22, 30, 59):
        assert_frames(info, [index], expected)


def test_frames_behind_a_damaged_keyframe_still_come(tmp_path: Path) -> None:
    options = {"g": "10", "lag-in-frames": "0"}
    whole = write_video(tmp_path / "whole.mp4", codec="libvpx-vp9", options=options)
    path = with_damaged_packets(whole, [20], "damaged.mp4")
    info, expected = probe(path), sequential_frames(whole)
    assert_frames(info, [2, 45], expected)
    assert_frames(info, [*range(20), *range(30, 60)], expected)
    with pytest.raises(VideoError, match=r"gave 1 of the 3 wanted frames: frame 20 of 60 \(at 0\.80 s\)"):
        decode_frames(info, [2, 20, 45])


@pytest.mark.parametrize("name", ["headless.mp4", "headless.mkv", "headless.ts"])
def test_a_file_without_a_single_keyframe_is_an_error(tmp_path: Path, name: str) -> None:
    whole = write_video(tmp_path / "whole.mp4", num_frames=20, options={"g": "99", "bf": "0", "sc_threshold": "0"})
    path = remuxed(whole, name, lambda number: number > 0)
    with pytest.raises(VideoError, match=r"frame 0 of 19 .* cannot be decoded|its first keyframe cannot be decoded"):
        decode_frames(probe(path), [0])


def test_the_error_counts_the_frames_that_came_and_the_packets_that_are_damaged(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.mp4", options=EVERY_TENTH_IS_KEY)
    info = probe(with_damaged_packets(whole, [23, 24], "damaged.mp4"))
    came = iter_frames(info, [2, 22, 27, 45])
    expected = sequential_frames(whole)
    np.testing.assert_array_equal([next(came), next(came)], [expected[2], expected[22]])
    damaged = r"gave 2 of the 4 wanted frames: frame 27 of 60 \(at 1\.08 s\) cannot be decoded; 2 of the \d+ packets"
    with pytest.raises(VideoError, match=rf"{damaged} read for it are damaged(.|\n)*ffmpeg"):
        next(came)


def assert_frames(info: VideoInfo, indices: list[int], expected: list[Frame]) -> None:
    decoded = list(iter_frames(info, indices))
    wrong = [index for index, frame in zip(indices, decoded, strict=True) if not np.array_equal(frame, expected[index])]
    assert wrong == []


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(bytes(1000))


def replace(path: Path) -> None:
    other = write_video(path.with_name("other.mp4"), num_frames=70, codec="mpeg4")
    other.replace(path)


def overwrite(path: Path) -> None:
    before = path.stat()
    path.write_bytes(bytes(before.st_size))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))


def delete(path: Path) -> None:
    path.unlink()


CHANGES: dict[Callable[[Path], None], str] = {
    append: "changed while it was read: it had",
    replace: "changed while it was read: it had",
}
CHANGES |= {overwrite: "changed while it was read: its bytes were replaced", delete: "cannot be opened"}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_file_that_changes_between_two_frames_is_named(tmp_path: Path, change: Callable[[Path], None]) -> None:
    path = write_video(tmp_path / "growing.mp4", options=EVERY_TENTH_IS_KEY)
    expected = sequential_frames(path)
    frames = iter_frames(probe(path), [3, 45, 59])
    np.testing.assert_array_equal(next(frames), expected[3])
    change(path)
    with pytest.raises(VideoError, match=CHANGES[change]):
        list(frames)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_an_animation_that_changes_between_two_pictures_is_named(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    first, *others = [Image.fromarray(drawn_frame(number)) for number in range(8)]
    path = tmp_path / "moving.webp"
    first.save(path, save_all=True, append_images=others, duration=100, lossless=True)
    frames = iter_frames(probe(path), range(8))
    next(frames)
    change(path)
    with pytest.raises(VideoError, match=CHANGES[change]):
        list(frames)


def test_a_file_that_changed_after_it_was_probed_is_named_before_any_frame_comes(tmp_path: Path) -> None:
    path = write_video(tmp_path / "growing.mp4", num_frames=10)
    info = probe(path)
    append(path)
    with pytest.raises(VideoError, match=r"it had [\d,]+ bytes and has [\d,]+ now(.|\n)*copy"):
        next(iter_frames(info, [0]))


def test_a_file_that_changes_while_it_is_probed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "growing.mp4", num_frames=10)

    def scan_and_append(container: InputContainer, stream: VideoStream) -> PacketScan:
        scan = scan_packets(container, stream)
        append(path)
        return scan

    monkeypatch.setattr("bimba.video.probe.scan_packets", scan_and_append)
    with pytest.raises(VideoError, match="changed while it was read"):
        decode_frames(probe(path), [0])
