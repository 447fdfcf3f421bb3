"""Damaged files: whatever is wrong with them, frames or an error with a fix come out, in time and in little memory."""

import contextlib
import io
import struct
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from benchmarks.fuzz.__main__ import is_broken, report
from benchmarks.fuzz.cases import NUM_TESTED, case, decode, read_clips
from benchmarks.fuzz.clips import CLIPS
from benchmarks.fuzz.headers import header_numbers
from benchmarks.fuzz.mutations import MUTATIONS
from benchmarks.fuzz.run import LONGEST_SECONDS, OUR_FAULTS, Result, peak_bytes, run_cases
from PIL import Image
from video_files import drawn_frame, write_video

from bimba.errors import BimbaError, VideoError
from bimba.video.isolation import IsolationError, Limits, Worker
from bimba.video.probe import probe
from bimba.video.source import Video

NUM_SHARDS = 4  # so that the tests that run side by side share the work
# Cases that once ended in an exception with no fix: streams that appear late or have an unknown codec, odd colours.
FOUND_ONCE = (26, 228, 25047, 37207, 50287)
CRASHES_FFMPEG = 18403


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The good files."""
    return read_clips(tmp_path_factory.mktemp("clips"))


@pytest.mark.parametrize("shard", range(NUM_SHARDS))
def test_damaged_files_give_frames_or_an_error_with_a_fix(shard: int, tmp_path: Path) -> None:
    before = peak_bytes(of_workers=False)
    results = list(run_cases(range(shard, NUM_TESTED, NUM_SHARDS), tmp_path, num_threads=2))
    assert len(results) == NUM_TESTED // NUM_SHARDS
    assert [result for result in results if is_broken(result)] == []
    outcomes = Counter(result.outcome for result in results)
    assert outcomes["frames"] > 5
    assert outcomes["VideoError"] > 5
    after = peak_bytes(of_workers=False)
    if before is not None and after is not None:
        assert after - before < 256 * 2**20


def test_the_report_counts_outcomes_and_names_what_broke_the_promise() -> None:
    good = [Result(case(number), "frames" if number % 2 else "VideoError", 0.1, "") for number in range(40)]
    section = report(good, [2**30, 2**30])
    assert "40 damaged files of 10 clips" in section
    assert "what to do: holds." in section
    assert "| all | 40 | 20 | 20 | 0 | 0 | 0 | 0 | 0 | 0 |" in section
    for broken in (Result(case(5), "exit code", 0.1, ""), Result(case(5), "frames", LONGEST_SECONDS + 1, "")):
        assert "what to do: does not hold." in report([*good, broken], [None, None])


def test_the_tested_cases_mix_all_clips_and_kinds_of_damage() -> None:
    mixed = Counter((case(number).clip, case(number).kind) for number in range(NUM_TESTED))
    assert len(mixed) == len(CLIPS) * len(MUTATIONS)
    assert set(mixed.values()) == {NUM_TESTED // len(mixed)}
    assert any(case(number).reading.get("allow_truncated") for number in range(NUM_TESTED))
    assert any("start" in case(number).reading for number in range(NUM_TESTED))


@pytest.mark.parametrize("name", [clip.name for clip in CLIPS])
def test_a_clip_is_read_whole_while_it_is_good(name: str, clips: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(clips[name])
    with Video(path) as video:
        assert len(list(video.frames(range(video.info.num_frames)))) == (24 if path.suffix == ".webp" else 48)
        assert decode(video) == 8


def test_clips_are_the_same_each_time(clips: dict[str, bytes], tmp_path: Path) -> None:
    assert read_clips(tmp_path) == clips


@pytest.mark.parametrize("kind", MUTATIONS)
@pytest.mark.parametrize("clip", [clip.name for clip in CLIPS])
def test_damage_depends_on_the_seed_alone_and_changes_the_file(kind: str, clip: str, clips: dict[str, bytes]) -> None:
    damaged = [MUTATIONS[kind](clips[clip], seed) for seed in range(20)]
    assert damaged == [MUTATIONS[kind](clips[clip], seed) for seed in range(20)]
    assert clips[clip] not in damaged
    assert len(set(damaged)) > 15


def test_truncation_shortens_and_wrong_sizes_keep_the_length(clips: dict[str, bytes]) -> None:
    content = clips["h264.mp4"]
    for seed in range(50):
        assert content.startswith(MUTATIONS["truncation"](content, seed))
        assert sorted(MUTATIONS["swapped chunks"](content, seed)) == sorted(content)
        for kind in ("wrong sizes", "bit flips"):
            assert len(MUTATIONS[kind](content, seed)) == len(content)


def test_sizes_are_found_where_the_formats_keep_them(clips: dict[str, bytes]) -> None:
    for name, content in clips.items():
        places = header_numbers(content)
        assert len(places) > 100, name
        assert all(0 <= place.start < place.start + place.num_bytes <= len(content) for place in places)
    mp4 = clips["h264.mp4"]
    starts = {place.start for place in header_numbers(mp4)}
    assert {mp4.index(box) - 4 for box in (b"ftyp", b"moov", b"trak", b"stsz")} <= starts
    assert 4 in {place.start for place in header_numbers(clips["mpeg4.avi"])}


@pytest.mark.parametrize("number", FOUND_ONCE)
def test_what_was_a_fault_once_is_none_now(number: int, clips: dict[str, bytes], tmp_path: Path) -> None:
    file = case(number)
    path = file.write(clips[file.clip], tmp_path)
    with contextlib.suppress(BimbaError):
        assert decode(Video(path, **file.reading)) > 0


def test_a_crash_of_ffmpeg_does_not_reach_the_caller(tmp_path: Path) -> None:
    (result,) = run_cases([CRASHES_FFMPEG], tmp_path, num_threads=1)
    assert result.outcome not in OUR_FAULTS


def test_a_fault_in_the_worker_is_told_apart_from_a_crash(tmp_path: Path) -> None:
    with pytest.raises(IsolationError, match="exit code 1") as caught:
        Worker(write_video(tmp_path / "v.mp4"), {"nonsense": True}, "pyav", Limits())
    assert caught.value.reason == "crash"
    assert is_broken(Result(case(0), "exit code", 0.1, str(caught.value)))


def test_a_stream_whose_first_keyframe_and_header_tell_no_size_is_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.ts", num_frames=250, options={"g": "12"})
    content = path.read_bytes()
    cut_at = len(content) * 4 // 5  # FFmpeg looks for the first five seconds
    sps, unknown = b"\0\0\1\x67", b"\0\0\1\x6c"
    path.write_bytes(content[:cut_at].replace(sps, unknown) + content[cut_at:])
    with pytest.raises(VideoError, match="tells nowhere how large its pictures are"):
        probe(path)


def exif(orientation: int, *, odd: bool) -> bytes:
    """EXIF data of two entries; the odd one is a maker's name that is stored as a fraction."""
    name = struct.pack("<HHII", 0x010F, 5, 1, 38) if odd else struct.pack("<HHII", 0x010F, 2, 4, 0x00636261)
    turned = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", 2) + name + turned + bytes(4) + struct.pack("<II", 1, 2)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("odd", [False, True], ids=["", "odd maker"])
