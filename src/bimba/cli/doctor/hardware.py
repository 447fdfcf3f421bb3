"""Nothing in; what this machine has in hardware out: GPUs that work or the reason why not, RAM, speed of the CPU."""

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median


@dataclass(frozen=True)
class Gpu:
    """A GPU that torch lists.

    Attributes:
        device: as `--device` takes it.
        total_bytes: of its memory; None if it could not be asked.
        free_bytes: of that, now.
        has_bfloat16: computes in bfloat16 without emulating it.
        problem: what a small computation on it failed with; None if it went well.
    """

    device: str
    name: str
    total_bytes: int | None
    free_bytes: int | None
    has_bfloat16: bool = True
    problem: str | None = None


@dataclass(frozen=True)
class Memory:
    """RAM; None for what the system does not tell.

    Attributes:
        total_bytes: of the machine.
        free_bytes: to be had now, within the container's limit.
        container_bytes: the container's limit, if it is lower than the machine's memory.
    """

    total_bytes: int | None
    free_bytes: int | None
    container_bytes: int | None


def reason_of(error: BaseException) -> str:
    """The first line of an error, and of what led to it."""
    root = error
    while root.__cause__ is not None:
        root = root.__cause__
    lines = [str(cause).strip().splitlines()[:1] for cause in dict.fromkeys((error, root))]
    words = [line[0].strip().rstrip(":")[:160] for line in lines if line]
    return ": ".join(dict.fromkeys(words)) or type(error).__name__


def measure_block(dtype: str, rows: int = 256, width: int = 3584) -> float:
    """Operations a second of a gated block on the CPU: three products and what is between them, as in a real layer.

    A product alone would promise too much: from the cache of the processor it ran five times as fast as a layer of
    the released model.

    Args:
        dtype: name of a dtype of torch.
        rows: tokens that go through it.
        width: of the block; that of the released language model.

    Returns:
        the median of three tries, or of those that half a second allows.
    """
    import torch
    from torch.nn.functional import linear, silu

    gate, up, down = (torch.ones(width, width, dtype=getattr(torch, dtype)) for _ in range(3))
    tokens = torch.ones(rows, width, dtype=getattr(torch, dtype))
    linear(tokens[:8], gate)  # the first product of all prepares the library
    tries: list[float] = []
    while sum(tries) < 0.5 and len(tries) < 3:
        start = time.perf_counter()
        linear(silu(linear(tokens, gate)) * linear(tokens, up), down)
        tries.append(time.perf_counter() - start)
    return 3 * 2 * rows * width**2 / median(tries)


def has_nvidia_gpu(root: Path = Path("/")) -> bool:
    """Whether the system shows a GPU of NVIDIA, or its driver."""
    if shutil.which("nvidia-smi") or (root / "dev/nvidia0").exists():
        return True
    for device in (root / "sys/bus/pci/devices").glob("*"):
        is_nvidia = _read(device / "vendor").strip() == "0x10de"
        if is_nvidia and _read(device / "class").startswith("0x03"):  # displays and 3D controllers
            return True
    return False


def find_gpus() -> tuple[Gpu, ...]:
    """GPUs that a model can be put on, each tried with a small product."""
    import torch

    if torch.backends.mps.is_available():
        total = torch.mps.recommended_max_memory()
        return (Gpu("mps", "Apple GPU", total, total - torch.mps.driver_allocated_memory()),)
    return tuple(_try_gpu(index) for index in range(torch.cuda.device_count()))


def _try_gpu(index: int) -> Gpu:
    import torch

    device, name = f"cuda:{index}", f"GPU {index}"
    try:
        name = torch.cuda.get_device_name(index)
        free, total = torch.cuda.mem_get_info(index)
        ones = torch.ones(16, 16, device=device)
        float((ones @ ones).sum())
        has_bfloat16 = torch.cuda.get_device_capability(index)[0] >= 8  # since Ampere
    except (RuntimeError, AssertionError) as error:
        return Gpu(device, name, None, None, problem=reason_of(error))
    return Gpu(device, name, total, free, has_bfloat16)


def read_memory(root: Path = Path("/")) -> Memory:
    """RAM of the machine and what of it can be had, within the limits of control groups (version 1 and 2)."""
    lines = (line.split() for line in _read(root / "proc/meminfo").splitlines())
    known = {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if len(words) > 1}
    total, free = known.get("MemTotal"), known.get("MemAvailable")
    if total is None and hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limits = [(limit, used) for limit, used in _group_limits(root) if total is None or limit < total]
    container = min((limit for limit, _ in limits), default=None)
    rooms = [max(limit - used, 0) for limit, used in limits] + ([] if free is None else [free])
    return Memory(total, min(rooms, default=None), container)


def _group_limits(root: Path) -> Iterator[tuple[int, int]]:
    """Limit and use, in bytes, of the control groups that this process is in and of those around them."""
    mount = root / "sys/fs/cgroup"
    for line in _read(root / "proc/self/cgroup").splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0":
            top, limit_name, use_name, cached_name = mount, "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            top, limit_name, use_name = mount / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
            cached_name = "total_inactive_file"
        else:
            continue
        group = top / path.lstrip("/")
        for folder in (group, *(parent for parent in group.parents if parent.is_relative_to(top))):
            limit, used = _read(folder / limit_name).strip(), _read(folder / use_name).strip()
            if limit.isdigit() and used.isdigit():  # "max" means none
                counts = dict(entry.split(maxsplit=1) for entry in _read(folder / "memory.stat").splitlines())
                yield int(limit), max(int(used) - int(counts.get(cached_name, 0)), 0)


def _read(path: Path) -> str:
    """A small file of the system; empty if it is not there or not for us."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
