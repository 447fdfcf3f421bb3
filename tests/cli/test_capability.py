"""What can run on machines that are made up: each way of loading a model, its verdict and its reason."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from machines import GB, H100, NO_GPU, SMALL, finding, gpu_machine, machine, with_parts

from bimba.checkpoints import loading
from bimba.checkpoints.outline import ModelOutline, read_outline
from bimba.checkpoints.shipped import RELEASED, RELEASED_VAMBA
from bimba.cli.doctor.capability import Way, find_ways
from bimba.cli.doctor.diagnosis import Machine, Part
from bimba.cli.doctor.hardware import Gpu, Memory
from bimba.cli.doctor.sizes import (
    FRAME_SIZE,
    KEPT_WIDE,
    Sizes,
    VambaSizes,
    named_sizes,
    released_patches,
    released_sizes,
    sizes_of,
)
from bimba.inference import VideoQA
from bimba.models.bimba.configuration import BimbaConfig
from bimba.models.bimba.tiny import tiny_config
from bimba.models.vamba.processing import VambaProcessor
from vamba_model import save_tiny_vamba


@pytest.fixture(scope="module")
def sizes() -> Sizes:
    return released_sizes()


@pytest.fixture(scope="module")
def vamba() -> Sizes:
    return named_sizes(RELEASED_VAMBA, None)


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
    assert tuple(config.llm_int8_skip_modules) == KEPT_WIDE


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


def test_released_models_are_counted_without_a_download(vamba: Sizes, sizes: Sizes) -> None:
    assert vamba.num_parameters == 11_309_837_020  # as instantiated by the public code
    assert (vamba.name, vamba.dtype, vamba.num_frames) == (RELEASED_VAMBA, "bfloat16", 1024)
    assert named_sizes(RELEASED, None) == sizes


def test_quantization_of_a_vamba_leaves_mixers_head_and_tower_alone(vamba: Sizes) -> None:
    assert isinstance(vamba, VambaSizes)
    text = vamba.config.text_config
    width, kept = text.hidden_size, 2 * text.hidden_size * 4 * 128  # projections to keys and values
    attention = 2 * width**2 + kept
    assert vamba.num_quantized == 28 * (2 * attention + 3 * width * text.intermediate_size)
    assert vamba.weight_bytes("8bit") == 2 * vamba.num_parameters - vamba.num_quantized


def test_frames_of_the_released_vamba_become_patches_as_its_processor_has_it(golden: Path, vamba: Sizes) -> None:
    released = VambaProcessor.from_pretrained(golden / "vamba" / "config_a_default")
    assert released_patches() == VambaProcessor(released.tokenizer).patch_settings
    assert isinstance(vamba, VambaSizes)
    tokens = VambaProcessor(released.tokenizer).tokens_of(1024, FRAME_SIZE)
    kept = 2 * 28 * 4 * 128 * 2 * tokens
    assert vamba.memory(1024, 2).kept == kept
    assert vamba.room_for(1024, "bfloat16") > kept > vamba.room_for(1024, "bfloat16", 8)


def test_an_80_gb_gpu_takes_an_hour_and_a_24_gb_gpu_does_not(vamba: Sizes) -> None:
    large = ways(gpu_machine(H100, memory=Memory(256 * GB, 200 * GB, None)), vamba)
    assert large["bfloat16, GPU"].why == "all 1,024 frames fit in the 84.0 GB free on NVIDIA H100 80GB HBM3"
    assert large["bfloat16, CPU"].first_token_seconds == pytest.approx(vamba.operations(1024) / 1e11)
    small = ways(gpu_machine(replace(SMALL, free_bytes=24 * GB)), vamba)["bfloat16, GPU"]
    assert small.num_frames is not None
    assert 0 < small.num_frames < 1024
    assert small.why.startswith(f"about {small.num_frames} of 1,024 frames fit")
    assert small.fix == f"--frames {small.num_frames}"


def test_work_of_a_vamba_grows_with_its_frames_alone(vamba: Sizes) -> None:
    short, long = vamba.operations(64), vamba.operations(1024)
    assert 15 < long / short < 16  # but for the text's own, in proportion


def test_gpus_share_out_what_is_kept_of_a_video(vamba: Sizes) -> None:
    four = [replace(SMALL, device=f"cuda:{index}") for index in range(4)]
    together = ways(gpu_machine(*four), vamba)["bfloat16, GPU"]
    assert together.verdict == "yes"
    assert "4 GPUs together" in together.why
    free = 12 * GB + vamba.weight_bytes("bfloat16") * 3 / 4
    assert together.num_frames == vamba.num_frames_in(free, "bfloat16", 4)
    assert together.num_frames > vamba.num_frames_in(free, "bfloat16")


def test_folders_of_both_kinds_are_counted(tiny: VideoQA, model: Path, golden: Path, tmp_path: Path) -> None:
    ours = named_sizes(str(model), None)
    assert (ours.num_parameters, ours.dtype) == (tiny.model.num_parameters(), "float32")
    (folder := save_tiny_vamba(golden, tmp_path / "vamba")).joinpath("model.safetensors").unlink()
    counted = named_sizes(str(folder), None)
    assert counted.num_parameters == read_outline(folder).num_parameters
    found = machine(memory=Memory(128 * GB, 120 * GB, None))
    for sizes in (ours, counted):
        stored, other = (ways(found, sizes)[f"{dtype}, CPU"] for dtype in ("float32", "bfloat16"))
        assert (stored.options, other.options) == ("", "--dtype bfloat16")
        assert stored.num_frames == sizes.num_frames
        assert ways(gpu_machine(H100), sizes)["4 bit, GPU"].options == "--quantization 4bit --dtype bfloat16"


@pytest.mark.parametrize(
    "settings",
    [
        {"temporal_pooling": 4},
        {"compressor": {"type": "selective_scan", "queries": "learned", "learned_grid": [2, 3, 3]}},
        {"vision_config": {"model_type": "convnextv2", "num_stages": 2, "hidden_sizes": [8, 16], "depths": [1, 1],
                           "patch_size": 4, "image_size": 32}},
        {"text_config": {"model_type": "gpt2", "n_layer": 2, "n_embd": 64, "n_head": 4, "vocab_size": 320}},
    ],
    ids=["pooled", "learned", "convnext", "gpt2"],
)  # fmt: skip
def test_every_kind_of_bimba_is_counted(settings: dict[str, Any]) -> None:
    config = BimbaConfig.from_dict(tiny_config(vocab_size=320).to_dict() | settings)
    sizes = sizes_of("mine", ModelOutline(config, None, torch.float32))
    assert sizes.operations(64) > sizes.operations(8) > 0
    assert sizes.num_frames_in(4 * GB, "float32") == 64
    assert sizes.num_frames_in(sizes.weight_bytes("float32") + 1, "float32") == 0
