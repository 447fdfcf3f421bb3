"""`bimba bench compress`: both ways checked first, then their time, memory and arithmetic."""

import json
import sys
from typing import Any

import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from bimba.cli import app, bench
from bimba.cli.bench import compress_run, machine, peak
from bimba.cli.bench.block import CALLS, ONE_PASS, PLAIN, Block, first_frames, make_block
from bimba.cli.bench.compress_run import CompressReport, measure_compress
from bimba.cli.bench.peak import Once, PeakError, measure_once
from bimba.cli.bench.sizes import COMPRESS_SIZES, CompressSize, compress_size
from bimba.errors import InputError

RUN = CliRunner()
CPU = torch.device("cpu")


def nobody_looks(stage: str, done: int, total: int) -> None:
    """Take a report."""


@pytest.fixture
def no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is what a line says, without a process for each call."""

    def once(name: str, size: CompressSize, device: torch.device, dtype: str, longest: float) -> Once:
        assert (device, dtype) == (CPU, "float32")
        assert longest > 0
        frames = size.grid[0]
        return Once((100 if name == PLAIN else 10) * frames * 1000, 0.01 * frames)

    monkeypatch.setattr(compress_run, "measure_once", once)


def measured(size: str = "4x4x4x16", **options: Any) -> CompressReport:
    some: dict[str, Any] = {"rounds": 1, "device": "cpu"} | options
    return measure_compress(size, report=nobody_looks, **some)


def entries(report: CompressReport) -> dict[str, dict[str, Any]]:
    return {entry["name"]: entry for entry in report.to_record()["contenders"]}


@pytest.mark.usefixtures("no_processes")
def test_the_record_has_all_that_a_script_reads() -> None:
    record = json.loads(json.dumps(measured(rounds=3).to_record()))
    assert record.keys() == {
        "benchmark", "size", "num_tokens", "num_queries", "device", "dtype", "rounds", "patience_seconds",
        "contenders", "flop_ratio", "provenance",
    }  # fmt: skip
    assert (record["num_tokens"], record["num_queries"]) == (64, 16)
    by_name = {entry["name"]: entry for entry in record["contenders"]}
    assert by_name[ONE_PASS]["times_one_pass"] == 1.0
    for entry in by_name.values():
        assert entry["status"] == "measured"
        assert len(entry["seconds"]) == 3
        assert entry["relative_error"] < 1e-4
        assert entry["counted_flops"] == entry["formula_flops"]
    assert by_name[ONE_PASS]["difference"] < 1e-4
    assert by_name[PLAIN]["peak_bytes"] == 400_000
    assert record["flop_ratio"] == by_name[PLAIN]["counted_flops"] / by_name[ONE_PASS]["counted_flops"] > 1.5


@pytest.mark.usefixtures("no_processes")
def test_a_wrong_result_gets_no_number() -> None:
    calls = {PLAIN: CALLS[PLAIN], ONE_PASS: lambda block: CALLS[ONE_PASS](block) * 1.01}
    by_name = entries(measured(calls=calls))
    assert by_name[ONE_PASS]["status"] == "wrong"
    assert "off by 0.01 on a part of the video, from plain in float64" in by_name[ONE_PASS]["reason"]
    assert "seconds" not in by_name[ONE_PASS]
    assert by_name[PLAIN]["times_one_pass"] is None


@pytest.mark.usefixtures("no_processes")
def test_a_result_that_is_wrong_only_on_the_whole_gets_no_number() -> None:
    def tires(block: Block) -> Tensor:
        result = CALLS[ONE_PASS](block)
        return result if block.tokens.shape[1] < 64 else result * float("nan")

    entry = entries(measured(calls={PLAIN: CALLS[PLAIN], ONE_PASS: tires}))[ONE_PASS]
    assert entry["status"] == "wrong"
    assert "on the whole video, from plain" in entry["reason"]
    assert entry["difference"] is None


@pytest.mark.usefixtures("no_processes")
def test_a_call_that_breaks_is_told_and_the_other_goes_on() -> None:
    def broken(_: Block) -> Tensor:
        raise RuntimeError("out of luck")

    report = measured(calls={PLAIN: broken, ONE_PASS: CALLS[ONE_PASS]})
    by_name = entries(report)
    assert (by_name[PLAIN]["status"], by_name[PLAIN]["reason"]) == ("failed", "RuntimeError: out of luck")
    assert by_name[ONE_PASS]["times_one_pass"] == 1.0
    assert report.to_record()["flop_ratio"] is None


@pytest.mark.usefixtures("no_processes")
def test_what_does_not_fit_into_memory_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a line through two parts of the video: 100 kB a frame plain, 10 kB in one pass."""
    for module in (machine, compress_run):
        monkeypatch.setattr(module, "free_bytes", lambda _: 1_000_000)
    by_name = entries(measured("32x4x4x16"))
    assert by_name[PLAIN]["status"] == "left out"
    assert by_name[PLAIN]["reason"] == "needs about 3.2 MB of memory, and 1.0 MB are free"
    assert by_name[ONE_PASS]["status"] == "measured"
    monkeypatch.setattr(machine, "free_bytes", lambda _: 1000)
    with pytest.raises(InputError, match=r"a compressor of --size 32x4x4x16 needs about"):
        measured("32x4x4x16")


