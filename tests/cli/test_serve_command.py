"""`bimba serve` as its users start and end it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from bimba.cli.serve import WITHOUT_GRADIO, check_installed, check_reach, key_told, page_of, read_keys
from bimba.errors import InputError
from command_line import BIMBA, bimba, refused

LONG = 400


@contextmanager
def started(*words: object, env: dict[str, str] | None = None) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """The command, and the address that it tells."""
    process = subprocess.Popen(
        [BIMBA, "serve", "--port", "0", *map(str, words)],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "COLUMNS": "100", **(env or {})},
    )
    try:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if line.startswith("Ctrl-C"):
                break
        found = re.search(r"address  (\S+)/v1", "".join(lines))
        assert found, lines
        assert f"page     {found[1]}/\n" in lines or "page     none: --no-page\n" in lines
        yield process, found[1]
    finally:
        process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


def test_terminated_under_load_it_ends_what_runs_and_leaves_nothing(model: Path, tmp_path: Path) -> None:
    with started("--model", model, "--running", 4, env={"TMPDIR": str(tmp_path)}) as (process, address):
        said: dict[int, str] = {}
        has_begun = threading.Barrier(4)

        def ask(seed: int) -> None:
            body = {
                "model": model.name,
                "messages": [{"role": "user", "content": f"Why {seed}?"}],
                "max_tokens": LONG,
                "temperature": 1.0,
                "seed": seed,
                "stream": True,
            }
            with httpx.stream("POST", f"{address}/v1/chat/completions", json=body, timeout=90) as response:
                lines = response.iter_lines()
                next(lines)
                has_begun.wait(60)
                said[seed] = "\n".join(lines)

        threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(3)]
        for thread in threads:
            thread.start()
        has_begun.wait(60)
        process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join(90)
        assert process.wait(60) == 0
    for seed in range(3):
        assert said[seed].rstrip().endswith("data: [DONE]")
        assert '"error"' not in said[seed]
        assert re.search(r'"finish_reason":"(length|stop)"', said[seed])
    assert not list(tmp_path.glob("bimba-*"))


def test_it_says_where_it_is_and_how_it_answers(model: Path, tmp_path: Path, video: Path) -> None:
    keys = tmp_path / "keys.txt"
    keys.write_text("# of the tests\nfirst-key\n\nsecond-key\n")
    words = ("--model", model, "--name", "mine", "--store", tmp_path / "store", "--api-key-file", keys)
    with started(*words, "--media-root", video.parent) as (process, address):
        headers = {"Authorization": "Bearer second-key"}
        assert httpx.get(f"{address}/v1/models", headers=headers).json()["data"][0]["id"] == "mine"
        assert httpx.get(f"{address}/v1/models").status_code == 401
        other = subprocess.run(
            [BIMBA, "serve", "--model", str(model), "--port", "0", "--store", str(tmp_path / "store")],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert (other.returncode, "another server uses" in other.stderr) == (2, True), other.stderr
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    assert (tmp_path / "store" / "files").is_dir()


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--host", "0.0.0.0"], "no key is asked for"),
        (["--media-root", "not-there"], "is no folder"),
        (["--api-key", "has a space"], "holds a space"),
        (["--api-key-file", "not-there"], "cannot be read"),
        (["--frames", "many"], "many"),
        (["--max-new-tokens", "0"], "at least one token"),
        (["--host", "192.0.2.1", "--without-key"], "cannot be listened on"),
        (["--model", "not-there"], "not-there"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_cannot_be_is_said_at_once(words: list[str], problem: str, tmp_path: Path) -> None:
    refused(bimba("serve", "--port", "0", "-q", *words, cwd=tmp_path), problem)


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused(bimba("serve", "--port", port, "-q", cwd=tmp_path), f"127.0.0.1:{port} cannot be listened on")


def test_a_page_is_left_out_on_wish(model: Path) -> None:
    with started("--model", model, "--no-page") as (_, address):
        assert httpx.get(f"{address}/healthz").status_code == 200
        assert httpx.get(f"{address}/").status_code == 404


def test_without_gradio_there_is_no_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    page = page_of("bimba-nano", tmp_path)
    assert page is not None
    assert page.example is not None
    media, questions = page.example.made()
    assert media.path.is_relative_to(tmp_path)
    assert len(questions) == 4
    other = page_of("mine", tmp_path)
    assert other is not None
    assert other.example is None
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "gradio" else name)
    assert page_of("mine", tmp_path) is None
    assert "bimba[serve]" in WITHOUT_GRADIO


def test_an_example_of_an_earlier_version_is_made_again(tmp_path: Path) -> None:
    page = page_of("bimba-nano", tmp_path)
    assert page is not None
    assert page.example is not None
    media, questions = page.example.made()
    record = tmp_path / "example" / "needles.json"
    content = json.loads(record.read_text())
    content["library_versions"]["pillow"] = "1.0"
    record.write_text(json.dumps(content))
    later = page_of("bimba-nano", tmp_path)  # a server that starts on the same store
    assert later is not None
    assert later.example is not None
    assert later.example.made() == (media, questions)
    assert json.loads(record.read_text())["library_versions"]["pillow"] != "1.0"


def test_missing_packages_are_named_with_their_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    check_installed()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "uvicorn" else name)
    with pytest.raises(InputError, match="needs uvicorn, which is not installed") as caught:
        check_installed()
    assert "bimba[serve]" in caught.value.fix


def test_keys_are_read_from_both_places(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("one\n  two  \n# three\n")
    assert read_keys(["zero", "one"], file) == ("zero", "one", "two")
    assert read_keys([], None) == ()
    file.write_text("# none\n")
    with pytest.raises(InputError, match="holds no key"):
        read_keys([], file)
    for key in ("", "ä", "a\nb"):
        with pytest.raises(InputError, match="a key is empty"):
            read_keys([key], None)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.1.2.3"])
def test_this_machine_needs_no_key(host: str) -> None:
    check_reach(host, (), without_key=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.com", ""])
def test_the_world_does(host: str) -> None:
    with pytest.raises(InputError, match="no key"):
        check_reach(host, (), without_key=False)
    check_reach(host, ("key",), without_key=False)
    check_reach(host, (), without_key=True)


@pytest.mark.parametrize(
    ("keys", "host", "told"),
    [(("one",), "0.0.0.0", "needed"), ((), "localhost", "only this machine"), ((), "0.0.0.0", "whoever reaches it")],
)
def test_who_may_ask_is_told_as_it_is(keys: tuple[str, ...], host: str, told: str) -> None:
    assert told in key_told(keys, host)


def test_help_imports_neither_torch_nor_a_web_framework() -> None:
    code = "import sys\nfrom bimba.cli import app\ntry:\n app(['serve', '--help'])\nexcept SystemExit:\n pass\n"
    code += "print([name for name in ('torch', 'transformers', 'fastapi', 'uvicorn') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.rstrip().endswith("[]")
