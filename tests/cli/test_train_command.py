"""`bimba train`: what is shown before, while and after a model is trained, on a terminal and in a log file."""

import importlib
import importlib.util
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from bimba.cli import app, training_plan
from bimba.errors import InputError
from bimba.models.bimba.tiny import tiny_config
from bimba.needles import make_needles
from bimba.shipped_recipes import shipped_recipes
from bimba.training.recipe.reading import read_recipe
from bimba.training.run import Outcome

COMMAND = importlib.import_module("bimba.cli.train")  # its name in the package is the function's
BIN = Path(sys.executable).parent
NEEDLES: dict[str, Any] = {"videos": 2, "seconds": 2, "size": "96x64", "fps": 10, "needles": 2, "needle_seconds": 0.5}


@pytest.fixture(scope="module")
def needles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("needles") / "videos"
    make_needles(folder, **NEEDLES)
    return folder


@pytest.fixture
def recipe(needles: Path, tmp_path: Path) -> Path:
    """A recipe of a run that takes a second; its output is `run` beside it."""
    path = tmp_path / "recipe.yaml"
    settings: dict[str, Any] = {
        "output": str(tmp_path / "run"),
        "model": {"start": "scratch", "config": sizes()},
        "train": {part: {"mode": "full"} for part in ("vision_tower", "separators", "language_model")},
        "data": {"sources": [{"needles": {"folder": str(needles), "options": NEEDLES}}], "workers": 0},
        "frames": {"count": 4, "time_sentence": False},
        "schedule": {"max_steps": 4, "batch_size": 2, "learning_rate": 1e-3},
        "compute": {"precision": "float32", "gradient_checkpointing": False, "device": "cpu"},
        "save": {"every": 2},
    }
    path.write_text(json.dumps(settings))  # JSON is YAML
    return path


def sizes() -> dict[str, Any]:
    config = tiny_config(320)
    parts = {"vision_config": config.vision_config, "text_config": config.text_config}
    plain = {name: part.to_diff_dict() for name, part in parts.items()}
    for part in plain.values():
        part.pop("transformers_version", None)
    return plain


