"""Decoding in a process of its own: the same frames and errors, and whatever that process does, this one goes on."""

import gc
import logging
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from video_files import Frame, drawn_frame, write_video

from bimba.errors import InputError, VideoError
from bimba.video.isolation import IsolationError, Limits
from bimba.video.isolation.messages import read_message, write_message
from bimba.video.source import Video

# A stand-in for the worker finds the request that the real one gets on its standard input, and may answer it.
ANSWER = """
import json, os, sys, time
def send(header, content=b""):
    line = json.dumps({**header, "num_bytes": len(content)}).encode()
    sys.stdout.buffer.write(line + b"\\n" + content); sys.stdout.buffer.flush()
INFO = {"kind": "video", "width": 2, "height": 2, "num_frames": 3, "average_fps": 1.0, "is_timed": True, "codec": "x",
        "start_seconds": 0.0, "pixel_aspect": 1.0, "stamp": None, "pictures": []}
sys.stdin.buffer.readline()
"""


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Lets a program take the worker's place."""
    start = subprocess.Popen

    def use(program: str) -> None:
        def started(_: list[str], **pipes: Any) -> "subprocess.Popen[bytes]":
            return start([sys.executable, "-c", ANSWER + program], **pipes)

        monkeypatch.setattr("bimba.video.isolation.subprocess.Popen", started)

    return use


