"""`bimba bench scan`: checked first, measured in turns, and a reason for whatever has no number."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from bimba.cli import app, bench
from bimba.cli.bench import contenders as contenders_module
from bimba.cli.bench import limits, machine, rounds, scan_run
from bimba.cli.bench.contenders import Contender, ScanInputs, contenders, torch_loop
from bimba.cli.bench.provenance import processor, warning
from bimba.cli.bench.scan_run import ScanReport, measure_scan
from bimba.cli.bench.sizes import ScanSize
from bimba.errors import InputError

RUN = CliRunner()
CPU = torch.device("cpu")
HAS_MAMBAPY = importlib.util.find_spec("mambapy") is not None


def nobody_looks(stage: str, done: int, total: int) -> None:
    """Take a report."""


@pytest.fixture(autouse=True)
def quick_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_COPIED_BYTES", {"cpu": 2**20})
    monkeypatch.setattr(limits, "_TRYING_SECONDS", 0.0)


def measured(size: str = "150x6x3", **options: Any) -> ScanReport:
    some: dict[str, Any] = {"rounds": 1, "device": "cpu"} | options
    return measure_scan(size, report=nobody_looks, **some)


def contender(run: Callable[[ScanInputs], Tensor], *, name: str = "mine", states: float = 0.0) -> Contender:
    return Contender(name, "made up", False, run, lambda _: None, lambda *_: states)


def tried(run: Callable[[ScanInputs], Tensor], size: str = "300x6x3", **options: Any) -> dict[str, Any]:
    """What the record says of a contender that was made up."""
    report = measured(size, candidates=[contender(run)], **options)
    entry: dict[str, Any] = report.to_record()["passes"][-1]["contenders"][0]
    return entry


def names_with_numbers(report: ScanReport) -> list[set[str]]:
    return [{entry.name for entry in each.entries if entry.timing is not None} for each in report.passes]


def test_every_contender_that_can_run_here_is_right_and_measured() -> None:
    report = measured(rounds=2)
    expected = {"reference", "cpu", "torch loop", "transformers"} | ({"mambapy"} if HAS_MAMBAPY else set())
    assert names_with_numbers(report) == [expected, expected]
    assert [each.name for each in report.passes] == ["forward", "forward + backward"]


def test_the_record_has_all_that_a_script_reads() -> None:
    record = json.loads(json.dumps(measured(rounds=2).to_record()))
    assert record.keys() == {
        "benchmark", "size", "device", "dtype", "rounds", "patience_seconds", "limits", "passes", "provenance",
    }  # fmt: skip
    assert record["size"] == {"name": "150x6x3", "length": 150, "inner_dim": 6, "state_dim": 3}
    assert record["provenance"].keys() >= {"processor", "num_cores", "num_threads", "gpu", "versions", "time"}
    assert record["provenance"]["versions"]["torch"] == torch.__version__
    for each in record["passes"]:
        assert each.keys() == {"name", "needs", "fastest_of_ours", "contenders"}
        by_name = {entry["name"]: entry for entry in each["contenders"]}
        assert by_name[each["fastest_of_ours"]]["times_ours"] == 1.0
        loop = by_name["torch loop"]
        assert len(loop["seconds"]) == 2
        assert loop["best_seconds"] == min(loop["seconds"]) <= loop["median_seconds"]
        seconds, needs = loop["median_seconds"], each["needs"]
        assert loop["exponentials_per_second"] == pytest.approx(needs["num_exponentials"] / seconds)
        reached = needs["num_bytes"] / seconds / record["limits"]["bytes_per_second"]
        assert loop["share_of_bandwidth"] == pytest.approx(reached)
        assert max(loop["relative_errors"].values()) < 1e-4


def test_a_wrong_result_gets_no_number() -> None:
    entry = tried(lambda inputs: torch_loop(inputs) * 1.001, backward=False)
    assert entry["status"] == "wrong"
    assert entry["reason"] == "y is off by 0.001 on the first 200 steps (at most 0.0001 is right)"
    assert not {"seconds", "median_seconds", "times_ours"} & entry.keys()


def test_a_result_that_goes_wrong_late_gets_no_number() -> None:
    def forgetful(inputs: ScanInputs) -> Tensor:
        y = torch_loop(inputs)
        return torch.cat([y[:, :250], 0 * y[:, 250:]], dim=1)

    entry = tried(forgetful, backward=False)
    assert entry["status"] == "wrong"
    assert "on the whole sequence" in entry["reason"]


def test_a_wrong_gradient_gets_no_number() -> None:
    def deaf(inputs: ScanInputs) -> Tensor:
        return torch_loop(inputs) + 0.5 * (inputs.B - inputs.B.detach()).sum()

    assert tried(deaf, backward=False)["status"] == "measured"
    entry = tried(deaf, backward=True)
    assert (entry["status"], "the gradient of B" in entry["reason"]) == ("wrong", True)


@pytest.mark.parametrize(
    "run", [lambda inputs: torch_loop(inputs) * float("nan"), lambda inputs: torch_loop(inputs)[:, 1:]]
)
def test_results_without_sense_are_wrong(run: Callable[[ScanInputs], Tensor]) -> None:
    entry = tried(run, backward=False)
    assert entry["status"] == "wrong"
    assert entry["relative_errors"] == {"y": None}


def test_a_contender_that_breaks_is_told_and_the_others_go_on() -> None:
    def broken(_: ScanInputs) -> Tensor:
        raise RuntimeError("no kernel image\nis available")

    report = measured(candidates=[contender(broken, name="broken"), contender(torch_loop)], backward=False)
    first, second = report.passes[0].entries
    assert (first.status, first.reason) == ("failed", "RuntimeError: no kernel image")
    assert second.timing is not None
    assert report.passes[0].fastest_of_ours is None
    page = shown(report)
    assert "failed" in page
    assert "no kernel image" in page


def test_missing_packages_are_told_with_what_installs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in ("mambapy", "mamba_ssm") else find_spec(name)
    )
    entries = {entry.name: entry for entry in measured(backward=False).passes[0].entries}
    assert entries["mambapy"].status == entries["mamba_ssm"].status == "left out"
    assert entries["mambapy"].reason == "needs mambapy, which is not installed"
    assert entries["mambapy"].fix == 'pip install "bimba[bench]"'
    assert "pip install mamba-ssm" in str(entries["mamba_ssm"].fix)


def test_kernels_for_gpus_are_not_measured_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for interpreted in ("0", "1"):
        monkeypatch.setenv("TRITON_INTERPRET", interpreted)
        [entry] = measured(backward=False, only=["triton"]).passes[0].entries
        assert entry.status == "left out"
        assert entry.reason


def test_a_transformers_without_such_a_scan_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contenders_module, "_transformers_scan", lambda: None)
    [entry] = measured(backward=False, only=["transformers"]).passes[0].entries
    assert entry.status == "left out"
    assert "no scan that can be called on its own" in str(entry.reason)


def test_what_does_not_fit_into_memory_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "free_bytes", lambda _: 1_000_000)
    greedy = contender(torch_loop, name="greedy", states=5.0)
    first, second = measured("2000x4x16", candidates=[greedy, contender(torch_loop)], backward=False).passes[0].entries
    assert first.status == "left out"
    assert first.reason == "needs about 2.7 MB of memory, and 1.0 MB are free"
    assert second.status == "measured"


def test_a_sequence_that_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "free_bytes", lambda _: 10_000)
    with pytest.raises(InputError, match=r"a sequence of --size 2000x4x16 needs about 256 kB of memory") as refused:
        measured("2000x4x16")
    assert "--size small" in refused.value.fix


def test_other_packages_are_expected_to_need_more_memory_than_ours() -> None:
    size = ScanSize("some", 1000, 64, 16)
    for backward in (False, True):
        needed = {each.name: each.needed_bytes(size, backward=backward) for each in contenders()}
        assert needed["cpu"] < needed["torch loop"] < needed["transformers"]
        assert needed["cpu"] < needed["mambapy"]


def test_what_would_take_too_long_is_left_out() -> None:
    report = measured(patience=1e-9, only=["cpu"], backward=False)
    [entry] = report.passes[0].entries
    assert entry.status == "left out"
    assert str(entry.reason).startswith("would take about 0.00 s a run, and --patience is")
    assert "left out" in shown(report)


@pytest.mark.parametrize(("power", "expected"), [(1, 0.4096), (2, 16.777216), (5, 0.000256 * 4096**3)])
def test_time_is_expected_to_grow_as_it_did(power: int, expected: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most with the square: nothing here is worse, and noise may seem to be."""
    scale = {1: 1e-4, 2: 1e-6, 5: 0.0}[power]
    monkeypatch.setattr(rounds, "seconds_of", lambda call, _: scale * float(call()) ** power)
    seconds = rounds.predict_seconds(lambda steps: lambda: steps, 4096, 1e9, CPU, power=2)
    assert seconds == pytest.approx(expected if scale else 0.0)


