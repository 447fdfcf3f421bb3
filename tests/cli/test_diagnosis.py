"""What `bimba doctor` finds: memory within limits, GPUs that work or not, broken packages, extras, the hub's cache."""

import importlib.metadata
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from machines import GB, finding, machine

from bimba.checkpoints.shipped import RELEASED
from bimba.cli.doctor import diagnosis, hardware
from bimba.cli.doctor.diagnosis import BASE, Extra, Part, Unmet
from bimba.cli.doctor.hardware import Gpu, Memory, read_memory


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The files of a system with 16 GiB, of which 12 are free."""
    write(tmp_path / "proc/meminfo", f"MemTotal: {16 * 2**20} kB\nMemFree: 1 kB\nMemAvailable: {12 * 2**20} kB\n\n")
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_memory_of_a_machine_without_limits(root: Path) -> None:
    assert read_memory(root) == Memory(16 * 2**30, 12 * 2**30, None)


def test_memory_within_a_control_group_of_version_2(root: Path) -> None:
    write(root / "proc/self/cgroup", "0::/outer/inner\n")
    write(root / "sys/fs/cgroup/outer/inner/memory.max", "max\n")
    write(root / "sys/fs/cgroup/outer/inner/memory.current", "5\n")
    assert read_memory(root).container_bytes is None
    write(root / "sys/fs/cgroup/outer/memory.max", f"{4 * 2**30}\n")
    write(root / "sys/fs/cgroup/outer/memory.current", f"{3 * 2**30}\n")
    write(root / "sys/fs/cgroup/outer/memory.stat", f"anon 1\ninactive_file {2**30}\n")
    assert read_memory(root) == Memory(16 * 2**30, 2 * 2**30, 4 * 2**30)


@pytest.mark.parametrize("path", ["/", "/docker/0123"], ids=["own namespace", "path of the host"])
def test_memory_within_a_control_group_of_version_1(root: Path, path: str) -> None:
    write(root / "proc/self/cgroup", f"9:name=systemd:/\n4:cpu,memory:{path}\n3:cpuset:/\n")
    write(root / "sys/fs/cgroup/memory/memory.limit_in_bytes", f"{4 * 2**30}")
    write(root / "sys/fs/cgroup/memory/memory.usage_in_bytes", f"{2**30}")
    assert read_memory(root) == Memory(16 * 2**30, 3 * 2**30, 4 * 2**30)
    write(root / "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712")
    assert read_memory(root).container_bytes is None


def test_memory_of_a_system_without_proc(tmp_path: Path) -> None:
    memory = read_memory(tmp_path)
    assert memory.free_bytes is None
    assert memory.total_bytes is None or memory.total_bytes > 0


def test_nvidia_hardware_is_seen_without_a_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    devices = tmp_path / "sys/bus/pci/devices"
    for address, vendor, kind in (("00:1", "0x8086", "0x030000"), ("00:2", "0x10de", "0x040300")):
        write(devices / address / "vendor", f"{vendor}\n")
        write(devices / address / "class", f"{kind}\n")
    assert not hardware.has_nvidia_gpu(tmp_path), "a GPU of Intel, and the sound of NVIDIA"
    write(devices / "00:2/class", "0x030200\n")
    assert hardware.has_nvidia_gpu(tmp_path)
    assert not hardware.has_nvidia_gpu(tmp_path / "nowhere")
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    assert hardware.has_nvidia_gpu(tmp_path / "nowhere")


def test_reason_of_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert diagnosis._why_no_gpu("CPU") == "this torch is a CPU build"

    def refuse() -> None:
        raise RuntimeError("Found no NVIDIA driver on your system.\nMore words.")

    monkeypatch.setattr(torch.cuda, "init", refuse)
    assert diagnosis._why_no_gpu("CUDA") == "Found no NVIDIA driver on your system."
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    assert diagnosis._why_no_gpu("CUDA") == "the driver lists no GPU"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert diagnosis._why_no_gpu("CUDA") == "CUDA_VISIBLE_DEVICES is ''"


def test_gpus_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    ones = torch.ones
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA T4")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (15 * GB, 16 * GB))
    monkeypatch.setattr(torch, "ones", lambda *shape, **_: ones(*shape))
    assert hardware.find_gpus() == (Gpu("cuda:0", "NVIDIA T4", 16 * GB, 15 * GB, has_bfloat16=False),)

    def fail(*_: int, device: str) -> None:
        raise RuntimeError(f"CUDA error: no kernel image is available for {device}\nCompile with ...")

    monkeypatch.setattr(torch, "ones", fail)
    (gpu,) = hardware.find_gpus()
    assert gpu.problem == "CUDA error: no kernel image is available for cuda:0"
    assert gpu.name == "NVIDIA T4"


def test_apples_gpu_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 48 * GB)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: GB)
    assert hardware.find_gpus() == (Gpu("mps", "Apple GPU", 48 * GB, 47 * GB),)


def test_packages_that_cannot_be_imported_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "half_installed.py", "import a_part_that_is_not_there")
    write(
        tmp_path / "without_library.py",
        "try:\n    raise OSError('libfoo.so: cannot open')\nexcept OSError as error:\n"
        "    raise RuntimeError('Could not load it:\\n  1. ...') from error\n",
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert diagnosis.try_part("rich", "rich").problem is None
    assert diagnosis.try_part("nowhere", "nowhere.to_be_found") == Part("nowhere", None, diagnosis.ABSENT)
    assert (
        diagnosis.try_part("half_installed", "half_installed").problem == "No module named 'a_part_that_is_not_there'"
    )
    broken = diagnosis.try_part("without_library", "without_library")
    assert broken.problem == "Could not load it: libfoo.so: cannot open"
    assert broken.is_installed
    assert hardware.reason_of(ValueError()) == "ValueError"


def test_extras_come_from_the_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    class Metadata:
        metadata = SimpleNamespace(get_all=lambda _: ["gpu", "docs"])
        requires = (
            "rich>=1",
            "no-such-package>=2",
            "no-such-backport; python_version > '3'",
            "rich>=9999; extra == 'docs'",
            "no-such-gpu; sys_platform == 'nowhere' and extra == 'gpu'",
        )

    real = importlib.metadata.distribution
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: Metadata if name == "bimba" else real(name))
    core, docs, gpu = diagnosis.read_extras()
    assert [package.name for package in core.unmet] == ["no-such-package", "no-such-backport"]
    assert docs.unmet == (Unmet("rich", ">=9999", importlib.metadata.version("rich")),)
    assert docs.command == "pip install 'bimba[docs]'"
    assert gpu == Extra("gpu", (), "pip install 'bimba[gpu]'")

    def absent(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", absent)
    assert diagnosis.read_extras() == ()


def test_every_core_package_of_the_metadata_is_tried() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    wanted = {line.split(">")[0].strip() for line in project["dependencies"]}
    assert wanted - {"typer", "rich", "numba"} == diagnosis.CORE.keys() - {"bimba"}, (
        "the command itself needs two, and without numba the scan is slow, which is a finding of its own"
    )


def test_cache_is_looked_into(pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = tmp_path / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(hub))
    empty = diagnosis.look_into_cache(can_check=True)
    assert empty.present == {RELEASED: False, BASE: False}
    assert not empty.is_complete
    assert empty.free_bytes is not None
    for name, source in ((RELEASED, "tiny_lora"), (BASE, "tiny_base")):
        folder = hub / f"models--{name.replace('/', '--')}"
        write(folder / "refs/main", "0123")
        (folder / "snapshots").mkdir()
        (pair / source).rename(folder / "snapshots/0123")
    complete = diagnosis.look_into_cache(can_check=True)
    assert complete.is_complete
    assert finding(machine(cache=complete), "released model").text == f"in the cache: {RELEASED}, {BASE}"
    next(hub.rglob("model*.safetensors")).unlink()
    partial = diagnosis.look_into_cache(can_check=True)
    assert partial.present == {RELEASED: True, BASE: True}
    line = finding(machine(cache=partial), "released model")
    assert line.level == "problem"
    assert "lacks model" in line.text
    assert line.fix == f"hf download {RELEASED} && hf download {BASE}"
