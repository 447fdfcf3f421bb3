"""`bimba doctor`: what is said of machines that are made up, and of this one; page, JSON, exit codes."""

import importlib
import json
import logging
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from machines import CUDA, GB, H100, NO_GPU, SMALL, finding, gpu_machine, machine, with_parts
from rich.console import Console
from typer.testing import CliRunner

from bimba.checkpoints.shipped import RELEASED, RELEASED_VAMBA
from bimba.cli import app
from bimba.cli.doctor import diagnosis
from bimba.cli.doctor.capability import find_ways
from bimba.cli.doctor.command import find_findings, print_page
from bimba.cli.doctor.diagnosis import BASE, Cache, Extra, Machine, Part, Scan, Torch, Unmet
from bimba.cli.doctor.hardware import Memory
from bimba.cli.doctor.sizes import Sizes, named_sizes, released_sizes
from bimba.errors import CheckpointError, InputError
from bimba.ops.selective_scan import choice

DOCTOR = importlib.import_module("bimba.cli.doctor.command")  # in bimba.cli the name is the command's


@pytest.fixture(scope="module")
def sizes() -> Sizes:
    return released_sizes()


def page(found: Machine, sizes: Sizes | None, model: str | None = None, **options: Any) -> str:
    console = Console(width=80, highlight=False, **options)
    with console.capture() as capture:
        print_page(console, list(find_findings(found, sizes)), find_ways(found, sizes), sizes, model)
    return capture.get()


def test_container_limit_is_shown() -> None:
    text = finding(machine(memory=Memory(16 * GB, 3 * GB, 4 * GB)), "RAM").text
    assert text == "16.0 GB, of which this container gets 4.0 GB; 3.0 GB free"
    assert "what is free is unknown" in finding(machine(memory=Memory(16 * GB, None, None)), "RAM").text


@pytest.mark.parametrize(
    ("found", "level", "words"),
    [
        (NO_GPU, "-", "none found; this torch is a CPU build"),
        (replace(NO_GPU, is_gpu_there=True), "problem", "an NVIDIA GPU is here, but this torch is a CPU build"),
        (replace(CUDA, gpu_problem="Found no NVIDIA driver"), "note", "none found: Found no NVIDIA driver"),
        (replace(CUDA, gpu_problem="driver too old", is_gpu_there=True), "problem", "not for torch: driver too old"),
        (replace(CUDA, gpu_problem="CUDA_VISIBLE_DEVICES is ''", is_gpu_there=True), "note", "hidden"),
    ],
    ids=["CPU build", "CPU build with a GPU", "CUDA build without a GPU", "CUDA build without a driver", "hidden"],
)
def test_no_gpu_has_its_reason(found: Torch, level: str, words: str) -> None:
    line = finding(machine(torch=found), "GPU")
    assert line.level == level
    assert words in line.text
    assert (line.fix is None) == (level == "-")


def test_broken_torchcodec_is_a_problem_with_a_fix() -> None:
    line = finding(machine(optional=with_parts(torchcodec="libavutil.so.60: cannot open")), "torchcodec")
    assert (line.level, line.text) == ("problem", "1.0 cannot be loaded: libavutil.so.60: cannot open")
    assert line.fix is not None
    assert "ffmpeg" in line.fix
    assert finding(machine(), "torchcodec").level == "-"
    assert "usable" in finding(machine(optional=with_parts("torchcodec")), "torchcodec").text


def test_missing_codecs_are_named() -> None:
    line = finding(machine(codecs=dict.fromkeys(diagnosis.CODECS, True) | {"av1": False, "hevc": False}), "PyAV")
    assert line.level == "problem"
    assert line.text.endswith("lacks hevc, av1")
    assert diagnosis.find_codecs()[1] == dict.fromkeys(diagnosis.CODECS, True), "PyAV's own wheels have them all"