def test_what_is_linear_is_not_expected_to_grow_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "seconds_of", lambda call, _: 1e-6 * float(call()) ** 2)  # noise
    seconds = rounds.predict_seconds(lambda steps: lambda: steps, 4096, 1e9, CPU, power=1)
    assert seconds == pytest.approx(1e-6 * 256**2 * 16)


def test_measuring_for_a_prediction_stops_early(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[int] = []

    def seconds_of(call: Callable[[], int], _: torch.device) -> float:
        lengths.append(call())
        return 10.0

    monkeypatch.setattr(rounds, "seconds_of", seconds_of)
    assert rounds.predict_seconds(lambda steps: lambda: steps, 64_000, 60.0, CPU, power=2) == pytest.approx(20_000)
    assert set(lengths) == {32}
    assert rounds.predict_seconds(lambda steps: lambda: steps, 64, 60.0, CPU, power=2) == 0.0


def test_contenders_take_turns() -> None:
    order: list[str] = []
    calls = {name: lambda name=name: order.append(name) for name in "abc"}
    timings = rounds.take_turns(calls, 4, CPU, nobody_looks)
    # Each twice, since they are short: the first call is for what the one before has left.
    assert "".join(order) == "aabbccbbccaaccaabbaabbcc"
    assert {name: len(timing.seconds) for name, timing in timings.items()} == {"a": 4, "b": 4, "c": 4}


def test_the_limits_count_what_a_scan_cannot_do_without() -> None:
    size = ScanSize("some", 10, 4, 3)
    forward, both = (limits.needs_of(size, 4, backward=backward) for backward in (False, True))
    assert forward == limits.Needs(4 * (3 * 40 + 2 * 30), 120)
    assert both == limits.Needs(4 * (8 * 40 + 6 * 30), 240)
    assert forward.shares(2.0, limits.Limits(720.0, 30.0)) == (0.5, 2.0)
    assert limits.Limits(1.0, 5.0).best_of(limits.Limits(2.0, 4.0)) == limits.Limits(2.0, 5.0)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_measured_by_its_own_tolerance(dtype: str) -> None:
    report = measured(dtype=dtype, only=["cpu", "torch loop"])
    assert names_with_numbers(report) == [{"cpu", "torch loop"}] * 2


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"only": ["cpu", "gpu"]}, "--only 'gpu' is no contender"),
        ({"rounds": 0}, "--rounds is 0"),
        ({"patience": 0.0}, "--patience is 0 seconds"),
        ({"patience": float("nan")}, "--patience is nan seconds"),
        ({"dtype": "int8"}, "--dtype 'int8' is not measured"),
        ({"device": "abacus"}, "device 'abacus' cannot be used"),
        ({"device": "meta"}, "device 'meta' computes nothing"),
        ({"size": "big"}, "--size 'big' is no size"),
    ],
)
def test_options_without_sense_are_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        measured(**{"size": "150x6x3"} | options)


