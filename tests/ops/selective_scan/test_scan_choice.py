"""Selective scan: which implementation a name stands for, what stands in its way, and what that costs to import."""

import builtins
import importlib
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from scan_cases import draw_arguments, output

from bimba.errors import InputError
from bimba.ops.packages import why_unusable
from bimba.ops.selective_scan import IMPLEMENTATIONS, choice
from bimba.ops.selective_scan.choice import choose

CPU, CUDA, META = torch.device("cpu"), torch.device("cuda", 0), torch.device("meta")
LOGGER = "bimba.ops.selective_scan.choice"


@pytest.fixture(autouse=True)
def _nothing_found_out_yet() -> Iterator[None]:
    for known in (choice._automatic, why_unusable):
        known.cache_clear()
    yield
    for known in (choice._automatic, why_unusable):
        known.cache_clear()


def pretend(monkeypatch: pytest.MonkeyPatch, **installed: bool) -> None:
    """Packages by name, and whether they look installed."""

    def why_pretended(package: str) -> str | None:
        return None if installed.get(package, True) else f"{package}, which is not installed"

    monkeypatch.setattr(choice, "why_unusable", why_pretended)


def run_python(code: str, **environment: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
    )
    return done.stdout


# Names ------------------------------------------------------------------------------------------------------------


def test_the_names_are_frozen() -> None:
    assert list(IMPLEMENTATIONS) == ["reference", "cpu", "triton", "mamba_ssm"]
    assert all(each.name == name for name, each in IMPLEMENTATIONS.items())
    assert all(each.summary for each in IMPLEMENTATIONS.values())


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        IMPLEMENTATIONS["mine"] = IMPLEMENTATIONS["cpu"]  # type: ignore[index]


@pytest.mark.parametrize("name", ["magic", "", "Auto", "numba", "cuda"])
def test_an_unknown_name_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(
        ValueError, match=rf"{re.escape(repr(name))} is none of auto, reference, cpu, triton, mamba_ssm"
    ):
        choose(name, CPU)


@pytest.mark.parametrize("device", [CPU, CUDA, META], ids=str)
def test_the_reference_runs_on_every_device(device: torch.device) -> None:
    assert choose("reference", device).name == "reference"


# Obstacles --------------------------------------------------------------------------------------------------------

OBSTACLES: list[tuple[str, torch.device, dict[str, bool], str, str]] = [
    ("cpu", CPU, {"numba": False}, "needs numba, which is not installed", "pip install --upgrade numba."),
    ("cpu", CUDA, {"numba": True}, "works on CPU tensors, and these are on cuda:0", "move them to the CPU, or"),
    ("cpu", META, {"numba": True}, "works on CPU tensors, and these are on meta", "move them to the CPU, or"),
    ("triton", CUDA, {"triton": False}, "needs triton, which is not installed", 'pip install "bimba[kernels]".'),
    ("triton", CPU, {"triton": False}, "needs triton, which is not installed", 'pip install "bimba[kernels]".'),
    ("triton", CPU, {"triton": True}, "works on CUDA GPUs, and these tensors are on cpu", "move them to a GPU, or"),
    ("mamba_ssm", CUDA, {"mamba_ssm": False}, "needs mamba_ssm, which is not installed", "pip install mamba-ssm"),
    ("mamba_ssm", CPU, {"mamba_ssm": True}, "works on CUDA GPUs, and these tensors are on cpu", "move them to a GPU"),
]


@pytest.mark.parametrize(("name", "device", "installed", "problem", "fix"), OBSTACLES)
def test_each_obstacle_is_named_with_its_fix(
    name: str, device: torch.device, installed: dict[str, bool], problem: str, fix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    pretend(monkeypatch, **installed)
    with pytest.raises(InputError) as caught:
        choose(name, device)
    assert caught.value.problem == f"the selective scan {name!r} {problem}."
    assert caught.value.fix.startswith(fix)
    assert caught.value.fix.endswith(".")


@pytest.mark.parametrize(("name", "device"), [("cpu", CPU), ("triton", CUDA), ("mamba_ssm", CUDA)])
def test_nothing_stands_in_the_way_of_what_is_installed_for_the_device(
    name: str, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, numba=True, triton=True, mamba_ssm=True)
    assert choose(name, device).name == name


@pytest.mark.parametrize(("value", "runs"), [("1", True), ("0", False), ("", False)])
def test_triton_takes_tensors_on_the_cpu_only_to_interpret(
    value: str, runs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, triton=True)
    monkeypatch.setenv("TRITON_INTERPRET", value)
    if runs:
        assert choose("triton", CPU).name == "triton"
    else:
        with pytest.raises(InputError, match="TRITON_INTERPRET=1 runs it on a CPU, for tests"):
            choose("triton", CPU)


def test_a_scan_that_cannot_run_says_so_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, numba=False)
    with pytest.raises(
        InputError, match=r"'cpu' needs numba, which is not installed\.\n  fix: pip install --upgrade numba\."
    ):
        output(draw_arguments(3), implementation="cpu")