def test_how_the_scan_runs_is_said_for_each_kind_of_device() -> None:
    line = finding(machine(), "on cpu")
    assert (line.level, line.text, line.fix) == ("ok", "cpu: compiled loops on all cores", None)
    slow = Scan("cuda", "reference", "a loop", "triton needs triton, which is not installed", "pip install it")
    line = finding(machine(scans=(slow,)), "on cuda")
    assert (line.level, line.fix) == ("problem", "pip install it")
    assert line.text == "reference: a loop, which is slow; triton needs triton, which is not installed"


def test_scans_are_looked_for_where_they_would_run(monkeypatch: pytest.MonkeyPatch) -> None:
    (on_cpu,) = diagnosis.find_scans(())
    assert (on_cpu.device, on_cpu.name, on_cpu.problem) == ("cpu", "cpu", None)
    monkeypatch.setattr(choice, "why_unusable", lambda package: f"{package}, which is not installed")
    on_cpu, on_gpu = diagnosis.find_scans((H100,))
    assert (on_cpu.name, on_cpu.problem, on_cpu.fix) == (
        "reference", "cpu needs numba, which is not installed", "pip install --upgrade numba"
    )  # fmt: skip
    assert (on_gpu.device, on_gpu.fix) == ("cuda", 'pip install "bimba[kernels]"')


def test_extras_name_what_they_lack_and_the_command() -> None:
    absent, unfit = finding(machine(), "gpu"), finding(machine(), "serve")
    assert (absent.level, absent.text, absent.fix) == ("-", "lacks bitsandbytes", "pip install 'bimba[gpu]'")
    assert unfit.text == "lacks pillow 13.1 (needs <13,>=11)"
    core = Extra("", (Unmet("transformers", "<6,>=5.15", "4.50.0"),), "pip install --upgrade bimba")
    line = finding(machine(extras=(core,)), "versions")
    assert (line.level, line.text) == ("problem", "unfit: transformers 4.50.0 (needs <6,>=5.15)")
    assert finding(machine(extras=()), "all").level == "note"


def test_full_disk_is_noted_while_the_model_is_not_there(sizes: Sizes) -> None:
    short = Cache("/cache", 2 * GB, {RELEASED: True, BASE: False}, None)
    line = finding(machine(cache=short), "hub cache", sizes)
    assert line.level == "note"
    assert line.fix is not None
    assert "HF_HOME" in line.fix
    assert BASE in finding(machine(cache=short), "released model", sizes).text
    complete = Cache("/cache", 2 * GB, {RELEASED: True, BASE: True}, None)
    assert finding(machine(cache=complete), "hub cache", sizes).level == "ok"
    assert "room unknown" in finding(machine(cache=replace(short, free_bytes=None)), "hub cache", sizes).text


MACHINES = {
    "no GPU": machine(),
    "80 GB": gpu_machine(H100, memory=Memory(256 * GB, 200 * GB, 64 * GB)),
    "12 GB": gpu_machine(SMALL),
    "broken": machine(optional=with_parts(torchcodec="x" * 200), torch=replace(CUDA, gpu_problem="no driver " * 12)),
    "long folder": machine(cache=Cache("/very/long" * 20, GB, {RELEASED: True, BASE: False}, None)),
}


@pytest.mark.parametrize("name", MACHINES)
def test_page_fits_80_columns_and_is_plain_text_in_a_pipe(name: str, sizes: Sizes) -> None:
    text = page(MACHINES[name], sizes)
    assert max(map(len, text.splitlines())) <= 80
    assert text.isascii()
    assert "\x1b" not in text
    assert "pip install 'bimba[gpu]'" in text, "brackets are no markup"
    for way in find_ways(MACHINES[name], sizes):
        assert f"\n  {way.name} " in text


def test_page_tells_how_to_ask_about_vamba_unless_a_model_is_named(sizes: Sizes) -> None:
    asked = f"bimba doctor --model {RELEASED_VAMBA}"
    plain = page(MACHINES["80 GB"], sizes)
    assert f"What can run of {RELEASED}\n" in plain
    assert asked in plain
    named = page(MACHINES["80 GB"], named_sizes(RELEASED_VAMBA, None), RELEASED_VAMBA)
    assert f"What can run of {RELEASED_VAMBA}\n" in named
    assert asked not in named
    assert "1,024 frames of 1,280 x 720 take about " in named
    assert max(map(len, named.splitlines())) <= 80