def shown(report: ScanReport) -> str:
    """The page as a terminal of 80 columns has it."""
    from rich.console import Console

    from bimba.cli.bench.tables import scan_page

    console = Console(width=80, highlight=False, color_system=None)
    with console.capture() as capture:
        console.print(*scan_page(report), sep="\n")
    return capture.get()


def test_the_page_fits_80_columns_and_tells_all() -> None:
    lines = shown(measured()).splitlines()
    assert max(map(len, lines)) <= 80
    text = " ".join(" ".join(lines).split())
    for words in (
        "Selective scan, forward: L 150, E 6, N 3, float32, cpu", "forward + backward", "torch loop", "1 x",
        "triton left out", "G exp/s by torch.exp from the cache", "one round, taking turns", "numba",
    ):  # fmt: skip
        assert words in text


def test_the_command_prints_one_json_object() -> None:
    words = ["bench", "scan", "--size", "150x6x3", "--rounds", "1", "--only", "torch loop", "--only", "cpu"]
    result = RUN.invoke(app, [*words, "--device", "cpu", "--backward", "--json"])
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert [each["name"] for each in record["passes"]] == ["forward + backward"]
    assert [entry["name"] for entry in record["passes"][0]["contenders"]] == ["cpu", "torch loop"]


def test_it_can_be_called_from_python(capsys: pytest.CaptureFixture[str]) -> None:
    bench.scan(size="150x6x3", device="cpu", rounds=1, backward=False, only=["cpu"], quiet=True)
    assert "Selective scan, forward" in capsys.readouterr().out


def test_importing_the_commands_imports_no_torch() -> None:
    code = "import sys, bimba.cli.bench; print([name for name in ('torch', 'rich.table') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_processors_have_names(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("flags: a\nmodel name\t: Abacus 3000\n")
    assert processor(tmp_path) == "Abacus 3000"
    assert processor(tmp_path / "nowhere")


def test_a_busy_machine_is_told() -> None:
    busy = {"load": 3.5, "num_cores": 2, "num_threads": 2}
    assert "load 3.5 on 2 cores" in str(warning(busy))
    for calm in ({"load": 0.5}, {"load": None, "num_cores": None}, {"num_threads": 1}):
        assert warning(busy | calm) is None


def test_inputs_are_those_of_a_fresh_block() -> None:
    inputs = scan_run.make_inputs(ScanSize("some", 20, 500, 4), CPU, torch.bfloat16)
    steps = torch.nn.functional.softplus(inputs.dt_bias)
    assert 1e-3 <= steps.min() < 2e-3 < 5e-2 < steps.max() <= 0.1001
    assert inputs.A[7].tolist() == [-1, -2, -3, -4]
    assert (inputs.x.dtype, inputs.A.dtype) == (torch.bfloat16, torch.float32)
    again = scan_run.make_inputs(ScanSize("some", 20, 500, 4), CPU, torch.bfloat16)
    assert torch.equal(inputs.x, again.x)


@pytest.mark.gpu
def test_the_gpu_is_measured_by_its_own_clock() -> None:
    report = measured("1000x64x16", device="cuda", only=["triton", "torch loop"])
    assert names_with_numbers(report) == [{"triton", "torch loop"}] * 2
    assert replace(report, passes=()).provenance["gpu"]