def test_a_photo_is_upright_whatever_else_its_exif_says(orientation: int, odd: bool, tmp_path: Path) -> None:
    upright = drawn_frame(3)
    # What a camera stores that was held so; the inverse of turning it.
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.swapaxes(0, 1),
        6: np.rot90(upright), 7: np.rot90(upright, 2).swapaxes(0, 1), 8: np.rot90(upright, 3),
    }[orientation]  # fmt: skip
    path = tmp_path / "photo.png"
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif(orientation, odd=odd))
    with Video(path) as video:
        (frame,) = video.frames([0])
        assert frame.shape == (video.info.height, video.info.width, 3)
    np.testing.assert_array_equal(frame, upright)


def png(*behind_pixels: tuple[bytes, bytes]) -> bytes:
    """A png with further chunks behind its pixels, all with good checksums."""
    stored = io.BytesIO()
    Image.fromarray(drawn_frame(0)).save(stored, "PNG", exif=exif(1, odd=False))
    content = stored.getvalue()
    end = content.rindex(b"IEND") - 4
    chunks = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in behind_pixels
    ]
    return content[:end] + b"".join(chunks) + content[end:]


@pytest.mark.parametrize("chunk", [(b"gAMA", b"\0\0"), (b"pHYs", b"\0"), (b"cHRM", b"\0" * 7), (b"sRGB", b"")], ids=str)
def test_a_png_with_a_chunk_that_is_too_short_is_refused(chunk: tuple[bytes, bytes], tmp_path: Path) -> None:
    path = tmp_path / "v.png"
    path.write_bytes(png(chunk))
    with Video(path) as video, pytest.raises(VideoError, match="looks like an image but cannot be read"):
        list(video.frames([0]))


def test_a_png_that_names_another_orientation_behind_its_pixels_has_the_promised_shape(tmp_path: Path) -> None:
    path = tmp_path / "v.png"
    path.write_bytes(png((b"eXIf", exif(6, odd=False))))
    with Video(path) as video:
        (frame,) = video.frames([0])
        assert frame.shape == (video.info.height, video.info.width, 3)