def test_colours_are_few_and_leave_the_background_alone(sizes: Sizes) -> None:
    text = page(MACHINES["12 GB"], sizes, force_terminal=True, color_system="standard")
    codes = {code for part in text.split("\x1b[")[1:] for code in part.split("m")[0].split(";")}
    assert codes <= {"0", "1", "2", "31", "32", "33"}
    assert codes >= {"1", "2", "31", "32"}


def run(*words: str) -> Any:
    return CliRunner().invoke(app, ["doctor", *words], env={"COLUMNS": "80"})


def test_exit_code_is_1_only_if_the_tiny_model_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DOCTOR, "diagnose", machine)
    assert run().exit_code == 0
    broken = machine(core=(Part("torch", None, "No module named 'torch'"), *machine().core[1:]), torch=None)
    monkeypatch.setattr(DOCTOR, "diagnose", lambda: broken)
    done = run("--quiet")
    assert done.exit_code == 1
    assert done.output == "torch: No module named 'torch'\n  fix: pip install --force-reinstall torch\n"
    record = json.loads(run("--json").output)
    assert record["runs_tiny_model"] is False
    assert record["problems"][0]["name"] == "torch"


def test_quiet_prints_nothing_when_all_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DOCTOR, "diagnose", machine)
    assert run("--quiet").output == ""
    monkeypatch.setattr(DOCTOR, "diagnose", lambda: machine(optional=with_parts(torchcodec="no FFmpeg")))
    done = run("-q")
    assert done.exit_code == 0, "the tiny model needs no torchcodec"
    assert done.output.startswith("torchcodec: 1.0 cannot be loaded: no FFmpeg\n  fix: ")


def test_json_of_this_machine_has_everything() -> None:
    done = run("--json")
    assert done.exit_code == 0, done.output
    (line,) = done.output.splitlines()
    record = json.loads(line)
    assert record.keys() == {
        "runs_tiny_model", "problems", "bimba", "python", "system", "num_cores", "core", "optional", "torch", "gpus",
        "memory", "cache", "ffmpeg", "codecs", "scans", "extras", "model", "can_run",
    }  # fmt: skip
    assert record["runs_tiny_model"] is True
    assert record["memory"]["total_bytes"] > 10**8
    assert record["torch"]["flops_per_second"]["float32"] > 10**6
    assert [scan["name"] for scan in record["scans"]] == ["cpu"]
    assert record["cache"]["present"].keys() == {RELEASED, BASE}
    assert [way["name"] for way in record["can_run"]][-1] == "tiny model"
    assert {way["verdict"] for way in record["can_run"]} <= {"yes", "slow", "no"}
    assert record["can_run"][0]["weight_bytes"] == 16_229_267_520
    assert logging.root.manager.disable == logging.NOTSET


def test_a_named_model_is_looked_at(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DOCTOR, "diagnose", machine)
    record = json.loads(run("--json", "--model", str(model)).output)
    assert record["model"] == str(model)
    assert record["can_run"][4]["weight_bytes"] == 4 * named_sizes(str(model), None).num_parameters
    assert json.loads(run("--json").output)["model"] == RELEASED
    missing = run("--model", str(model / "nowhere"))
    assert missing.exit_code == 1
    assert isinstance(missing.exception, CheckpointError)
    lonely = run("--base", str(model))
    assert isinstance(lonely.exception, InputError)


def test_missing_torch_is_told_by_the_whole_command() -> None:
    code = "import sys; sys.modules['torch'] = None; from bimba.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "doctor"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "80"},
    )
    assert done.returncode == 1
    assert done.stderr == ""
    assert "pip install --force-reinstall torch" in done.stdout
    assert "Traceback" not in done.stdout


def test_help_imports_no_torch() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from bimba.cli import app;"
        "out = CliRunner().invoke(app, ['doctor', '--help']);"
        "print(out.exit_code, [name for name in ('torch', 'transformers', 'av', 'packaging') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0 []"
