"""What a training run reports, as lines of a log file and as a bar on a terminal."""

import io
import logging
import sys
import time

import pytest
from rich.console import Console

from bimba.cli.training_progress import LogLines, Screen, _forget_the_bar, packed, watching
from bimba.training.loop.watching import Report, Silent

VALUES = {
    "loss": 2.0,
    "learning_rate": 1e-5,
    "tokens_per_second": 3214.4,
    "samples_per_second": 1.234,
    "waiting_share": 0.031,
    "samples_seen": 1200,
    "samples_failed": 2,
    "memory_gb": 16.2,
}


class Terminal(io.StringIO):
    """Text that takes itself for a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that pass when a test says so."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def report(step: int, num_steps: int, **values: float) -> Report:
    return Report(step, num_steps, VALUES | values)


def test_a_line_has_every_figure(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    lines = LogLines()
    lines.report(report(1, 3, loss=3.0))
    clock[0] += 100
    lines.report(report(2, 3, loss=2.0))
    shown = capsys.readouterr().err.splitlines()[-1]
    assert shown.partition(" step ")[2] == (
        "2 of 3 (67%): loss 2.474 (last 2), learning rate 1e-05, 3,214 tokens/s, 1.23 samples/s, "
        "3% waiting for data, 1,200 samples seen, 2 failed, memory 16.2 GB at most, 1 min 40 s left"
    )


@pytest.mark.parametrize(
    ("num_steps", "seconds", "num_lines"), [(300, 0.1, 2), (3000, 1.0, 100), (100_000, 20.0, 1001), (50, 3600.0, 50)]
)
def test_log_files_stay_readable(
    num_steps: int, seconds: float, num_lines: int, clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    lines = LogLines()
    for step in range(1, num_steps + 1):
        clock[0] += seconds
        lines.report(report(step, num_steps))
    shown = capsys.readouterr().err.splitlines()
    assert num_lines * 0.9 <= len(shown) <= max(num_lines * 1.1, num_steps / 100 * 1.1, seconds * num_steps / 600 * 2)
    assert f"{num_steps:,} of {num_steps:,} (100%)" in shown[-1]
    assert " left" not in shown[-1]


def test_only_stages_that_take_long_have_lines(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    lines = LogLines()
    lines.stage("needles", 40, 1600)
    clock[0] += 1
    lines.stage("needles", 1600, 1600)
    assert capsys.readouterr().err == ""
    for done in range(100):
        lines.stage("lengths", done, 100)
        clock[0] += 10
    lines.stage("write", 0, 10**9)
    clock[0] += 10
    lines.stage("write", 10**8, 10**9)
    shown = capsys.readouterr().err
    assert shown.count("measuring samples: ") == 2
    assert "measuring samples: 1 of 100\n" in shown
    assert "writing the model: 100 MB of 1.0 GB\n" in shown


def test_a_terminal_shows_one_bar_and_figures_below_it(monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    screen = Screen()

    def shown() -> list[str]:
        console = Console(width=80, file=io.StringIO(), force_terminal=False)
        with console.capture() as capture:
            console.print(screen._drawn())
        return capture.get().splitlines()

    assert shown()[0].startswith("preparing")
    screen.stage("needles", 100, 1600)
    assert "making needle videos" in shown()[0]
    assert "100 of 1,600" in shown()[0]
    screen.stage("some new stage", 1, 2)
    assert "some new stage" in shown()[0]
    screen.stage("some new stage", 2, 2)
    assert shown()[0].startswith("preparing")
    screen.report(report(10, 100))
    clock[0] += 10
    screen.report(report(20, 100))
    lines = shown()
    assert "20 of 100 steps" in lines[0]
    assert "1 min 20 s left" in lines[0]
    assert lines[1].rstrip() == "loss 2 (last 2) · learning rate 1e-05 · 3,214 tokens/s · 1.23 samples/s"
    assert all(len(line) <= 80 for line in lines)
    assert len(lines) == 3
    screen.stage("write", 5 * 10**8, 10**9)
    assert "500 MB of 1.0 GB" in shown()[0]
    assert len(shown()) == 1


def test_figures_are_packed_without_being_broken() -> None:
    assert packed(["aaa", "bbb", "ccc"], 9) == ["aaa · bbb", "ccc"]
    assert packed(["longer than the line", "b"], 9) == ["longer than the line", "b"]
    assert packed([], 80) == []


def test_warnings_stand_above_the_bar_and_children_write_plainly(
    monkeypatch: pytest.MonkeyPatch, clock: list[float]
) -> None:
    """A forked process must not draw; the lock of what draws may be held by a thread that it lacks."""
    del clock
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    handler = logging.StreamHandler(terminal)
    logging.getLogger().addHandler(handler)
    try:
        with watching(quiet=False) as watcher:
            assert isinstance(watcher, Screen)
            assert handler.stream is sys.stderr is not terminal
            watcher.say("said [so]")
            logging.getLogger("bimba.test").warning("a warning")
            drawing = sys.stderr
            _forget_the_bar()
            assert sys.stderr is terminal is handler.stream
            sys.stderr = drawing
        assert handler.stream is terminal
    finally:
        logging.getLogger().removeHandler(handler)
    assert "said [so]\n" in terminal.getvalue()
    assert "a warning\n" in terminal.getvalue()


def test_nobody_is_told_anything_if_asked(capsys: pytest.CaptureFixture[str]) -> None:
    with watching(quiet=True) as watcher:
        assert isinstance(watcher, Silent)
        watcher.say("nothing")
    with watching(quiet=False) as watcher:
        assert isinstance(watcher, LogLines)
    assert capsys.readouterr().err == ""
