"""A video that goes on is read while it is written: every frame that is due, at its time, and an end that is told."""

import http.server
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import pytest
from video_files import drawn_frame, write_video

from bimba.errors import InputError, VideoError
from bimba.video.growing_file import GrowingFile, order_of, wait_for_order
from bimba.video.live import LiveFrame, LiveSource

LIVE = {"g": "10", "bf": "0", "tune": "zerolatency"}
KINDS = {
    "ts": ("mpegts", {"flush_packets": "1"}),
    "mkv": ("matroska", {"flush_packets": "1", "cluster_time_limit": "500"}),
    "mp4": ("mp4", {"flush_packets": "1", "movflags": "frag_keyframe+empty_moov"}),
}


class Recorder:
    """Writes `drawn_frame(0)`, `drawn_frame(1)`, ... at ten frames a second of the video, when it is told to."""

    def __init__(self, path: Path, kind: str, container_options: dict[str, str] | None = None) -> None:
        name, options = KINDS[kind]
        self._container = av.open(path, "w", format=name, options=options if container_options is None else {})
        stream = self._container.add_stream("libx264", rate=10, options=LIVE)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        self._stream, self._next = stream, 0

    def record(self, count: int) -> None:
        for number in range(self._next, self._next + count):
            frame = av.VideoFrame.from_ndarray(drawn_frame(number), format="rgb24")
            frame.pts = number
            self._container.mux(self._stream.encode(frame))
        self._next += count

    def end(self) -> None:
        self._container.mux(self._stream.encode(None))
        self._container.close()


def live(path: Path | str, **options: float) -> LiveSource:
    return LiveSource(str(path), **{"patience": 0.3, "fps": 5.0} | options)  # type: ignore[arg-type] # numbers all


def is_frame(frame: LiveFrame, number: int) -> bool:
    """Whether it is a drawn frame, but for what the codec loses."""
    return float(np.abs(frame.picture.astype(int) - drawn_frame(number).astype(int)).mean()) < 12


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_read_while_it_is_written(kind: str, tmp_path: Path) -> None:
    """Frames of the first part come before the second part is written, and the end is noticed."""
    path = tmp_path / f"live.{kind}"
    recorder = Recorder(path, kind)
    recorder.record(40)
    source = live(path)
    frames: list[LiveFrame] = []
    seen_before: list[int] = []
    parts: list[Callable[[], None]] = [recorder.end, lambda: recorder.record(30), lambda: recorder.record(40)]

    def more() -> None:
        seen_before.append(len(frames))
        if parts:
            parts.pop()()

    frames.extend(source.frames(more))
    assert [round(frame.seconds, 3) for frame in frames] == [number / 5 for number in range(55)]
    assert all(is_frame(frame, 2 * number) for number, frame in enumerate(frames))
    assert max(seen_before) >= 35, "frames come while the file grows"
    assert (source.num_frames, source.num_damaged, source.num_restarts) == (55, 0, 0)


def test_a_file_that_has_not_grown_for_a_while_has_ended(tmp_path: Path) -> None:
    path = write_video(tmp_path / "done.ts", num_frames=50, rate=25)
    source = live(path, fps=1.0)
    assert [frame.seconds for frame in source.frames()] == [0.0, 1.0]
    assert source.end == "nothing was added for 0.3 s"
    assert len(list(live(path, patience=0.0, fps=100.0).frames())) == 50, "never more frames than there are"


def test_whole_mp4s_are_read_wherever_their_index_is(tmp_path: Path) -> None:
    last = write_video(tmp_path / "last.mp4", num_frames=20, rate=10)
    first = write_video(tmp_path / "first.mp4", num_frames=20, rate=10, container_options={"movflags": "faststart"})
    assert (order_of(last), order_of(first)) == ("finished", "streamed")
    for path in (last, first):
        assert [round(frame.seconds, 3) for frame in live(path).frames()] == [number / 5 for number in range(10)]


def test_an_mp4_without_its_index_is_refused_with_a_way_out(tmp_path: Path) -> None:
    path = tmp_path / "recording.mp4"
    recorder = Recorder(path, "mp4", container_options={})
    for _ in range(30):
        recorder.record(100)  # until the muxer's buffer is written
        if path.exists() and path.stat().st_size > 1000:
            break
    with pytest.raises(VideoError, match=r"still being written(.|\n)*frag_keyframe"):
        list(live(path).frames())
    recorder.end()
    assert next(live(path).frames()).seconds == 0.0


