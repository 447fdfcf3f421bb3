"""`bimba watch`: questions typed, sent by a script or asked by itself, about a video that somebody is writing."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pexpect
import pytest
from typer.testing import CliRunner

from bimba.cli import app
from bimba.errors import BimbaError

BIMBA = Path(sys.executable).with_name("bimba")


class Recorder:
    """Writes a film of ten frames a second, a piece at a time."""

    def __init__(self, path: Path) -> None:
        self._container = av.open(path, "w", format="mpegts", options={"flush_packets": "1"})
        stream = self._container.add_stream("libx264", rate=10, options={"g": "5", "bf": "0", "tune": "zerolatency"})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        self._stream, self._next = stream, 0

    def record(self, seconds: int) -> None:
        for number in range(self._next, self._next + 10 * seconds):
            picture = np.full((48, 64, 3), number * 5 % 256, dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = number
            self._container.mux(self._stream.encode(frame))
        self._next += 10 * seconds

    def end(self) -> None:
        self._container.mux(self._stream.encode(None))
        self._container.close()


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Twelve seconds to which nothing is added."""
    path = tmp_path / "film.ts"
    Recorder(path).record(12)
    return path


def words(source: Path, model: Path, *more: str) -> list[str]:
    options = ["--model", str(model), "--max-new-tokens", "4", "--patience", "0.3"]
    return [str(BIMBA), "watch", str(source), *options, *more]


def run(*arguments: str, lines: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, input=lines, capture_output=True, text=True, check=False, timeout=120)


def test_a_question_is_asked_at_the_end(recording: Path, model: Path) -> None:
    done = run(*words(recording, model, "--question", "What?", "--json"))
    assert (done.returncode, done.stderr) == (0, "")
    answer, end = map(json.loads, done.stdout.splitlines())
    assert (answer["question"], answer["seconds"]) == ("What?", 11.0)
    assert answer["frame_seconds"] == [float(second) for second in range(12)]
    assert end == {
        "ended": {
            "reason": "nothing was added for 0.3 s",
            "seconds": 11.0,
            "num_frames": 12,
            "num_damaged": 0,
            "num_restarts": 0,
        }
    }


def test_text_tells_up_to_when_it_was_seen(recording: Path, model: Path) -> None:
    done = run(*words(recording, model, "--question", "What?", "--fps", "2", "--max-video-tokens", "60"))
    assert done.returncode == 0
    assert done.stdout.startswith("[0:11.5] ")
    assert done.stdout.count("\n") == 1
    assert "at most 60 tokens of it are read" in done.stderr
    assert "old ones are thinned out" in done.stderr
    assert "film.ts: nothing was added for 0.3 s; saw 24 frames up to 0:11.5" in done.stderr
    quiet = run(*words(recording, model, "--question", "What?", "--fps", "2", "--max-video-tokens", "60", "--quiet"))
    assert (quiet.stdout, quiet.stderr) == (done.stdout, "")


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[Path]:
    """A named pipe: a film in it ends when its writer does, however slow the machine is."""
    path = tmp_path / "film.ts"
    os.mkfifo(path)
    # Who writes does not wait for a reader that may have died; a test of it fails then, and does not hang.
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    yield path
    os.close(reader)


def test_it_asks_by_itself_while_the_film_is_written(model: Path, pipe: Path) -> None:
    """The second part is written when the first answer is there; so the answers see more and more."""
    command = words(pipe, model, "--question", "What?", "--every", "4", "--json")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        recorder = Recorder(pipe)
        recorder.record(6)
        first = json.loads(watching.stdout.readline())
        recorder.record(6)
        second = json.loads(watching.stdout.readline())
        recorder.end()
        later = [json.loads(line) for line in watching.stdout]
    assert 4.0 <= first["seconds"] <= 5.0
    assert 8.0 <= second["seconds"] <= 11.0
    assert [line["seconds"] for line in later if "text" in line] in ([], [11.0])
    assert later[-1]["ended"]["num_frames"] == 12
    assert watching.returncode == 0


def test_a_script_sends_questions_while_the_film_is_written(model: Path, pipe: Path) -> None:
    """Each is about everything so far, and what waits is answered before the end."""
    command = words(pipe, model, "--json")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdin is not None
        assert watching.stdout is not None
        recorder = Recorder(pipe)
        recorder.record(6)
        watching.stdin.write("First?\n\n/nonsense\n/now\n")
        watching.stdin.flush()
        first, error, now = (json.loads(watching.stdout.readline()) for _ in range(3))
        assert not now["has_ended"]
        recorder.record(6)
        recorder.end()
        watching.stdin.write("Second?\n")
        watching.stdin.flush()
        # The input stays open: the end of the film ends it.
        second, end = map(json.loads, watching.stdout)
    assert (first["question"], second["question"]) == ("First?", "Second?")
    assert error["error"]["problem"] == "/nonsense is no command."
    assert first["seconds"] <= 5.0
    assert first["seconds"] <= second["seconds"] <= 11.0
    assert end["ended"] == {
        "reason": "it ended",
        "seconds": 11.0,
        "num_frames": 12,
        "num_damaged": 0,
        "num_restarts": 0,
    }
    assert watching.returncode == 0


