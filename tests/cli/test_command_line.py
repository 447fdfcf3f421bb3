"""Every command of the line: help without torch, whose examples work, completion, the version."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import typer

from bimba.cli import app
from command_line import BIMBA, bimba
from needle_model import make_needle_model

COMMANDS = {
    "ask",
    "bench",
    "chat",
    "convert",
    "data",
    "demo",
    "doctor",
    "encode",
    "eval",
    "needles",
    "plan",
    "serve",
    "train",
    "watch",
}


def names(application: typer.Typer, *before: str) -> list[tuple[str, ...]]:
    """Every command, those of groups too."""
    found = [
        (*before, command.name or command.callback.__name__)
        for command in application.registered_commands
        if command.callback
    ]
    for group in application.registered_groups:
        if group.typer_instance is not None and group.name is not None:
            found += names(group.typer_instance, *before, group.name)
    return found


ENTRY = {
    "video": "talk.mp4",
    "conversations": [
        {"from": "human", "value": "<image>\nWhat is on the slide?"},
        {"from": "gpt", "value": "A circle."},
    ],
}


def recipe_for(model: Path) -> dict[str, object]:
    """A recipe that needs nothing but what lies in the folder, and no GPU."""
    return {
        "output": "run",
        "model": {"path": str(model)},
        "data": {"sources": [{"json_path": "train.json"}], "workers": 0},
        "frames": {"count": 4},
        "compute": {"precision": "float32", "device": "cpu"},
    }


def write_egoschema(folder: Path, count: int = 501) -> None:
    """Annotations as published, 500 questions with an answer."""
    folder.mkdir()
    options = {f"option {number}": f"C does thing {number}." for number in range(5)}
    questions = [{"q_uid": f"video-{number}", "question": "What does c do?"} | options for number in range(count)]
    (folder / "questions.json").write_text(json.dumps(questions))
    (folder / "subset_answers.json").write_text(json.dumps({f"video-{number}": number % 5 for number in range(500)}))


def prepare_tempcompass(folder: Path) -> None:
    """Four questions about talk.mp4, prepared where `bimba eval run` looks."""
    records = [
        {"id": n, "video": "talk.mp4", "question": "Which?", "candidates": ["A. x", "B. y"], "answer": "A"}
        for n in range(4)
    ]
    (folder / "short.json").write_text(json.dumps(records))
    (folder / "videos").mkdir()
    shutil.copy(folder / "talk.mp4", folder / "videos")
    where = {"BIMBA_BENCHMARKS": str(folder / "benchmarks")}
    bimba("eval", "prepare", "tempcompass", "--from", folder / "short.json", "--any-count", env=where)
    (folder / "answers.jsonl").write_text('{"id": 0, "prediction": "(A)"}\n{"id": 1, "prediction": "none of them"}\n')


def store_run(folder: Path, benchmark: str, out: str) -> None:
    """A finished run that answered "A" to everything."""
    place = folder / "benchmarks" / benchmark
    prepared = json.loads((place / "prepared.json").read_text())
    names = [json.loads(line)["id"] for line in (place / "questions.jsonl").read_text().splitlines()]
    run = {
        "benchmark": benchmark,
        "questions_sha256": prepared["questions_sha256"],
        "settings": {"extract": "option", "model": "model"},
    }
    (folder / out).mkdir()
    (folder / out / "run.json").write_text(json.dumps(run))
    lines = (json.dumps({"id": name, "prediction": "A"}) for name in names)
    (folder / out / "answers.jsonl").write_text("".join(f"{line}\n" for line in lines))


def test_every_command_is_known_to_these_tests() -> None:
    assert {command[0] for command in names(app)} == COMMANDS


def example_of(*command: str) -> str:
    """What the help of a command gives as an example, as users see it."""
    shown = bimba(*command, "--help", env={"COLUMNS": "80"})
    assert shown.returncode == 0
    found = re.search(r"Example: bimba (.*)", " ".join(shown.stdout.split()))
    assert found, shown.stdout
    return found[1]


def test_the_example_of_the_servers_help_works(model: Path, tmp_path: Path) -> None:
    """It answers until it is ended, on a port that is free here."""
    (tmp_path / "videos").mkdir()
    words = shlex.split(example_of("serve").replace("8000", "0"))
    command = [str(BIMBA), *words, "--model", str(model)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as server:
        assert server.stderr is not None
        told: list[str] = []
        while not told or not told[-1].startswith(("Ctrl-C", "error")):
            told.append(server.stderr.readline())
        address = re.search(r"^address  (http://127\.0\.0\.1:\d+)/v1$", "".join(told), re.MULTILINE)
        assert address, told
        assert httpx.get(f"{address[1]}/healthz", timeout=120).json() == {"status": "ok"}
        server.send_signal(signal.SIGINT)
        server.stderr.read()
        assert server.wait(120) == 0, told


@pytest.mark.parametrize("command", [command for command in names(app) if command != ("serve",)], ids=" ".join)
def test_the_example_of_each_help_works(
    command: tuple[str, ...], model: Path, video: Path, golden: Path, tmp_path: Path
) -> None:
    """It is read from the help as users see it, and run on a short video with the tiny model."""
    example = example_of(*command)
    assert example.startswith(" ".join(command).removesuffix(" benchmark").removesuffix(" several"))
    shutil.copy(video, tmp_path / "talk.mp4")
    shutil.copy(video, tmp_path / "recording.ts")
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe_for(model)))  # JSON is YAML
    (tmp_path / "train.json").write_text(json.dumps([ENTRY] * 13))
    if command == ("eval", "show"):
        bimba(
            "eval", "run", "needles", "--model", model, "--out", "results", "--frames", 32, "--videos", 1, cwd=tmp_path
        )
    if command == ("eval", "prepare"):
        write_egoschema(tmp_path / "EgoSchema")
    if command in {
        ("eval", "run", "benchmark"),
        ("eval", "score"),
        ("eval", "compare"),
        ("eval", "run", "several"),
        ("eval", "lmms"),
    }:
        prepare_tempcompass(tmp_path)
    if command == ("eval", "run", "several"):
        recipe = {"model": str(model), "frames": 8, "benchmarks": {"tempcompass": {}}}
        (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
        (tmp_path / "videos" / "talk.mp4").rename(tmp_path / "talk.mp4")
        (tmp_path / "videos" / "tempcompass").mkdir()
        shutil.copy(tmp_path / "talk.mp4", tmp_path / "videos" / "tempcompass")
    if command == ("eval", "compare"):
        for out in ("results", "others"):
            store_run(tmp_path, "tempcompass", out)
    if command == ("eval", "submit"):
        write_egoschema(tmp_path / "EgoSchema", 5031)
        where = {"BIMBA_BENCHMARKS": str(tmp_path / "benchmarks")}
        bimba("eval", "prepare", "egoschema", "--from", tmp_path / "EgoSchema", env=where)
        store_run(tmp_path, "egoschema", "results")
    if command in (("needles", "show"), ("needles", "stats")):
        short = ("--seconds", 20, "--size", "64x48", "--fps", 2)
        bimba("needles", "make", "--out", "needles", "--videos", 3, *short, cwd=tmp_path)
    stand_ins = {
        "mmiemon/BIMBA-LLaVA-Qwen2-7B": str(model),
        "ADAPTER_DIR": str(golden / "tiny_lora"),
        "BASE_DIR": str(golden / "tiny_base"),
        "OUT_DIR": "converted",
        "MODEL_DIR": "words",
    }
    if "MODEL_DIR" in example:
        make_needle_model(tmp_path / "words")
    words = [stand_ins.get(word, word) for word in shlex.split(example)]
    done = subprocess.run(
        [BIMBA, *words],
        input="What happens?\n",
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        timeout=300,
        env={**os.environ, "BIMBA_BENCHMARKS": str(tmp_path / "benchmarks")},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_can_complete_commands_and_options(shell: str) -> None:
    variables = {"_BIMBA_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_ARGS": "bimba pl", "COMP_WORDS": "bimba pl"}
    variables |= {"COMP_CWORD": "1", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    done = bimba(env=variables)
    assert "plan" in done.stdout
    assert "ask" not in done.stdout
    done = bimba(
        env=variables
        | {"_TYPER_COMPLETE_ARGS": "bimba ask --allow-", "COMP_WORDS": "bimba ask --allow-", "COMP_CWORD": "2"}
    )
    assert "--allow-truncated" in done.stdout


def test_help_imports_no_torch() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from bimba.cli import app;"
        "out = CliRunner().invoke(app, ['--help']);"
        "print(out.exit_code, [name for name in ('torch', 'transformers', 'numpy', 'av') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0 []"


def test_version_is_printed() -> None:
    from bimba import __version__

    assert bimba("--version").stdout == f"bimba {__version__}\n"