@pytest.fixture
def real_worker(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Lets the worker have its place again."""
    start = subprocess.Popen
    return lambda: monkeypatch.setattr("bimba.video.isolation.subprocess.Popen", start)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> "list[subprocess.Popen[bytes]]":
    """Every process that is started as a worker."""
    start = subprocess.Popen
    processes: list[subprocess.Popen[bytes]] = []

    def noted(*arguments: Any, **options: Any) -> "subprocess.Popen[bytes]":
        processes.append(start(*arguments, **options))
        return processes[-1]

    monkeypatch.setattr("bimba.video.isolation.subprocess.Popen", noted)
    return processes


def write_source(folder: Path, kind: str) -> Path:
    """A small video of a kind."""
    if kind in ("mp4", "mkv"):
        return write_video(folder / f"video.{kind}", num_frames=20, options={"g": "6", "bf": "2"}, rotation=90)
    first, *others = [Image.fromarray(drawn_frame(number)) for number in range(20)]
    if kind == "folder":
        for number, picture in enumerate([first, *others]):
            picture.save(folder / f"{number}.png")
        return folder
    path = folder / f"moving.{kind}"
    first.save(path, save_all=kind != "png", append_images=others, duration=100)
    return path


@pytest.mark.parametrize("kind", ["mp4", "gif", "webp", "folder", "png"])
def test_what_is_known_and_every_frame_are_the_same_as_without(tmp_path: Path, kind: str) -> None:
    source = write_source(tmp_path, kind)
    plain = Video(source)
    with Video(source, isolate=True) as isolated:
        for name in ("path", "kind", "width", "height", "num_frames", "average_fps", "is_timed", "codec", "stamp"):
            assert getattr(isolated.info, name) == getattr(plain.info, name), name
        for name in ("start_seconds", "pixel_aspect", "pictures", "duration_seconds", "display_size", "is_image"):
            assert getattr(isolated.info, name) == getattr(plain.info, name), name
        np.testing.assert_array_equal(isolated.info.frame_seconds, plain.info.frame_seconds)
        for indices in (plain.indices, [0, 0, plain.indices[-1]], [plain.indices[-1]], []):
            decoded, expected = list(isolated.frames(indices)), list(plain.frames(indices))
            assert len(decoded) == len(indices)
            np.testing.assert_array_equal(decoded, expected)
            assert all(frame.flags.writeable and frame.dtype == np.uint8 for frame in decoded)


def test_a_part_is_the_same_as_without(tmp_path: Path) -> None:
    path = write_source(tmp_path, "mp4")
    plain, isolated = (Video(path, start="0.2", end=0.5, isolate=isolate) for isolate in (False, True))
    assert isolated.indices == plain.indices == range(5, 13)
    np.testing.assert_array_equal(list(isolated.frames(isolated.indices)), list(plain.frames(plain.indices)))
    isolated.close()


def test_one_process_serves_a_video_and_progress_is_told(
    tmp_path: Path, started: "list[subprocess.Popen[bytes]]"
) -> None:
    seen: list[int] = []
    with Video(write_source(tmp_path, "mp4"), isolate=True) as video:
        for indices in ([0, 3, 3], np.array([5, 9])):
            list(video.frames(indices, on_frame=seen.append))  # type: ignore[arg-type]
        assert len(started) == 1
    assert seen == [1, 2, 3, 1, 2]
    assert started[0].poll() is not None


def test_what_is_logged_there_is_logged_here(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = write_video(tmp_path / "whole.mp4", container_options={"movflags": "faststart"})
    content = whole.read_bytes()
    whole.write_bytes(content[: len(content) * 2 // 3])
    with caplog.at_level(logging.WARNING, logger="bimba"), Video(whole, allow_truncated=True, isolate=True) as video:
        assert 20 < video.info.num_frames < 60
    assert "frames; what is there is used" in caplog.text
    assert caplog.records[0].name == "bimba.video.probe"


def test_errors_come_through_with_their_fix(tmp_path: Path) -> None:
    path = write_source(tmp_path, "mp4")
    options: list[dict[str, Any]] = [{"video_stream": 7}, {"image_fps": 2.0}]
    for arguments in options:
        with pytest.raises(InputError) as expected:
            _ = Video(path, **arguments).info
        with pytest.raises(InputError) as caught:
            _ = Video(path, isolate=True, **arguments).info
        assert (caught.value.problem, caught.value.fix) == (expected.value.problem, expected.value.fix)
    with pytest.raises(VideoError) as missing:
        _ = Video(tmp_path / "nowhere.mp4", isolate=True).info
    assert "does not exist" in missing.value.problem
    assert "spelling" in missing.value.fix
    assert type(missing.value) is VideoError


@pytest.mark.parametrize("indices", [[3, 1], [-1], [0, 20]])
def test_wrong_frame_numbers_are_the_callers_fault_here_as_well(tmp_path: Path, indices: list[int]) -> None:
    with Video(write_source(tmp_path, "mp4"), isolate=True) as video, pytest.raises(ValueError, match="indices"):
        video.frames(indices)


def test_a_file_that_changes_between_two_frames_is_named(tmp_path: Path) -> None:
    path = write_source(tmp_path, "mp4")
    with Video(path, isolate=True) as video:
        frames = video.frames([0, 5, 19])
        next(frames)
        with path.open("ab") as file:
            file.write(bytes(100))
        with pytest.raises(VideoError, match="changed while it was read"):
            list(frames)
        with pytest.raises(VideoError, match="changed while it was read"):
            list(video.frames([0]))


def test_two_iterations_at_the_same_time_do_not_mix(tmp_path: Path) -> None:
    path = write_source(tmp_path, "mp4")
    expected = list(Video(path).frames(range(20)))
    with Video(path, isolate=True) as video:
        pairs = zip(video.frames(range(10)), video.frames(range(10, 20)), strict=True)
        for index, (early, late) in enumerate(pairs):
            np.testing.assert_array_equal(early, expected[index])
            np.testing.assert_array_equal(late, expected[index + 10])


def test_an_iteration_that_is_given_up_leaves_no_process_behind(
    tmp_path: Path, started: "list[subprocess.Popen[bytes]]"
) -> None:
    path = write_source(tmp_path, "mp4")
    expected = list(Video(path).frames(range(20)))
    video = Video(path, isolate=True)
    frames = video.frames(range(20))
    np.testing.assert_array_equal(next(frames), expected[0])
    frames.close()
    assert [process.poll() is None for process in started] == [False]
    np.testing.assert_array_equal(list(video.frames([7])), [expected[7]])
    assert [process.poll() is None for process in started] == [False, True]
    video.close()
    assert [process.poll() is None for process in started] == [False, False]


def test_the_process_goes_away_with_the_video(tmp_path: Path, started: "list[subprocess.Popen[bytes]]") -> None:
    video = Video(write_source(tmp_path, "mp4"), isolate=True)
    assert video.info.num_frames == 20
    assert started[0].poll() is None
    del video
    gc.collect()
    assert started[0].poll() is not None


def test_a_closed_video_can_be_read_again(tmp_path: Path, started: "list[subprocess.Popen[bytes]]") -> None:
    video = Video(write_source(tmp_path, "mp4"), isolate=True)
    assert len(list(video.frames([0, 1]))) == 2
    video.close()
    assert len(list(video.frames([0, 1]))) == 2
    assert len(started) == 2
    video.close()


@pytest.mark.parametrize(
    "program", ["time.sleep(1000)", "while True: pass", "sys.stdout.buffer.write(b'{'); time.sleep(1000)"]
)
def test_a_process_that_hangs_is_ended(tmp_path: Path, stand_in: Callable[[str], None], program: str) -> None:
    path = write_source(tmp_path, "mp4")
    stand_in(program)
    with pytest.raises(IsolationError, match=r"was not decoded within 0\.5 seconds(.|\n)*Limits\(seconds=") as caught:
        _ = Video(path, isolate=Limits(seconds=0.5)).info
    assert caught.value.reason == "time"


# One frame, and more frames than the numbers of fit into a pipe that nobody reads.
@pytest.mark.parametrize("num_frames", [1, 100_000])
def test_a_process_that_hangs_over_a_request_is_ended(
    tmp_path: Path, stand_in: Callable[[str], None], num_frames: int
) -> None:
    stand_in("send({'info': INFO}, bytes(24)); time.sleep(1000)")
    video = Video(write_source(tmp_path, "mp4"), isolate=True)
    assert video.info.num_frames == 3
    assert video._worker is not None
    video._worker._limits = Limits(seconds=0.3)  # the start may take longer
    with pytest.raises(IsolationError) as caught:
        list(video.frames([0] * num_frames))
    assert caught.value.reason == "time"


def test_a_reader_that_takes_its_time_is_not_the_files_fault(tmp_path: Path) -> None:
    # Waiting for the process counts, and the process waits here for somebody to take its frames.
    with Video(write_source(tmp_path, "mp4"), isolate=Limits(seconds=30)) as video:
        frames = video.frames(range(20))
        next(frames)
        time.sleep(0.2)
        assert len(list(frames)) == 19


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT])
def test_a_process_that_crashes_is_named_with_its_signal(
    tmp_path: Path, stand_in: Callable[[str], None], number: signal.Signals
) -> None:
    path = write_source(tmp_path, "mp4")
    stand_in(f"import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); os.kill(os.getpid(), {int(number)})")
    with pytest.raises(IsolationError, match=rf"ended the process that decoded it \(signal {int(number)}\)") as caught:
        _ = Video(path, isolate=True).info
    assert caught.value.reason == "crash"
    assert "hostile" in caught.value.fix


def test_a_process_that_exits_is_named_with_its_code(tmp_path: Path, stand_in: Callable[[str], None]) -> None:
    path = write_source(tmp_path, "mp4")
    stand_in("sys.exit(7)")
    with pytest.raises(IsolationError, match=r"\(exit code 7\)"):
        _ = Video(path, isolate=True).info


GARBAGE = {
    "noise": "sys.stdout.buffer.write(os.urandom(5000)); sys.stdout.buffer.flush()",
    "no header": "send({})",
    "no object": "print('[1, 2]', flush=True)",
    "an empty info": "send({'info': {}})",
    "an info of the wrong type": "send({'info': 5})",
    "odd times": "send({'info': INFO}, bytes(7))",
    "an error without words": "send({'error': {'type': 'VideoError'}})",
    "an error of the wrong type": "send({'error': None})",
    "a log of the wrong type": "send({'log': 5})",
    "a log of no level": "send({'log': ['bimba', 'loud', 'text']})",
    "fewer bytes than announced": "os.write(1, b'{\"num_bytes\": 100}\\n123')",
    "fewer than no bytes": 'os.write(1, b\'{"info": {}, "num_bytes": -5}\\n\')',
    "more bytes than there are": 'os.write(1, b\'{"info": {}, "num_bytes": 99999999999999}\\n\')',
}


@pytest.mark.parametrize("program", GARBAGE.values(), ids=GARBAGE.keys())
def test_a_process_that_sends_garbage_is_a_crash(tmp_path: Path, stand_in: Callable[[str], None], program: str) -> None:
    path = write_source(tmp_path, "mp4")
    stand_in(program)
    with pytest.raises(IsolationError, match="ended the process that decoded it") as caught:
        _ = Video(path, isolate=Limits(seconds=20)).info
    assert caught.value.reason == "crash"


@pytest.mark.parametrize("num_bytes", [16, 30_000, 0])
def test_a_frame_of_another_size_is_a_crash(tmp_path: Path, stand_in: Callable[[str], None], num_bytes: int) -> None:
    stand_in(f"send({{'info': INFO}}, bytes(24)); send({{'frame': [2, 2, 3]}}, bytes({num_bytes}))")
    video = Video(write_source(tmp_path, "mp4"), isolate=Limits(seconds=20))
    assert video.info.num_frames == 3
    with pytest.raises(IsolationError) as caught:
        list(video.frames([0]))
    assert caught.value.reason == "crash"


def test_a_process_that_sends_garbage_and_goes_on_is_killed(tmp_path: Path, stand_in: Callable[[str], None]) -> None:
    path = write_source(tmp_path, "mp4")
    stand_in("send({'frame': [2, 2, 3]}, bytes(12)); time.sleep(1000)")
    with pytest.raises(IsolationError, match="killed, because it sent what is no message"):
        _ = Video(path, isolate=True).info


def test_a_crash_does_not_hurt_the_next_use(
    tmp_path: Path, stand_in: Callable[[str], None], real_worker: Callable[[], None]
) -> None:
    path = write_source(tmp_path, "mp4")
    video = Video(path, isolate=True)
    stand_in("os.kill(os.getpid(), 9)")
    with pytest.raises(IsolationError):
        _ = video.info
    real_worker()
    np.testing.assert_array_equal(list(video.frames([0, 19])), list(Video(path).frames([0, 19])))
    video.close()


@pytest.mark.skipif(sys.platform != "linux", reason="the memory limit is kept on Linux only")
@pytest.mark.parametrize("name", ["large.png", "large.avi"])
def test_a_video_that_needs_more_memory_than_it_may_take_is_an_error(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "large.png":
        Image.new("1", (9_900, 9_900)).save(path)
    else:
        write_video(path, codec="png", pix_fmt="monob", num_frames=2, width=9_900, height=9_900)
    with pytest.raises(VideoError) as caught:
        list(Video(path, isolate=Limits(memory_bytes=2**29)).frames([0]))
    if isinstance(caught.value, IsolationError):
        assert caught.value.reason == "memory"
        assert "needs more than 0.5 GiB" in caught.value.problem


@pytest.mark.parametrize("name", ["av.py", "numpy.py", "json.py", "bimba.py"])
def test_a_module_in_the_working_folder_is_not_taken_for_a_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = write_source(tmp_path, "mp4")
    (tmp_path / name).write_text(f"open({str(tmp_path / 'was imported')!r}, 'w')\nraise SystemExit(99)\n")
    monkeypatch.chdir(tmp_path)
    with Video(path.name, isolate=True) as video:
        assert len(list(video.frames([0, 1]))) == 2
    assert not (tmp_path / "was imported").exists()


@pytest.mark.parametrize("limits", [{"seconds": 0.0}, {"seconds": float("inf")}, {"memory_bytes": 2**20}])
def test_limits_that_nothing_can_keep_are_refused(limits: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"The limits are (.|\n)*half a GiB"):
        Limits(**limits)


def test_frames_are_taken_one_by_one(tmp_path: Path) -> None:
    alive: list[weakref.ref[Frame]] = []
    with Video(write_source(tmp_path, "mp4"), isolate=True) as video:
        for frame in video.frames(range(20)):
            alive.append(weakref.ref(frame))
            assert sum(reference() is not None for reference in alive) <= 2


def start_worker(path: Path, **options: Any) -> "subprocess.Popen[bytes]":
    """A worker without the side that watches over it, which has its first request."""
    command = [sys.executable, "-P", "-m", "bimba.video.isolation.worker"]
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    limits = {"seconds": 60, "memory_bytes": 2**32}
    assert worker.stdin is not None
    write_message(worker.stdin, {"path": str(path), "options": options, "backend": "pyav", "limits": limits})
    return worker


def test_a_worker_ends_by_itself_when_nobody_asks_any_more(tmp_path: Path) -> None:
    path = write_source(tmp_path, "mp4")
    with start_worker(path) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        known = read_message(worker.stdout)
        assert known is not None
        assert known[0]["info"]["num_frames"] == 20
        write_message(worker.stdin, {"frames": [3, 7]})
        answers = [read_message(worker.stdout) for _ in range(3)]
        assert [next(iter(answer[0])) for answer in answers if answer] == ["frame", "frame", "done"]
        worker.stdin.close()
        assert worker.wait(timeout=60) == 0


def test_a_worker_ends_after_an_error(tmp_path: Path) -> None:
    with start_worker(tmp_path / "nowhere.mp4") as worker:
        assert worker.stdout is not None
        told = read_message(worker.stdout)
        assert told is not None
        assert told[0]["error"]["type"] == "VideoError"
        assert worker.wait(timeout=60) == 3


def test_a_worker_without_a_request_ends(tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "bimba.video.isolation.worker"]
    assert subprocess.run(command, stdin=subprocess.DEVNULL, check=True, cwd=tmp_path).returncode == 0