def test_an_input_that_ends_leaves(recording: Path, model: Path) -> None:
    done = run(*words(recording, model, "--patience", "60"), lines="What?\n")
    assert done.returncode == 0
    assert done.stdout.startswith("[0:")
    assert "left; saw" in done.stderr
    without = " ".join(words(recording, model, "--patience", "60")) + " <&-"
    closed = subprocess.run(["bash", "-c", without], capture_output=True, text=True, check=False, timeout=120)
    assert (closed.returncode, closed.stdout) == (0, "")
    assert "Traceback" not in closed.stderr


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (["--every", "5"], "without a --question"),
        (["--question", " "], "question is empty"),
        (["--question", "What?", "--every", "0"], "--every is 0"),
        (["--question", "What?", "--every", "inf"], "--every is inf"),
        (["--fps", "0"], "frames a second"),
        (["--patience", "-1"], "patience"),
        (["--max-new-tokens", "0"], "--max-new-tokens is 0"),
        (["--format", "mpegts"], "no kind of camera"),
    ],
    ids=str,
)
def test_mistakes_are_told_before_a_model_is_read(tmp_path: Path, more: list[str], problem: str) -> None:
    film = tmp_path / "film.ts"
    film.touch()
    result = CliRunner().invoke(app, ["watch", str(film), "--model", str(tmp_path / "no-model"), *more])
    assert isinstance(result.exception, BimbaError)
    assert problem in result.exception.problem
    assert result.output == ""


def test_a_source_that_fails_is_told(model: Path, tmp_path: Path) -> None:
    text = tmp_path / "notes.ts"
    text.write_text("no video at all\n" * 100)
    for more in (["--question", "What?"], []):
        done = run(*words(text, model, *more), lines="What?\n")
        assert done.returncode == 2
        assert "cannot be opened as a video" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_video_that_is_too_short_is_told(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "film.ts"
    Recorder(path).record(6)
    done = run(*words(path, model, "--question", "What?", "--temporal-pooling", "8"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "ended before there were frames enough" in done.stderr


@pytest.fixture
def terminal(recording: Path, model: Path) -> Iterator["pexpect.spawn[str]"]:
    """A film that has ended soon, watched at a terminal."""
    command, *arguments = words(recording, model)
    watching = pexpect.spawn(
        command, arguments, encoding="utf-8", timeout=90, dimensions=(24, 100), env=os.environ | {"TERM": "xterm"}
    )
    yield watching
    watching.close(force=True)


def test_somebody_at_a_terminal_may_go_on_asking(terminal: "pexpect.spawn[str]") -> None:
    terminal.expect("Type a question, or /help.")
    terminal.expect("the video has ended: nothing was added for 0.3 s; ask on, or /quit")
    terminal.expect("> ")
    terminal.sendline("What happens?")
    terminal.expect(r"\[0:11.0\] \S")
    terminal.expect("> ")
    assert "has ended" not in terminal.before  # said once
    terminal.sendline("/help")
    terminal.expect("Ctrl-C leaves at once")
    terminal.sendline("/now")
    terminal.expect("0:11.0, 12 frames")
    terminal.sendline("/quit")
    terminal.expect("saw 12 frames up to 0:11.0")
    terminal.expect(pexpect.EOF)
    terminal.wait()
    assert terminal.exitstatus == 0


def test_a_question_half_typed_stays_when_the_video_ends(recording: Path, model: Path) -> None:
    command, *arguments = words(recording, model, "--patience", "4")
    watching = pexpect.spawn(
        command, arguments, encoding="utf-8", timeout=90, dimensions=(24, 100), env=os.environ | {"TERM": "xterm"}
    )
    watching.expect("> ")
    watching.send("What hap")
    watching.expect("the video has ended")
    watching.expect("> What hap")
    watching.sendline("pens?")
    watching.expect(r"\[0:11.0\] \S")
    watching.sendline("/quit")
    watching.expect(pexpect.EOF)
    watching.wait()
    assert watching.exitstatus == 0


def test_ctrl_c_leaves_cleanly(terminal: "pexpect.spawn[str]") -> None:
    terminal.expect("> ")
    terminal.send("half a ques")
    terminal.expect("half a ques")
    terminal.sendintr()
    terminal.expect("stopped")
    terminal.expect(pexpect.EOF)
    terminal.wait()
    assert terminal.exitstatus == 0
