"""Which file and which of its streams is read: the one that was meant, and no other."""

import io
import logging
import os
import struct
import tracemalloc
import zlib
from fractions import Fraction
from pathlib import Path

import av
import pytest
from av.stream import Disposition
from PIL import Image
from video_files import (
    assert_all_frames_right,
    drawn_frame,
    patched,
    read_and_compare,
    sequential_frames,
    write_streams,
    write_video,
)

from bimba.errors import InputError, VideoError
from bimba.video.decode import decode_frames
from bimba.video.probe import probe

SMALL, MEDIUM, LARGE = (32, 24), (64, 48), (128, 96)


@pytest.mark.parametrize("name", ["several.mkv", "several.mp4"])
def test_of_several_video_streams_the_default_one_is_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    path = write_streams(tmp_path / name, [SMALL, MEDIUM, LARGE], defaults=[1])
    with caplog.at_level(logging.WARNING, logger="bimba"):
        info = probe(path)
    assert (info.width, info.height) == MEDIUM
    assert "has 3 video streams (32 x 24, 64 x 48, 128 x 96); number 1 is read, --video-stream takes" in caplog.text
    assert_all_frames_right(info, sequential_frames(path, stream=1))


@pytest.mark.parametrize("defaults", [[], [0, 1, 2]], ids=["none", "all"])
def test_of_several_equal_video_streams_the_first_is_read(tmp_path: Path, defaults: list[int]) -> None:
    info = probe(write_streams(tmp_path / "several.mkv", [LARGE, SMALL, MEDIUM], defaults=defaults))
    assert (info.width, info.height) == LARGE


@pytest.mark.parametrize(("number", "size"), [(0, SMALL), (1, MEDIUM), (2, LARGE)])
def test_any_of_several_video_streams_can_be_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, number: int, size: tuple[int, int]
) -> None:
    path = write_streams(tmp_path / "several.mkv", [SMALL, MEDIUM, LARGE], defaults=[1])
    with caplog.at_level(logging.WARNING, logger="bimba"):
        info = probe(path, video_stream=number)
    assert (info.width, info.height) == size
    assert_all_frames_right(info, sequential_frames(path, stream=number))
    assert not caplog.records


@pytest.mark.parametrize("number", [3, 99, -1])
def test_a_stream_that_there_is_not_is_named_with_how_many_there_are(tmp_path: Path, number: int) -> None:
    path = write_streams(tmp_path / "several.mkv", [SMALL, MEDIUM, LARGE])
    with pytest.raises(InputError, match=rf"has 3 video streams, but number {number} is asked for(.|\n)*from 0 to 2"):
        probe(path, video_stream=number)


@pytest.mark.parametrize("name", ["covered.mp4", "covered.m4v"])
@pytest.mark.parametrize("cover_first", [True, False])
def test_cover_art_is_no_video_stream(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, cover_first: bool
) -> None:
    path = write_streams(tmp_path / name, [MEDIUM], cover="first" if cover_first else "last")
    with caplog.at_level(logging.WARNING, logger="bimba"):
        info = probe(path)
    assert (info.width, info.height, info.num_frames) == (*MEDIUM, 12)
    assert not caplog.records
    with av.open(path) as container:
        (number,) = (
            stream.index for stream in container.streams.video if not stream.disposition & Disposition.attached_pic
        )
        assert len(container.streams.video) == 2
    assert_all_frames_right(info, sequential_frames(path, stream=number))
    with pytest.raises(InputError, match="has 1 video streams, but number 1"):
        probe(path, video_stream=1)


def test_cover_art_attached_to_a_matroska_file_is_no_video_stream(tmp_path: Path) -> None:
    path = tmp_path / "covered.mkv"
    plain = write_video(tmp_path / "plain.mkv", num_frames=12)
    with av.open(plain) as source, av.open(path, "w") as target:
        target.add_attachment("cover.png", "image/png", png())
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    assert_all_frames_right(probe(path), sequential_frames(plain))


@pytest.mark.parametrize("name", ["song.mp3", "song.m4a"])
def test_a_song_with_cover_art_has_no_video_stream(tmp_path: Path, name: str) -> None:
    path = write_streams(tmp_path / name, [], cover="last", sound="libmp3lame" if name == "song.mp3" else "aac")
    with pytest.raises(VideoError, match=rf"{name} has no video stream \(its streams: .*audio.*\)"):
        probe(path)


def png(width: int = 64, height: int = 48) -> bytes:
    """A small png; of another size than its own, it only claims to have it."""
    file = io.BytesIO()
    Image.fromarray(drawn_frame(0)).save(file, "PNG")
    content = bytearray(file.getvalue())
    content[16:24] = struct.pack(">II", width, height)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return bytes(content)