# Packages ---------------------------------------------------------------------------------------------------------


def test_a_package_that_can_be_used_has_no_problem() -> None:
    assert why_unusable("numpy") is None
    assert why_unusable("numba") is None


def test_a_package_that_is_not_there_is_not_installed() -> None:
    assert why_unusable("no_such_package") == "no_such_package, which is not installed"


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("raise ImportError('needs NumPy 1.0 or less')", "needs NumPy 1.0 or less"),
        ("import no_such_package", "No module named 'no_such_package'"),
        ("raise OSError('libcuda.so.1: cannot open shared object file')", "libcuda.so.1: cannot open"),
    ],
    ids=["refuses", "lacks_another", "lacks_a_library"],
)
def test_a_package_that_cannot_be_imported_says_why(
    code: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_package.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    reason = why_unusable("broken_package")
    assert reason is not None
    assert reason.startswith(f"broken_package, which cannot be imported: {problem}")


def test_a_package_is_tried_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slow_package.py").write_text(
        "import builtins\nbuiltins.times_slow_package_was_run += 1\nraise ImportError"
    )
    monkeypatch.setattr("builtins.times_slow_package_was_run", 0, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    reasons = {why_unusable("slow_package") for _ in range(3)}
    assert len(reasons) == 1
    assert vars(builtins)["times_slow_package_was_run"] == 1


# Auto -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("device", "name"), [(CPU, "cpu"), (CUDA, "triton"), (META, "reference")])
def test_auto_is_the_best_for_the_device_and_says_so_once(
    device: torch.device, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pretend(monkeypatch, numba=True, triton=True, mamba_ssm=True)
    with caplog.at_level(logging.INFO, LOGGER):
        chosen = {choose("auto", device).name for _ in range(3)}
    assert chosen == {name}
    (record,) = caplog.records
    assert record.levelno == logging.INFO
    assert record.getMessage() == f"selective scan on {device.type}: {name}, {IMPLEMENTATIONS[name].summary}"


@pytest.mark.parametrize(
    ("device", "missing", "fix"),
    [(CPU, "numba", "pip install --upgrade numba"), (CUDA, "triton", 'pip install "bimba[kernels]"')],
    ids=["numba", "triton"],
)
def test_auto_falls_back_on_the_reference_with_one_warning(
    device: torch.device, missing: str, fix: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pretend(monkeypatch, **{missing: False})
    with caplog.at_level(logging.INFO, LOGGER):
        chosen = {choose("auto", device).name for _ in range(3)}
    assert chosen == {"reference"}
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "which is slow" in record.getMessage()
    assert f"needs {missing}, which is not installed ({fix})" in record.getMessage()


def test_auto_gives_what_the_best_one_gives(caplog: pytest.LogCaptureFixture) -> None:
    arguments = draw_arguments(9)
    with caplog.at_level(logging.INFO, LOGGER):
        outputs = [output(arguments) for _ in range(2)]
    assert torch.equal(outputs[0], output(arguments, implementation="cpu"))
    assert torch.equal(outputs[0], outputs[1])
    assert len(caplog.records) == 1


def test_what_is_asked_for_by_name_is_never_replaced_and_logs_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pretend(monkeypatch, numba=False)
    with caplog.at_level(logging.DEBUG, LOGGER):
        assert choose("reference", CPU).name == "reference"
        with pytest.raises(InputError):
            choose("cpu", CPU)
    assert not caplog.records


# Imports ----------------------------------------------------------------------------------------------------------

COMPILERS = "sorted({'numba', 'llvmlite', 'triton', 'mamba_ssm'} & set(sys.modules))"


def test_the_compilers_are_not_imported_with_the_ops() -> None:
    assert run_python(f"import sys, bimba.ops; print({COMPILERS})") == "[]\n"


def test_the_reference_imports_no_compiler() -> None:
    code = """
import sys, torch
from bimba.ops import selective_scan
ones = torch.ones(1, 2, 1)
selective_scan(ones, ones, -torch.ones(1, 1), ones, ones, implementation="reference")
print("numba" in sys.modules)
"""
    assert run_python(code) == "False\n"


def test_without_numba_the_scan_runs_and_warns_once() -> None:
    code = """
import logging, sys, torch
sys.modules["numba"] = None
import importlib.util
original = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == "numba" else original(name, package)
logging.basicConfig(stream=sys.stdout, format="%(levelname)s %(message)s", level=logging.INFO)
from bimba.ops import selective_scan
ones = torch.ones(1, 2, 1)
for _ in range(2):
    y = selective_scan(ones, ones, torch.zeros(1, 1), ones, ones)
print(y.flatten().tolist())
"""
    warning, result = run_python(code).splitlines()
    assert warning == (
        "WARNING selective scan on cpu: the definition, a loop over time in plain PyTorch, which is slow; "
        "'cpu' needs numba, which is not installed (pip install --upgrade numba)"
    )
    assert result == "[1.0, 2.0]"
