"""`python -m benchmarks.nano`: which commands are given, which are not given again, and what an interruption leaves."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.nano import __main__ as command
from benchmarks.nano import measuring, training
from benchmarks.nano.commands import INTERRUPTED, CommandError, Stopped, run_bimba
from benchmarks.nano.figures import NanoFigures
from benchmarks.nano.measuring import HAYSTACK, LENGTHS, measure
from benchmarks.nano.training import train_stages
from nano_runs import make_run, make_stage, measure_all

Words = list[tuple[str, ...]]


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Words:
    """Commands that would be run."""
    words: Words = []
    for module in (training, measuring):
        monkeypatch.setattr(module, "run_bimba", lambda *each: words.append(each))
    return words


def test_stages_are_trained_in_order_each_from_the_one_before(tmp_path: Path, given: Words) -> None:
    train_stages(tmp_path)
    assert given == [
        ("train", "nano/1-vision", f"output={tmp_path}/1-vision"),
        ("train", "nano/2-words", f"output={tmp_path}/2-words", f"model.path={tmp_path}/1-vision/model"),
        ("train", "nano/3-names", f"output={tmp_path}/3-names", f"model.path={tmp_path}/2-words/model"),
        ("train", "nano/4-answers", f"output={tmp_path}/4-answers", f"model.path={tmp_path}/3-names/model"),
    ]


def test_a_finished_stage_is_not_trained_again(tmp_path: Path, model: Path, given: Words) -> None:
    make_stage(tmp_path, "1-vision", model)
    make_stage(tmp_path, "2-words", None)
    train_stages(tmp_path)
    assert [words[1] for words in given] == ["nano/2-words", "nano/3-names", "nano/4-answers"]


def test_every_length_is_measured_once(tmp_path: Path, model: Path, given: Words) -> None:
    make_run(tmp_path, model)
    measure(tmp_path, None)
    assert [words[words.index("--frames") + 1] for words in given] == ["32", "64", "128", "256", "512"]
    for words in given:
        assert words[:3] == ("eval", "run", "needles")
        assert words[words.index("--needle-kinds") + 1] == "shape,digit,letter,caption,picture"
    given.clear()
    measure_all(tmp_path)
    measure(tmp_path, None)
    assert given == []


def test_own_videos_are_measured_if_they_are_named(tmp_path: Path, model: Path, given: Words) -> None:
    make_run(tmp_path, model)
    measure_all(tmp_path)
    measure(tmp_path, tmp_path / "mine")
    (words,) = given
    assert words[-2:] == ("--haystack", str(tmp_path / "mine"))
    assert Path(words[words.index("--out") + 1]).name == HAYSTACK.name


def test_other_settings_than_those_that_are_there_are_left_to_the_evaluation(
    tmp_path: Path, model: Path, given: Words
) -> None:
    """It refuses the folder and says what differs."""
    make_run(tmp_path, model)
    measure_all(tmp_path)
    fewer = tuple(measuring.Measurement(one.name, one.frames, 1) for one in LENGTHS[:1])
    measure(tmp_path, None, only=fewer)
    assert len(given) == 1


def test_an_interruption_leaves_everything_and_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*words: str) -> None:
        raise Stopped(*words)

    monkeypatch.setattr(training, "run_bimba", stop)
    assert command.main(["--runs", str(tmp_path)]) == INTERRUPTED
    assert "the same command goes on from here" in capsys.readouterr().err


def test_what_the_user_can_mend_is_told_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "read_figures", lambda: NanoFigures(stages=()))
    assert command.main(["--runs", str(tmp_path), "--ship"]) == 2
    assert "fix: name the runs of a training that is finished" in capsys.readouterr().err


def test_a_command_that_fails_or_stops_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(CommandError, match="bimba train nano/1-vision ended with exit code 1"):
        run_bimba("train", "nano/1-vision")


def test_an_interrupted_command_ends_in_its_own_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`Popen.wait` is interrupted as a terminal does it; the command still writes its last file."""
    script = tmp_path / "command"
    script.write_text(
        f"#!{sys.executable}\nimport pathlib, signal, sys, time\n"
        "def end(*_):\n    time.sleep(1)\n    pathlib.Path(sys.argv[3]).write_text('done')\n    sys.exit(130)\n"
        "signal.signal(signal.SIGINT, end)\npathlib.Path(sys.argv[3] + '.ready').touch()\ntime.sleep(60)\n",
        encoding="utf-8",
    )
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    wait = subprocess.Popen.wait
    interrupted: list[int] = []

    def interrupt(process: "subprocess.Popen[bytes]", timeout: float | None = None) -> int:
        if not interrupted:
            while not (tmp_path / "last.ready").exists():
                pass
            interrupted.append(process.pid)
            process.send_signal(signal.SIGINT)
            raise KeyboardInterrupt
        return wait(process, timeout)

    monkeypatch.setattr(subprocess.Popen, "wait", interrupt)
    with pytest.raises(Stopped):
        run_bimba(str(tmp_path / "last"))
    assert (tmp_path / "last").read_text(encoding="utf-8") == "done"
