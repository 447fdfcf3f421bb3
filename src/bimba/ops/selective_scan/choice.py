"""A name and a device in, the implementation of the scan that will run out."""

import importlib
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Protocol, cast

import torch
from torch import Tensor

from bimba.errors import InputError
from bimba.ops.packages import why_unusable
from bimba.ops.selective_scan.arguments import ScanArguments, ScanGradients, ScanResult

logger = logging.getLogger(__name__)


class ScanModule(Protocol):
    """What the module of an implementation has."""

    def forward(self, arguments: ScanArguments, *, save_states: bool) -> ScanResult:
        """Scan."""

    def backward(
        self, arguments: ScanArguments, saved_states: Tensor, grad_y: Tensor, grad_state: Tensor
    ) -> ScanGradients:
        """Gradients of the arguments from those of y [B, Q, E] and of the final state [B, E, N]."""


@dataclass(frozen=True)
class Implementation:
    """One way to run the scan.

    Attributes:
        name: as users ask for it.
        summary: what it is, in a few words.
        obstacle: why it cannot run on tensors of a device, and what to do about it; None if it can.
    """

    name: str
    summary: str
    obstacle: Callable[[torch.device], tuple[str, str] | None]

    @property
    def module(self) -> ScanModule:
        """Imported on use: compilers take a while."""
        return cast("ScanModule", importlib.import_module(f"bimba.ops.selective_scan.{self.name}"))


def _no_obstacle(device: torch.device) -> None:
    """The reference runs wherever torch does."""


def _needs(package: str, fix: str) -> tuple[str, str] | None:
    problem = why_unusable(package)
    return None if problem is None else (f"needs {problem}", fix)


def _cpu_obstacle(device: torch.device) -> tuple[str, str] | None:
    if device.type != "cpu":
        return f"works on CPU tensors, and these are on {device}", "move them to the CPU, or ask for another one"
    return _needs("numba", "pip install --upgrade numba")


def _triton_obstacle(device: torch.device) -> tuple[str, str] | None:
    missing = _needs("triton", 'pip install "bimba[kernels]"')
    if missing is not None:
        return missing
    if device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        return (
            f"works on CUDA GPUs, and these tensors are on {device}",
            "move them to a GPU, or ask for another one (TRITON_INTERPRET=1 runs it on a CPU, for tests)",
        )
    return None


def _mamba_ssm_obstacle(device: torch.device) -> tuple[str, str] | None:
    missing = _needs("mamba_ssm", "pip install mamba-ssm (it needs a CUDA build of torch)")
    if missing is None and device.type != "cuda":
        return f"works on CUDA GPUs, and these tensors are on {device}", "move them to a GPU, or ask for another one"
    return missing


IMPLEMENTATIONS: Mapping[str, Implementation] = MappingProxyType(
    {
        each.name: each
        for each in (
            Implementation("reference", "the definition, a loop over time in plain PyTorch", _no_obstacle),
            Implementation("cpu", "compiled loops on all cores", _cpu_obstacle),
            Implementation("triton", "kernels for CUDA GPUs", _triton_obstacle),
            Implementation("mamba_ssm", "the kernels of the package mamba-ssm", _mamba_ssm_obstacle),
        )
    }
)
"""Every implementation by name."""

_BEST = {"cpu": "cpu", "cuda": "triton"}
"""What "auto" stands for on a type of device; the reference elsewhere."""


def preferred(device_type: str) -> Implementation:
    """What "auto" would like to run on a type of device ("cpu", "cuda", ...), whether it can or not."""
    return IMPLEMENTATIONS[_BEST.get(device_type, "reference")]


def check_name(name: str) -> None:
    """Refuse a name that is neither "auto" nor one of `IMPLEMENTATIONS`.

    Raises:
        ValueError: it is not.
    """
    if name != "auto" and name not in IMPLEMENTATIONS:
        raise ValueError(f"selective_scan implementation {name!r} is none of auto, {', '.join(IMPLEMENTATIONS)}.")


def choose(name: str, device: torch.device) -> Implementation:
    """The implementation that a name stands for on a device.

    Args:
        name: of `IMPLEMENTATIONS`, or "auto".
        device: of the tensors.

    Raises:
        ValueError: there is no such name.
        InputError: it cannot run there; the error says what to install or to do.
    """
    check_name(name)
    if name == "auto":
        return _automatic(device.type)
    chosen = IMPLEMENTATIONS[name]
    obstacle = chosen.obstacle(device)
    if obstacle is not None:
        raise InputError(f"the selective scan {name!r} {obstacle[0]}.", fix=f"{obstacle[1]}.")
    return chosen


@cache
def _automatic(device_type: str) -> Implementation:
    """The best for a type of device; says once which."""
    best = preferred(device_type)
    obstacle = best.obstacle(torch.device(device_type))
    if obstacle is not None:
        reference = IMPLEMENTATIONS["reference"]
        logger.warning(
            "selective scan on %s: %s, which is slow; %r %s (%s)", device_type, reference.summary, best.name, *obstacle
        )
        return reference
    logger.info("selective scan on %s: %s, %s", device_type, best.name, best.summary)
    return best
