"""What can run on machines that are made up: each way of loading the released model, its verdict and its reason."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from machines import GB, H100, NO_GPU, SMALL, finding, gpu_machine, machine, with_parts

from bimba.checkpoints import loading
from bimba.cli.doctor import capability
from bimba.cli.doctor.capability import Sizes, Way, find_ways, released_sizes
from bimba.cli.doctor.diagnosis import Machine, Part
from bimba.cli.doctor.hardware import Gpu, Memory


@pytest.fixture(scope="module")
def sizes() -> Sizes:
    return released_sizes()


def ways(found: Machine, sizes: Sizes | None) -> dict[str, Way]:
    return {way.name: way for way in find_ways(found, sizes)}


def verdicts(found: Machine, sizes: Sizes) -> list[str]:
    return [way.verdict for way in find_ways(found, sizes)]


def test_sizes_are_those_of_the_released_model(sizes: Sizes, golden: Path) -> None:
    tensors: dict[str, Any] = json.loads((golden / "keys_7b.json").read_text())
    assert sizes.num_parameters == sum(torch.Size(shape).numel() for shape, _ in tensors.values())
    assert sizes.weight_bytes("bfloat16") == 2 * sizes.num_parameters
    assert [round(sizes.weight_bytes(kind) / GB, 1) for kind in ("bfloat16", "float32", "8bit", "4bit")] == [
        16.2, 32.5, 9.3, 6.3
    ]  # fmt: skip


def test_quantization_keeps_wide_what_loading_keeps_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: SimpleNamespace(name=name))
    config = loading._quantization_config("8bit", loading._NOT_QUANTIZED)
    assert tuple(config.llm_int8_skip_modules) == capability.KEPT_WIDE


def test_without_a_gpu_the_cpu_is_slow_if_memory_suffices(sizes: Sizes) -> None:
    small = ways(machine(), sizes)
    assert [way.verdict for way in small.values()] == ["no", "no", "no", "no", "no", "yes"]
    assert "no GPU; this torch is a CPU build" in small["4 bit, GPU"].why
    assert "16.2 GB of weights" in small["bfloat16, CPU"].why
    assert "12.0 GB of RAM" in small["bfloat16, CPU"].why
    large = ways(machine(memory=Memory(128 * GB, 120 * GB, None)), sizes)
    assert [way.verdict for way in large.values()] == ["no", "no", "no", "slow", "slow", "yes"]
    assert large["bfloat16, CPU"].num_frames == 64
    assert large["bfloat16, CPU"].first_token_seconds == pytest.approx(sizes.operations(64) / 1e11)
    assert large["float32, CPU"].options == "--dtype float32"
    assert " min" in large["float32, CPU"].why


def test_between_weights_and_64_frames_fewer_frames_fit(sizes: Sizes) -> None:
    way = ways(machine(memory=Memory(32 * GB, 18 * GB, None)), sizes)["bfloat16, CPU"]
    assert way.num_frames is not None
    assert 0 < way.num_frames < 64
    assert way.fix == f"--frames {way.num_frames}"
    needed = sizes.weight_bytes("bfloat16") + sizes.room_for(way.num_frames, "bfloat16")
    assert needed <= 18 * GB < needed + sizes.room_for(1, "bfloat16") + GB


def test_80_gb_gpu_runs_everything(sizes: Sizes) -> None:
    found = gpu_machine(H100, memory=Memory(256 * GB, 200 * GB, None))
    assert verdicts(found, sizes) == ["yes", "yes", "yes", "slow", "slow", "yes"]
    assert ways(found, sizes)["bfloat16, GPU"].why == "all 64 frames fit in the 84.0 GB free on NVIDIA H100 80GB HBM3"
    assert ways(found, sizes)["bfloat16, CPU"].options == "--device cpu"


def test_12_gb_gpu_runs_what_is_quantized(sizes: Sizes) -> None:
    found = gpu_machine(SMALL)
    assert verdicts(found, sizes) == ["no", "yes", "yes", "no", "no", "yes"]
    four, eight, wide = (ways(found, sizes)[f"{name}, GPU"] for name in ("4 bit", "8 bit", "bfloat16"))
    assert four.num_frames is not None
    assert eight.num_frames is not None
    assert 0 < eight.num_frames < four.num_frames <= 64
    assert four.options == "--quantization 4bit"
    assert wide.fix == "--quantization 8bit or 4bit"


def test_quantization_names_what_it_lacks(sizes: Sizes) -> None:
    way = ways(gpu_machine(SMALL, memory=Memory(64 * GB, 60 * GB, None)), sizes)["4 bit, GPU"]
    assert way.verdict == "yes"
    found = replace(gpu_machine(SMALL), optional=with_parts("accelerate"))
    way = ways(found, sizes)["4 bit, GPU"]
    assert (way.verdict, way.why, way.fix) == ("no", "bitsandbytes: not installed", "pip install 'bimba[gpu]'")


def test_without_accelerate_weights_pass_through_ram(sizes: Sizes) -> None:
    found = replace(gpu_machine(H100), optional=with_parts())
    way = ways(found, sizes)["bfloat16, GPU"]
    assert (way.verdict, way.fix) == ("no", "pip install 'bimba[gpu]'")
    assert "12.0 GB" in way.why
    assert ways(replace(found, memory=Memory(64 * GB, 60 * GB, None)), sizes)["bfloat16, GPU"].verdict == "yes"


def test_of_several_gpus_the_emptiest_or_all_are_taken(sizes: Sizes) -> None:
    busy, idle = replace(H100, free_bytes=5 * GB), replace(H100, device="cuda:1")
    assert ways(gpu_machine(busy, idle), sizes)["bfloat16, GPU"].options == "--device cuda:1"
    small = [replace(SMALL, device=f"cuda:{index}") for index in range(4)]
    together = ways(gpu_machine(*small), sizes)["bfloat16, GPU"]
    assert together.verdict == "yes"
    assert "4 GPUs together" in together.why
    assert together.options == ""


def test_gpus_without_bfloat16_get_float16(sizes: Sizes) -> None:
    assert ways(gpu_machine(replace(H100, has_bfloat16=False)), sizes)["bfloat16, GPU"].options == "--dtype float16"


def test_apples_gpu_is_not_quantized_on(sizes: Sizes) -> None:
    found = machine(gpus=(Gpu("mps", "Apple GPU", 48 * GB, 48 * GB),), memory=Memory(64 * GB, None, None))
    found = replace(found, torch=replace(NO_GPU, gpu_problem=None))
    assert verdicts(found, sizes) == ["yes", "no", "no", "slow", "slow", "yes"]
    assert ways(found, sizes)["4 bit, GPU"].why == "bitsandbytes needs an NVIDIA GPU"
    assert "64.0 GB of RAM in all" in ways(found, sizes)["bfloat16, CPU"].why


def test_gpu_that_does_not_work_says_why(sizes: Sizes) -> None:
    broken = Gpu("cuda:0", "Tesla K80", None, None, problem="no kernel image is available")
    way = ways(gpu_machine(broken), sizes)["bfloat16, GPU"]
    assert (way.verdict, way.why) == ("no", "the GPU does not work: no kernel image is available")
    line = finding(gpu_machine(broken), "cuda:0")
    assert line.level == "problem"
    assert "Tesla K80 does not work" in line.text


def test_4_gb_of_ram_run_the_tiny_model_only(sizes: Sizes) -> None:
    assert verdicts(machine(memory=Memory(4 * GB, 3 * GB, None)), sizes) == ["no"] * 5 + ["yes"]


def test_unknown_memory_is_called_unknown(sizes: Sizes) -> None:
    found = machine(memory=Memory(None, None, None))
    way = ways(found, sizes)["bfloat16, CPU"]
    assert (way.verdict, way.num_frames) == ("slow", None)
    assert "does not tell its memory" in way.why
    assert finding(found, "RAM").text == "this system does not tell"


def test_nothing_runs_without_torch() -> None:
    core = tuple(Part(name, None, "No module named 'torch'") for name in ("torch", "bimba"))
    found = machine(core=(*core, *machine().core[1:-1]), torch=None, cache=None)
    assert {way.verdict for way in find_ways(found, None)} == {"no"}
    assert finding(found, "torch").fix == "pip install --force-reinstall torch"
    assert not found.runs_tiny_model
    assert ways(found, None)["tiny model"].why == "torch is missing or broken, see above"
