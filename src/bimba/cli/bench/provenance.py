"""Nothing in; what a number was measured on out: hardware, threads, versions."""

import os
import platform
from datetime import UTC, datetime
from typing import Any

import torch

from bimba.cli.doctor.hardware import read_memory
from bimba.provenance import installed_version, processor

__all__ = ["LIBRARIES", "in_words", "load", "processor", "provenance", "warning"]

LIBRARIES = ("bimba", "torch", "numba", "triton", "transformers", "mambapy", "mamba-ssm")
"""Whose code is measured."""

_BUSY = 0.5
"""Load a core from which on other programs are in the way."""


def provenance(device: torch.device) -> dict[str, Any]:
    """Everything that a reader needs to judge a number; None for what is not there or not told."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": processor(),
        "num_cores": os.cpu_count(),
        "num_threads": torch.get_num_threads(),
        "load": load(),
        "memory_bytes": read_memory().total_bytes,
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "cuda": torch.version.cuda,
        "versions": {name: installed_version(name) for name in LIBRARIES},
    }


def load() -> float | None:
    """Programs that wanted a core during the last minute; None where the system does not tell."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def warning(facts: dict[str, Any]) -> str | None:
    """What to say if other programs were busy when measuring began."""
    wanted, cores = facts["load"], facts["num_cores"] or 1
    if wanted is None or wanted <= _BUSY * cores or facts["num_threads"] == 1:
        return None
    return (
        f"Other programs were busy when this began (load {wanted:g} on {cores} cores). Then torch's threads wait for "
        "each other, some contenders suffer more than others, and the ratios say little: measure again on a quiet "
        "machine, or with OMP_NUM_THREADS=1."
    )


def in_words(facts: dict[str, Any]) -> str:
    """One line for people."""
    versions = (f"{name} {number}" for name, number in facts["versions"].items() if number is not None)
    threads = f"{facts['num_threads']} of {facts['num_cores']} threads"
    parts = [facts["gpu"], f"{facts['processor']} ({threads})", facts["system"], f"Python {facts['python']}", *versions]
    return ", ".join(part for part in parts if part)