@pytest.mark.parametrize(
    ("content", "order"),
    [
        (b"", "unknown"),
        (b"\0\0\0\x10ft", "unknown"),
        (b"\0\0\0\x10ftypisom\0\0\0\0", "unknown"),
        (b"\0\0\0\x08ftyp\0\0\0\x08moov", "streamed"),
        (b"\0\0\0\x08ftyp\0\0\0\x08free\0\0\0\0mdat", "unindexed"),
        (b"\0\0\0\x08ftyp\0\0\0\x0amdatxx\0\0\0\x08moov", "finished"),
        (b"\0\0\0\x08ftyp\0\0\0\x01mdat\0\0\0\0\0\0\0\x12xx\0\0\0\x08moov", "finished"),
        (b"\0\0\0\x08ftyp\0\0\0\x09mdatx", "unindexed"),
        (b"G" * 188, "streamed"),
    ],
)
def test_the_order_of_a_file_is_told_by_its_boxes(content: bytes, order: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    assert order_of(path) == order
    assert wait_for_order(path, 0.0, threading.Event()) == order


def test_damage_is_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_video(tmp_path / "damaged.ts", num_frames=200, rate=25, options={"g": "20"})
    content = bytearray(path.read_bytes())
    middle = len(content) // 2 // 188 * 188
    for packet in range(20):
        content[middle + packet * 188 + 100 : middle + packet * 188 + 140] = np.random.default_rng(packet).bytes(40)
    path.write_bytes(content)
    source = live(path, fps=25.0)
    with caplog.at_level(logging.WARNING):
        frames = list(source.frames())
    assert source.num_damaged > 0
    assert "is damaged, and is left out" in caplog.text
    assert 170 <= len(frames) < 200
    wrong = [frame for frame in frames if not is_frame(frame, round(frame.seconds * 25))]
    assert len(wrong) <= 3, "times are those of the pictures; FFmpeg mends a picture or two"


def test_a_stream_that_is_joined_in_the_middle_begins_with_its_first_whole_picture(tmp_path: Path) -> None:
    path = write_video(
        tmp_path / "whole.ts", num_frames=100, rate=25, options={"g": "25", "bf": "0", "sc_threshold": "0"}
    )
    content = path.read_bytes()
    path.write_bytes(content[: 188 * 3] + content[len(content) // 188 // 3 * 188 :])
    source = live(path)
    frames = list(source.frames())
    assert frames[0].seconds == 0.0
    assert source.num_damaged == 0
    assert any(is_frame(frames[0], number) for number in (25, 50))


def test_times_go_on_where_a_recording_begins_anew(tmp_path: Path) -> None:
    path = write_video(tmp_path / "part.ts", num_frames=50, rate=25)
    path.write_bytes(path.read_bytes() * 2)
    source = live(path, fps=25.0)
    seconds = [frame.seconds for frame in source.frames()]
    assert source.num_restarts == 1
    assert seconds == sorted(seconds)
    assert 97 <= len(seconds) <= 100
    assert 3.8 < seconds[-1] < 4.0


def test_a_file_that_is_cut_while_it_is_read_is_no_end(tmp_path: Path) -> None:
    path = tmp_path / "cut.ts"
    recorder = Recorder(path, "ts")
    recorder.record(60)
    with pytest.raises(VideoError, match="was cut to 1,000 bytes"):
        list(live(path, patience=30.0).frames(lambda: os.truncate(path, 1000)))


def test_what_is_no_video_is_told(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no video at all\n" * 100)
    with pytest.raises(VideoError, match="cannot be opened as a video"):
        list(live(text).frames())
    empty = tmp_path / "empty.ts"
    empty.touch()
    with pytest.raises(VideoError, match="cannot be opened as a video"):
        list(live(empty).frames())
    headless = write_video(tmp_path / "headless.ts", num_frames=10)
    content = bytearray(headless.read_bytes())
    content[188 * 4 :] = bytes(len(content) - 188 * 4)
    headless.write_bytes(content)
    with pytest.raises(VideoError, match=r"gave no picture|no video stream|cannot be opened|tells nowhere"):
        list(live(headless).frames())


def test_names_that_are_no_source_are_refused_before_anything_is_opened(tmp_path: Path) -> None:
    for name, problem in (
        (str(tmp_path / "missing.ts"), "does not exist"),
        (str(tmp_path), "is no file"),
        ("/dev/null", r"device\.(.|\n)*--format v4l2"),
        ("-", "from which questions are read"),
        ("gopher://example.org/x", r"gopher addresses(.|\n)*rtsp"),
        ("x" * 300, "cannot be opened"),
    ):
        with pytest.raises((InputError, VideoError), match=problem):
            live(name)
    for options, problem in (
        ({"fps": 0.0}, "frames a second"),
        ({"fps": float("inf")}, "frames a second"),
        ({"patience": -1.0}, "patience"),
        ({"patience": float("nan")}, "patience"),
    ):
        with pytest.raises(InputError, match=problem):
            live("/dev/null", **options)
    for kind in ("mpegts", "nonsense", "rtsp", "concat", "image2", "dshow" if os.name != "nt" else "v4l2"):
        with pytest.raises(InputError, match="no kind of camera"):
            LiveSource("x", device_format=kind)


def test_a_device_is_opened_by_its_format() -> None:
    """FFmpeg's own test picture stands for a camera."""
    source = LiveSource("testsrc=size=64x48:rate=10", fps=2.0, device_format="lavfi")
    frames = []
    for frame in source.frames():
        frames.append(frame)
        if len(frames) == 4:
            source.stop()
    assert [frame.seconds for frame in frames] == [0.0, 0.5, 1.0, 1.5]
    assert source.end == "it was stopped"
    with pytest.raises(VideoError, match="cannot be opened"):
        list(LiveSource("/dev/no-such-camera", device_format="v4l2", patience=1.0).frames())


def test_an_empty_pipe_is_waited_for_and_can_be_left(tmp_path: Path) -> None:
    pipe, stopped, waits = tmp_path / "pipe", threading.Event(), list[int]()
    os.mkfifo(pipe)
    writers: list[int] = []
    opener = threading.Thread(target=lambda: writers.append(os.open(pipe, os.O_WRONLY)))
    opener.start()

    def write_or_stop() -> None:
        waits.append(len(waits))
        if len(waits) == 1:
            os.write(writers[0], b"abc")
        else:
            stopped.set()

    file = GrowingFile(pipe, 0.0, stopped, write_or_stop)
    opener.join()
    assert file.read(9) == b"abc"
    assert file.read(9) == b""
    assert waits == [0, 1]
    file.close()
    os.close(writers[0])


def test_a_named_pipe_ends_with_its_writer(tmp_path: Path) -> None:
    content = write_video(tmp_path / "video.ts", num_frames=50, rate=25).read_bytes()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(content))
    writer.start()
    source, waits = live(pipe, patience=0.0), list[int]()
    assert len(list(source.frames(lambda: waits.append(source.num_frames)))) == 10
    assert not waits or waits == sorted(waits)
    writer.join()
    assert source.end == "it ended"


@contextmanager
def served(send: Callable[[http.server.BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """The address of a server on this machine that answers with what `send` writes."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "video/mp2t")
            self.end_headers()
            send(self)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://user:secret@127.0.0.1:{server.server_port}/live.ts"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def sends(content: bytes) -> Callable[[http.server.BaseHTTPRequestHandler], None]:
    def send(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.wfile.write(content)

    return send


def test_an_address_is_watched_and_its_password_is_not_told(tmp_path: Path) -> None:
    content = write_video(tmp_path / "video.ts", num_frames=50, rate=25).read_bytes()
    with served(sends(content)) as address:
        source, waits = live(address, patience=5.0), list[int]()
        assert len(list(source.frames(lambda: waits.append(source.num_frames)))) == 10
        assert waits == list(range(1, 11))
        assert source.end == "the connection was closed"
        assert "secret" not in source.name
        assert source.name.startswith("http://***@127.0.0.1")


def test_an_address_that_falls_silent_has_ended(tmp_path: Path) -> None:
    content = write_video(tmp_path / "video.ts", num_frames=200, rate=25).read_bytes()
    over = threading.Event()

    def send(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.wfile.write(content)
        over.wait(30)

    with served(send) as address:
        source = live(address, patience=1.0)
        frames = list(source.frames())
        over.set()
    assert source.end == "nothing came for 1 s"
    assert 30 <= len(frames) <= 40


def test_a_playlist_opens_no_file(tmp_path: Path) -> None:
    video = write_video(tmp_path / "private.ts", num_frames=50)
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile://{video}\n#EXT-X-ENDLIST\n".encode()
    with served(sends(playlist)) as address, pytest.raises(VideoError):
        list(live(address.replace("live.ts", "list.m3u8"), patience=2.0).frames())


def test_nobody_who_serves_is_told() -> None:
    with pytest.raises(VideoError, match="cannot be opened"):
        list(live("tcp://127.0.0.1:9", patience=1.0).frames())


def test_reading_waits_at_the_end_and_can_be_stopped(tmp_path: Path) -> None:
    path = tmp_path / "grows"
    path.write_bytes(b"abc")
    stopped, waits = threading.Event(), []
    file = GrowingFile(path, 60.0, stopped, lambda: waits.append(len(waits)))
    assert file.read(2) == b"ab"
    assert file.read(9) == b"c"

    def later() -> None:
        while not waits:
            time.sleep(0.01)
        with path.open("ab") as out:
            out.write(b"def")

    writer = threading.Thread(target=later)
    writer.start()
    assert file.read(9) == b"def"
    writer.join()
    assert waits == [0]
    stopped.set()
    assert file.read(9) == b""
    path.write_bytes(b"abcdefghi")
    assert file.read(9) == b"", "an end stays one"
    file.close()