def test_an_image_of_too_many_pixels_is_refused_before_any_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    path.write_bytes(png(16384, 16384))
    tracemalloc.start()
    with pytest.raises(
        VideoError, match=r"has pictures of 16384 x 16384 = 268,435,456 pixels; at most 100,000,000 are read"
    ):
        probe(path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 10_000_000


def test_a_picture_just_too_large_is_refused_without_a_warning(tmp_path: Path) -> None:
    (tmp_path / "huge.png").write_bytes(png(10_000, 10_001))
    with pytest.raises(VideoError, match=r"10000 x 10001 = 100,010,000 pixels; at most 100,000,000"):
        probe(tmp_path / "huge.png")


def test_a_picture_within_the_limit_is_read_without_a_warning(tmp_path: Path) -> None:
    (tmp_path / "large.png").write_bytes(png(10_000, 9_999))
    # Not refused for its size, nor warned of by Pillow: its data end early.
    with pytest.raises(VideoError, match="truncated"):
        decode_frames(probe(tmp_path / "large.png"), [0])


def huge_videos() -> dict[str, tuple[bytes, str]]:
    """Headers alone of videos that promise large pictures, and how those are described."""
    gif = io.BytesIO()
    Image.fromarray(drawn_frame(0)).save(gif, "GIF")
    raw = b"YUV4MPEG2 W%d H%d F25:1 Ip A1:1 C420jpeg\nFRAME\n" + bytes(1000)
    named = r"12000 x 12000 = 144,000,000 pixels; at most 100,000,000 are read"
    return {
        "large.gif": (gif.getvalue()[:6] + struct.pack("<HH", 12000, 12000) + gif.getvalue()[10:], named),
        "huge.gif": (gif.getvalue()[:6] + struct.pack("<HH", 16384, 16384) + gif.getvalue()[10:], "100,000,000 pixels"),
        "large.y4m": (raw % (12000, 12000), named),
        "huge.y4m": (raw % (16384, 16384), "cannot be opened as a video"),
    }


@pytest.mark.parametrize("name", ["large.gif", "huge.gif", "large.y4m", "huge.y4m"])
def test_a_video_that_promises_too_many_pixels_is_refused(tmp_path: Path, name: str) -> None:
    content, problem = huge_videos()[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(VideoError, match=problem):
        probe(tmp_path / name)


@pytest.mark.parametrize(("side", "problem"), [(12000, "12000 x 12000"), (16384, "100,000,000 pixels")])
def test_a_raw_video_whose_header_names_too_many_pixels_is_refused(tmp_path: Path, side: int, problem: str) -> None:
    path = write_video(tmp_path / "raw.avi", codec="rawvideo", num_frames=3)
    at = path.read_bytes().index(b"strf") + 12
    with pytest.raises(VideoError, match=problem):
        probe(patched(path, "large.avi", {at: struct.pack("<II", side, side)}))


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "private.mp4", num_frames=3)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(VideoError, match=r"private\.mp4 may not be read by you(.|\n)*right to read"):
        probe(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_the_right_to_read_it_is_named(tmp_path: Path) -> None:
    path = write_video(tmp_path / "private.mp4", num_frames=3)
    path.chmod(0)
    with pytest.raises(VideoError, match="may not be read by you"):
        probe(path)


@pytest.mark.parametrize("name", ["list.m3u8", "list.mp4", "list.txt"])
@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{other}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile '{other}'\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
        '<?xml version="1.0"?><MPD type="static"><Period><BaseURL>{other}</BaseURL></Period></MPD>\n',
    ],
    ids=["hls", "concat", "sdp", "dash"],
)
def test_a_list_of_other_files_opens_none_of_them(tmp_path: Path, name: str, text: str) -> None:
    other = write_video(tmp_path / "secret.ts", num_frames=5)
    (tmp_path / name).write_text(text.format(other=other))
    with pytest.raises(VideoError, match="cannot be opened as a video"):
        probe(tmp_path / name)


@pytest.mark.parametrize(
    "name", ["concat:a.ts|b.ts", "subfile,,start,1,end,9,,:a.ts", "pipe:0", "http:a.ts", "a%02d.ts"]
)
def test_a_name_is_only_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    for part in ("a.ts", "b.ts", "a01.ts"):
        write_video(Path(part), num_frames=5)
    with pytest.raises(VideoError, match="does not exist"):
        probe(name)
    write_video(Path("video.ts"), num_frames=7).rename(name)
    assert probe(name).num_frames == 7
    assert len(decode_frames(probe(name), range(7))) == 7


def test_a_name_of_bytes_that_are_no_text_is_only_a_name(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9 \n.mp4")
    assert read_and_compare(write_video(tmp_path / "video.mp4", num_frames=4).rename(path)).num_frames == 4


def test_a_device_is_neither_a_file_nor_a_folder() -> None:
    with pytest.raises(VideoError, match=r"/dev/null is neither a file nor a folder(.|\n)*pipe"):
        probe("/dev/null")


@pytest.mark.parametrize("name", ["none.mkv", "none.avi", "none.y4m"])
def test_a_video_without_a_single_frame_is_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with av.open(path, "w") as container:
        stream = container.add_stream("wrapped_avframe" if name.endswith("y4m") else "mpeg4", rate=Fraction(25))
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    with pytest.raises(
        VideoError, match=rf"{name} (has a video stream without a single frame|cannot be opened|is empty)"
    ):
        probe(path)