@pytest.mark.usefixtures("no_processes")
def test_what_would_take_too_long_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compress_run, "free_bytes", lambda _: 1_000_000)
    by_name = entries(measured("32x4x4x16", patience=0.2))
    for entry in by_name.values():
        assert entry["reason"] == "would take about 0.32 s a run, and --patience is 0.20 s"


def test_memory_that_cannot_be_measured_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(*_: object, **__: object) -> Once:
        raise PeakError("its process failed: exit code -9", fix="take less")

    monkeypatch.setattr(compress_run, "measure_once", dies)
    report = measured()
    entry = entries(report)[PLAIN]
    assert (entry["peak_bytes"], entry["reason"]) == (None, "its memory is unknown: its process failed: exit code -9")
    assert "unknown" in shown(report)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems tell less about memory")
def test_memory_is_measured_in_a_process_of_its_own() -> None:
    size = compress_size("16x16x16x32", None)
    once = measure_once(PLAIN, size, CPU, "float32", longest=100.0)
    # Tokens and queries, 64 channels, float32: several copies of that must exist.
    one_copy = (4096 + 1024) * 64 * 4
    assert once.peak_bytes is not None
    assert 2 * one_copy < once.peak_bytes < 40 * one_copy
    assert once.seconds > 0


def test_the_process_that_is_measured_may_fail() -> None:
    with pytest.raises(PeakError, match="did not finish within 0 s"):
        measure_once(PLAIN, COMPRESS_SIZES["tiny"], CPU, "float32", longest=0.01)
    with pytest.raises(PeakError, match="its process failed: KeyError: 'no such call'"):
        measure_once("no such call", COMPRESS_SIZES["tiny"], CPU, "float32", longest=100.0)


def test_systems_that_tell_nothing_leave_the_memory_open(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    order = {"name": ONE_PASS, "size": {"name": "s", "grid": [2, 4, 4], "dim": 16, "pool": [1, 2, 2]}}
    monkeypatch.setattr(sys, "argv", ["peak", json.dumps(order | {"dtype": "float32", "threads": 1})])
    monkeypatch.setattr(peak, "_STATUS", tmp_path / "nowhere")
    monkeypatch.setattr(peak, "_volunteer", lambda: None)
    monkeypatch.setattr(sys, "platform", "win32")
    peak.main()
    once = json.loads(capsys.readouterr().out)
    assert once["peak_bytes"] is None
    assert once["seconds"] > 0


def test_parts_keep_whole_groups_of_frames() -> None:
    part = first_frames(COMPRESS_SIZES["paper"], 2, most_patches=16)
    assert part.grid == (8, 16, 16)
    assert first_frames(COMPRESS_SIZES["tiny"], 100).grid == (4, 8, 8)


def test_a_fresh_block_gives_something_to_compare() -> None:
    block = make_block(COMPRESS_SIZES["tiny"], CPU, torch.float32)
    assert CALLS[PLAIN](block).abs().mean() > 0.01
    assert torch.equal(block.tokens, make_block(COMPRESS_SIZES["tiny"], CPU, torch.float32).tokens)


def shown(report: CompressReport) -> str:
    """The page as a terminal of 80 columns has it."""
    from rich.console import Console

    from bimba.cli.bench.tables import compress_page

    console = Console(width=80, highlight=False, color_system=None)
    with console.capture() as capture:
        console.print(*compress_page(report), sep="\n")
    return capture.get()


@pytest.mark.usefixtures("no_processes")
def test_the_page_fits_80_columns_and_tells_all() -> None:
    lines = shown(measured()).splitlines()
    assert max(map(len, lines)) <= 80
    text = " ".join(" ".join(lines).split())
    for words in ("64 tokens + 16 queries, D 16, float32, cpu", "one pass", "400 kB", "times less arithmetic", "torch"):
        assert words in text


@pytest.mark.usefixtures("no_processes")
def test_the_command_prints_one_json_object() -> None:
    words = ["bench", "compress", "--size", "4x4x4x16", "--pool", "2x2x2", "--rounds", "1", "--device", "cpu"]
    result = RUN.invoke(app, [*words, "--json"])
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert record["benchmark"] == "compress"
    assert record["num_queries"] == 8


@pytest.mark.usefixtures("no_processes")
def test_it_can_be_called_from_python(capsys: pytest.CaptureFixture[str]) -> None:
    bench.compress(size="4x4x4x16", device="cpu", rounds=1, quiet=True)
    assert "Compressor block" in capsys.readouterr().out


@pytest.mark.gpu
def test_memory_of_a_gpu_is_its_own_bookkeeping() -> None:
    report = measured("8x8x8x64", device="cuda")
    assert all(entry.peak_bytes for entry in report.entries)
