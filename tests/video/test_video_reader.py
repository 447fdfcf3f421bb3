"""The reader leaves out what nobody needs, and finds its way back when that was too much."""

from pathlib import Path

import av
import numpy as np
import pytest
from video_files import sequential_frames, write_video

from bimba.errors import VideoError
from bimba.video.containers.opening import refuse_lack_of_memory
from bimba.video.decode import decode_frames
from bimba.video.decoders import pyav
from bimba.video.decoders.rgb import RGBConverter
from bimba.video.isolation import IsolationError, Limits, worker
from bimba.video.isolation.messages import read_message
from bimba.video.probe import probe
from bimba.video.source import Video


def test_pictures_that_nothing_refers_to_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_video(tmp_path / "b.mp4", options={"bf": "3", "g": "60", "sc_threshold": "0"}, num_frames=60)
    info = probe(path)
    with caplog.at_level("DEBUG", logger="bimba.video.decoders.pyav"):
        [frame] = decode_frames(info, [59])
    np.testing.assert_array_equal(frame, sequential_frames(path)[59])
    arguments = caplog.records[-1].args
    assert isinstance(arguments, tuple)
    num_packets, num_decoded = arguments[2], arguments[3]
    assert isinstance(num_packets, int)
    assert isinstance(num_decoded, int)
    assert num_packets >= 58
    assert num_decoded < 50


def test_if_too_much_is_left_out_all_is_decoded_after_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "b.mp4", options={"bf": "3", "g": "20"}, num_frames=40)
    info, expected = probe(path), sequential_frames(path)
    monkeypatch.setattr(pyav._Reader, "_skipped", staticmethod(lambda *_: "NONKEY"))
    for index in (5, 19, 33):
        np.testing.assert_array_equal(decode_frames(info, [index])[0], expected[index])


def test_lack_of_memory_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_lack_of_memory(av.error.InvalidDataError(1, "damage"))
    with pytest.raises(MemoryError):
        refuse_lack_of_memory(av.error.MemoryError(12, "no memory"))
    info = probe(write_video(tmp_path / "video.mp4", num_frames=5))

    def refuse(*_: object) -> None:
        raise av.error.MemoryError(12, "no memory")

    monkeypatch.setattr(RGBConverter, "__call__", refuse)
    with pytest.raises(MemoryError):
        decode_frames(info, [0])


def test_a_good_file_that_needs_too_much_memory_says_so(tmp_path: Path) -> None:
    path = write_video(tmp_path / "large.mp4", num_frames=1, width=6000, height=5000, options={"preset": "ultrafast"})
    with pytest.raises(IsolationError, match=r"needs more than 0\.5 GiB") as raised:
        list(Video(path, isolate=Limits(memory_bytes=2**29)).frames([0]))
    assert raised.value.reason == "memory"


def test_each_request_has_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    limits: dict[int, tuple[int, int]] = {}

    class Stub:
        RLIMIT_CPU, RLIM_INFINITY, RUSAGE_SELF = resource.RLIMIT_CPU, -1, resource.RUSAGE_SELF

        @staticmethod
        def getrusage(_: int) -> object:
            return type("Usage", (), {"ru_utime": 900.0, "ru_stime": 100.0})

        @staticmethod
        def getrlimit(_: int) -> tuple[int, int]:
            return (-1, -1)

        @staticmethod
        def setrlimit(kind: int, values: tuple[int, int]) -> None:
            limits[kind] = values

    monkeypatch.setattr(worker, "_resource", lambda: Stub)
    worker._renew_time(10.0)
    soft, hard = limits[resource.RLIMIT_CPU]
    assert soft >= 1010, "what was used before does not count"
    assert hard == -1, "so that it can be renewed"


@pytest.mark.parametrize("line", [b"[" * 100_000 + b"\n", b"{}\n", b'{"num_bytes": -1}\n', b"7\n", b"\xff\n", b""])
def test_what_is_no_message_is_none(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "pipe").write_bytes(line)
    with (tmp_path / "pipe").open("rb") as pipe:
        assert read_message(pipe) is None


def test_frames_of_an_isolated_probe_come_from_its_video(tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.mp4", num_frames=3)
    with Video(path, isolate=True) as video, pytest.raises(ValueError, match="probed in isolation"):
        decode_frames(video.info, [0])


def test_a_worker_that_cannot_start_is_not_the_files_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "video.mp4", num_frames=3)
    monkeypatch.setenv("PYTHONHOME", str(tmp_path))
    with pytest.raises(VideoError, match=r"the process that was to decode .* failed \(exit code 1\)"):
        _ = Video(path, isolate=True).info
