"""`bimba chat`: typed at a terminal, sent by a script; the video is encoded once, and nothing is lost by a mistake."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest
from PIL import Image

BIMBA = Path(sys.executable).with_name("bimba")


def words(video: Path, model: Path, *more: str) -> list[str]:
    return ["chat", str(video), "--model", str(model), "--frames", "4", "--max-new-tokens", "6", *more]


def sent(lines: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a chat whose questions come from a script."""
    return subprocess.run(
        [BIMBA, *arguments], input=lines, capture_output=True, text=True, check=False, cwd=cwd, timeout=120
    )


@pytest.fixture
def terminal(video: Path, model: Path, tmp_path: Path) -> Iterator["pexpect.spawn[str]"]:
    """A chat at a terminal of 80 columns."""
    chat = pexpect.spawn(
        str(BIMBA), words(video, model), cwd=str(tmp_path), encoding="utf-8", timeout=90, dimensions=(24, 80),
        env=os.environ | {"TERM": "xterm"},
    )  # fmt: skip
    yield chat
    chat.close(force=True)


def test_a_conversation_at_a_terminal(terminal: "pexpect.spawn[str]", video: Path, tmp_path: Path) -> None:
    terminal.expect(r"video_00000.mp4: 4 frames of 4.0 s as 48 tokens, in [\d.]+ s.\r\nAsk a question, or type /help")
    terminal.expect("> ")
    terminal.sendline("What happens?")
    terminal.expect(r"What happens\?\r\n(\S.{3,})\r\n> ")
    first = terminal.match.group(1)
    terminal.sendline("/frames")
    terminal.expect("0:00.0  0:01.3  0:02.6  0:03.9")
    terminal.sendline("/frames sheet.png")
    terminal.expect("wrote sheet.png")
    terminal.sendline("/rest")
    terminal.expect("did you mean /reset")
    terminal.sendline("/help")
    terminal.expect("Ctrl-C stops an answer")
    terminal.sendline("/save talk.md")
    terminal.expect("wrote talk.md")
    terminal.sendline("/save talk.md")
    terminal.expect("exists already")
    terminal.sendline("/reset")
    terminal.expect("forgotten")
    terminal.sendline("What happens?")
    terminal.expect(r"What happens\?\r\n(\S.{3,})\r\n> ")
    assert terminal.match.group(1) == first, "the same question, after a reset, has the same answer"
    terminal.sendline("/quit")
    terminal.expect(pexpect.EOF)
    terminal.wait()
    assert terminal.exitstatus == 0
    assert (tmp_path / "talk.md").read_text() == (
        f"# {video.name}\n\n**You:** What happens?\n\n**Model:** {first.strip()}\n"
    )
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 800
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sheet.png", "talk.md"]


def test_ctrl_c_gives_up_a_line_and_ctrl_d_leaves(terminal: "pexpect.spawn[str]") -> None:
    terminal.expect("> ")
    terminal.send("half a ques")
    terminal.expect("half a ques")  # shown: the line is being read, and Ctrl-C is for it
    terminal.sendintr()
    terminal.expect("/quit or Ctrl-D leaves")
    terminal.expect("> ")
    terminal.sendeof()
    terminal.expect(pexpect.EOF)
    terminal.wait()
    assert terminal.exitstatus == 0


def test_ctrl_c_stops_an_answer_and_the_chat_goes_on(video: Path, model: Path, tmp_path: Path) -> None:
    """Answers are made long on purpose: no end token, and a pause before each token."""
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
    arguments = ["-c", code, "chat", str(video), "--model", str(model), "--frames", "2", "--max-new-tokens", "20000"]
    chat = pexpect.spawn(sys.executable, arguments, cwd=str(tmp_path), encoding="utf-8", timeout=90)
    chat.expect("> ")
    chat.sendline("Tell me all.")
    chat.expect("Tell me all.\r\n.{3}")
    chat.sendintr()
    chat.expect("stopped; this question and its answer are forgotten")
    chat.expect("> ")
    chat.sendline("/save it.json")
    chat.expect("wrote it.json")
    chat.sendline("/quit")
    chat.expect(pexpect.EOF)
    chat.wait()
    assert chat.exitstatus == 0
    assert json.loads((tmp_path / "it.json").read_text())["turns"] == []


def test_a_script_sends_questions_and_reads_json(video: Path, model: Path, tmp_path: Path) -> None:
    done = sent(
        "What?\n\n/frames\n/nonsense\nAnd then?\n/save out.json\n", *words(video, model, "--json"), cwd=tmp_path
    )
    assert done.returncode == 0
    assert done.stderr == ""
    first, frames, error, second = map(json.loads, done.stdout.splitlines())
    assert first["question"] == "What?"
    assert frames == {"frame_seconds": first["frame_seconds"]}
    assert error["error"]["problem"] == "/nonsense is no command."
    assert second["num_prompt_tokens"] > first["num_prompt_tokens"], "earlier turns are part of the prompt"
    assert "decode" in json.loads(sent("", *words(video, model, "--json"), cwd=tmp_path).stdout or '{"decode": 0}')
    saved = json.loads((tmp_path / "out.json").read_text())
    assert [turn["content"] for turn in saved["turns"]] == ["What?", first["text"], "And then?", second["text"]]
    assert saved["video"] == str(video)


def test_answers_alone_go_to_stdout(video: Path, model: Path, tmp_path: Path) -> None:
    plain = sent("What?\n/reset\n/quit\nnever asked\n", *words(video, model), cwd=tmp_path)
    quiet = sent("What?\n", *words(video, model, "--quiet"), cwd=tmp_path)
    assert plain.stdout == quiet.stdout
    assert plain.stdout.count("\n") == 1
    assert "type /help" in plain.stderr
    assert quiet.stderr == ""


def test_bad_commands_are_told_and_lose_nothing(video: Path, model: Path, tmp_path: Path) -> None:
    long_name = "x" * 300
    lines = "What?\n/save\n/save nowhere/x.md\n/frames picture.xyz\n/frames sheet\n/frames .\n"
    lines += f"/save ~nosuchuser/x.md\n/save {long_name}\n/save ok.json\n"
    done = sent(lines, *words(video, model), cwd=tmp_path)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    for problem in (
        "/save needs the name", "nowhere/x.md cannot be written", "picture.xyz cannot be written",
        "sheet does not name a kind of picture", ". exists already", "~nosuchuser/x.md cannot be written",
        f"{long_name} cannot be written",
    ):  # fmt: skip
        assert f"error: {problem}" in done.stderr
    assert len(json.loads((tmp_path / "ok.json").read_text())["turns"]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["ok.json"], "no half-written file is left"


def test_a_part_is_told_as_a_part(video: Path, model: Path, tmp_path: Path) -> None:
    done = sent("", *words(video, model, "--start", "1", "--end", "0:03"), cwd=tmp_path)
    assert "4 frames from 0:01.0 to 0:02.9" in done.stderr


def test_a_chat_without_an_input_ends(video: Path, model: Path, tmp_path: Path) -> None:
    command = " ".join(map(str, (BIMBA, *words(video, model)))) + " <&-"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    assert "Traceback" not in done.stderr


def test_a_video_cannot_come_where_questions_come_from(model: Path, tmp_path: Path) -> None:
    done = sent("What?\n", "chat", "-", "--model", str(model), cwd=tmp_path)
    assert done.returncode == 2
    assert "no video can come through it" in done.stderr