def bimba(
    *words: object, launcher: tuple[str, ...] = (), env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command as users do, or as a launcher does."""
    command = [BIN / launcher[0], *launcher[1:], "-m", "bimba"] if launcher else [BIN / "bimba"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | (env or {})
    words = ("train", *words)
    return subprocess.run(
        [*command, *map(str, words)], capture_output=True, text=True, check=False, timeout=300, env=environment
    )


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert "\n  fix: " in done.stderr
    for word in words:
        assert word in done.stderr


def test_without_a_recipe_the_shipped_ones_are_listed() -> None:
    done = CliRunner().invoke(app, ["train"], env={"COLUMNS": "200"})
    assert done.exit_code == 0
    for name in shipped_recipes():
        assert re.search(rf"^{name}  +\w", done.stdout, re.MULTILINE), name
    assert done.stdout == CliRunner().invoke(app, ["train", "--list"], env={"COLUMNS": "200"}).stdout
    listed = json.loads(CliRunner().invoke(app, ["train", "--list", "--json"]).stdout)
    assert listed.keys() == shipped_recipes().keys()
    assert listed["cpu"]["summary"].startswith("A model from random weights")


def test_a_run_leaves_few_lines_in_a_log_file_and_a_summary(recipe: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = bimba(recipe)
    assert done.returncode == 0, done.stderr
    lines = [re.sub(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", "", line) for line in done.stderr.splitlines()]
    assert [line.partition(",")[0].partition(" weights")[0] for line in lines] == [
        "trains 230",
        "step 1 of 4 (25%): loss " + lines[1].split("loss ")[1].partition(",")[0],
        "step 4 of 4 (100%): loss " + lines[2].split("loss ")[1].partition(",")[0],
    ]
    assert "0 failed" in lines[1]
    assert "tokens/s" in lines[1]
    assert f"model: {run / 'model'}\n4 steps; loss " in done.stdout
    assert "samples seen, 0 failed\n" in done.stdout
    assert done.stdout.endswith(f'next: bimba ask VIDEO "What happens?" --model {run / "model"}\n')

    again = bimba(recipe, "log.every=2")
    assert again.returncode == 0, again.stderr
    assert again.stdout == f"{run} is finished already; nothing to do\n" + done.stdout
    record = json.loads(bimba(recipe, "--json").stdout)
    assert record["was_finished"]
    assert (record["folder"], record["steps"], record["failed"]) == (str(run / "model"), 4, {})
    assert record["losses"]["first"] > 0
    refused(bimba(recipe, "schedule.seed=1"), "schedule.seed is 0 there and 1 here", "output=DIR")
    quiet = bimba(recipe, "--quiet")
    assert (quiet.stdout, quiet.stderr, quiet.returncode) == ("", "", 0)


def test_two_processes_are_one_run(recipe: Path, tmp_path: Path) -> None:
    """Launched by torchrun, they print once and learn what one process learns with the same batch."""
    alone = bimba(recipe, f"output={tmp_path / 'alone'}", "schedule.global_batch_size=4", "--quiet")
    assert alone.returncode == 0, alone.stderr
    launcher = ("torchrun", "--standalone", "--nproc-per-node", "2")
    done = bimba(recipe, "schedule.global_batch_size=4", "--json", launcher=launcher)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["steps"] == 4
    ours, theirs = (load_file(tmp_path / run / "model" / "model.safetensors") for run in ("run", "alone"))
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], atol=2e-4, rtol=1e-3)


def test_python_dash_m_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bimba", "train", "--help"], capture_output=True, text=True, check=True
    )
    assert "RECIPE" in done.stdout
    assert "bimba train" in done.stdout


def test_a_dry_run_says_what_would_be_done_and_does_nothing(recipe: Path, tmp_path: Path) -> None:
    def planned(*changes: str) -> str:
        result = CliRunner().invoke(app, ["train", str(recipe), *changes, "--dry-run"])
        assert result.exit_code == 0, result.output
        return " ".join(result.stdout.split())

    text = planned()
    assert f"recipe {recipe}" in text
    assert f"output {tmp_path / 'run'} (new)" in text
    assert "vision_tower: full, 67.4 thousand weights" in text
    assert "batch 2 samples a step: 1 process x 2 at a time x 1 accumulated" in text
    assert "compute float32 on the CPU" in text
    assert f"next: bimba train {recipe}" in text
    plan = json.loads(CliRunner().invoke(app, ["train", str(recipe), "--dry-run", "--json"]).stdout)
    num_samples = plan["samples"]["needles.json"]
    assert plan["epochs"] == pytest.approx(4 / -(-num_samples // 2))
    assert f"steps {-(-num_samples // 4) * 3}, 3 times" in planned(
        "schedule.max_steps=null", "schedule.epochs=3", "schedule.accumulation=2"
    )
    elsewhere = f"data.sources.0.needles.folder={tmp_path / 'nothing'}"
    assert f"2 needle videos are made first, in {tmp_path / 'nothing'}" in planned(elsewhere)
    assert "1 times through the samples; how many steps is known" in planned(elsewhere, "schedule.max_steps=null")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["recipe.yaml"]


def test_a_dry_run_knows_what_the_output_folder_holds(recipe: Path, tmp_path: Path) -> None:
    run, settings = tmp_path / "run", read_recipe(recipe)

    def state() -> str:
        return training_plan.plan_training(str(recipe), settings).state

    run.mkdir()
    assert state() == "new"
    (run / "notes.txt").touch()
    assert "no training run" in state()
    (run / "recipe.yaml").write_text(recipe.read_text())
    assert state() == "begun, without a checkpoint"
    (run / "recipe.yaml").write_text(recipe.read_text().replace('"max_steps": 4', '"max_steps": 6'))
    assert state() == "a run of another recipe that has made no step; this one takes its place"
    (run / "recipe.yaml").write_text(recipe.read_text())
    (run / "model").mkdir()
    assert "finished" in state()
    (run / "recipe.yaml").write_text(recipe.read_text().replace('"max_steps": 4', '"max_steps": 5'))
    assert "a run of another recipe (schedule.max_steps is 5 there and 4 here)" in state()


def test_a_dry_run_names_the_model_that_training_starts_from(recipe: Path, model: Path) -> None:
    changes = [f"model={{start: checkpoint, path: {model}}}", "compute.precision=bf16", "compute.device=auto"]
    plan = training_plan.plan_training(str(recipe), read_recipe(recipe, changes))
    assert plan.model == str(model)
    assert plan.num_all == sum(value.numel() for value in load_file(model / "model.safetensors").values())
    if not torch.cuda.is_available():
        assert plan.compute == "bf16 on the CPU"
    fresh = [f"model={{start: checkpoint, path: {model}, compressor: {{num_layers: 2}}}}"]
    deeper = training_plan.plan_training(str(recipe), read_recipe(recipe, fresh))
    assert deeper.model == f"{model} with a fresh compressor"
    assert deeper.trained["compressor"] > 1.5 * plan.trained["compressor"]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["schedule.max_steps=2"], "none is named before it"),
        (["no-such.yaml"], "there is no recipe no-such.yaml"),
        (["cpu", "schedule.max_step=2"], "did you mean schedule.max_steps?"),
        (["cpu", "schedule.optimizer=adamm", "--dry-run"], "adamm is not a valid"),
    ],
)
def test_mistakes_are_told(words: list[str], problem: str) -> None:
    result = CliRunner().invoke(app, ["train", *words])
    assert isinstance(result.exception, InputError)
    assert problem in str(result.exception)


def test_missing_packages_are_named_before_anything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in ("peft", "yaml") else there(name))
    result = CliRunner().invoke(app, ["train", "no-such-recipe"])
    assert isinstance(result.exception, InputError)
    assert result.exception.problem == "training needs peft and PyYAML, which are not installed."
    assert result.exception.fix == 'pip install "bimba[train]"'


def test_other_processes_leave_it_to_the_first_to_tell(
    recipe: Path, root_level: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    monkeypatch.setenv("RANK", "1")
    result = CliRunner().invoke(app, ["train", str(recipe), "schedule.max_step=2"])
    assert isinstance(result.exception, InputError)
    assert waited == [5.0], "in which the launcher ends it"
    assert "process 1:" in result.output
    assert root_level.level == logging.ERROR
    result = CliRunner().invoke(app, ["train", str(recipe), "--dry-run"])
    assert result.output == ""


@pytest.fixture
def root_level() -> Iterator[logging.Logger]:
    """The logger of all, which gets its level back."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.WARNING)
    yield root
    root.setLevel(before)


def test_unreadable_samples_are_named_up_to_twenty(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    failed = {f"train.json[{number}]": "is empty" for number in range(25)}
    (run / "counts.json").write_text(json.dumps({"samples": 1200, "failed": failed}))
    COMMAND._print_outcome(read_recipe(recipe), Outcome(run / "model", 3, (2.5, 1.25), failed))
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:4] == [
        "3 steps; loss 2.5 at first, 1.25 at last",
        "1,200 samples seen, 25 failed",
        "  train.json[0]: is empty",
    ]
    assert len([line for line in lines if "is empty" in line]) == 20
    assert f"  and 5 more; all are in {run / 'counts.json'}" in lines
    unknown = Outcome(run / "model", 0, (float("nan"), float("nan")), {})
    assert COMMAND._record(unknown)["losses"] == {"first": None, "last": None}
    COMMAND._print_outcome(read_recipe(recipe), unknown)
    assert "0 steps; no loss was logged\n" in capsys.readouterr().out


@pytest.fixture
def terminal(recipe: Path, tmp_path: Path) -> Iterator["pexpect.spawn[str]"]:
    """A long run at a terminal of 80 columns."""
    process = pexpect.spawn(
        str(BIN / "bimba"), ["train", str(recipe), "schedule.max_steps=5000", "save.every=3"], cwd=str(tmp_path),
        encoding="utf-8", timeout=120, dimensions=(24, 80), env=os.environ | {"TERM": "xterm", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    yield process
    process.close(force=True)


def test_ctrl_c_says_how_to_go_on(terminal: "pexpect.spawn[str]", recipe: Path, tmp_path: Path) -> None:
    terminal.expect("trains 230,784 of 230,880 weights")
    terminal.expect("training .*of 5,000 steps")
    terminal.expect("loss .*tokens/s")
    terminal.expect(" [1-9] of 5,000|1[0-9] of 5,000")
    terminal.expect("[1-9][0-9] of 5,000")
    terminal.sendintr()
    terminal.expect(r"stopped. The same command goes on from [^\r]*")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 130
    assert "Traceback" not in (terminal.before or "")
    done = bimba(recipe, "schedule.max_steps=5000", "save.every=3", "--dry-run")
    step = re.search(r"goes on after step (\d+)", done.stdout)
    assert step, done.stdout
    assert (tmp_path / "run" / f"checkpoint-{step[1]}").is_dir()


def test_ctrl_c_before_the_first_checkpoint_is_honest(recipe: Path, tmp_path: Path) -> None:
    code = (
        "import sys, time, bimba.cli, bimba.training.run as run\n"
        "def slow(*args, **kwargs):\n"
        "    print('reading', file=sys.stderr, flush=True)\n"
        "    time.sleep(60)\n"
        "run._read_data = slow\n"
        "bimba.cli.main()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "train", str(recipe)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert process.stderr is not None
    assert process.stderr.readline() == "reading\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors.startswith("stopped. There is no checkpoint yet; the same command begins anew")


def test_a_full_gpu_is_a_clear_error(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nmore")

    monkeypatch.setattr("bimba.training.run.train", full)
    result = CliRunner().invoke(app, ["train", str(recipe)])
    assert "the GPU's memory is full: CUDA out of memory. Tried to allocate 2 GiB." in str(result.exception)
