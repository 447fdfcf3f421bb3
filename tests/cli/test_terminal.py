"""`bimba ask` at a terminal: progress where somebody looks, and a clean end when somebody has seen enough."""

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

BIMBA = Path(sys.executable).with_name("bimba")


def test_progress_bars_are_shown_on_a_terminal(model: Path, video: Path) -> None:
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [BIMBA, "ask", video, "What?", "--model", model, "--frames", "4", "--max-new-tokens", "3"],
        stdout=subprocess.PIPE,
        stderr=terminal,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"},
    )
    os.close(terminal)
    shown = b""
    while True:
        try:
            piece = os.read(controller, 4096)
        except OSError:  # the terminal is gone when the command has ended
            break
        if not piece:
            break
        shown += piece
    os.close(controller)
    answer, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert answer.strip()
    assert b"reading frames" in shown
    assert b"looking at frames" in shown


def test_ctrl_c_does_not_wait_for_a_long_prompt(model: Path, video: Path) -> None:
    """The first token of a long prompt may take minutes on a CPU; here its making is held up on purpose."""
    code = (
        "import sys, time, bimba.cli\n"
        "from bimba.models.bimba.modeling import BimbaForConditionalGeneration as Model\n"
        "def slow(*args, **kwargs):\n"
        "    print('first token', file=sys.stderr, flush=True)\n"
        "    time.sleep(60)\n"
        "Model.generate = slow\n"
        "bimba.cli.main()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "ask", str(video), "What?", "--model", str(model), "--frames", "2"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    assert process.stderr.readline() == "first token\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in errors


def test_ctrl_c_ends_cleanly(model: Path, video: Path) -> None:
    """In the middle of an answer, which is made long on purpose: no end token, and a pause before each token."""
    code = (
        "import time, torch, bimba.cli\n"
        "from bimba.models.bimba.decoding import OnlyTokenizerIds as Rule\n"
        "plain = Rule.__call__\n"
        "def slow(self, ids, scores):\n"
        "    time.sleep(0.02)\n"
        "    scores = plain(self, ids, scores)\n"
        "    scores[:, 256:] = -torch.inf\n"
        "    return scores\n"
        "Rule.__call__ = slow\n"
        "bimba.cli.main()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "ask", str(video), "What?", "--model", str(model), "--frames", "2",
         "--max-new-tokens", "30000", "--temperature", "3"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.read(1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
