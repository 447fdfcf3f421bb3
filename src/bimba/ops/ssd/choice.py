"""A name and a device in, the forward pass of Mamba-2's scan that will run out."""

import logging
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Protocol

import torch

from bimba.errors import InputError
from bimba.ops.packages import why_unusable
from bimba.ops.ssd import chunked, cpu
from bimba.ops.ssd.arguments import SSDArguments
from bimba.ops.ssd.chunked import SSDResult

logger = logging.getLogger(__name__)

IMPLEMENTATIONS: Mapping[str, str] = MappingProxyType(
    {
        "reference": "the definition, a loop over time in plain PyTorch, which keeps all states for its gradients",
        "chunked": "matrix products within chunks, a state between them, in plain PyTorch",
        "cpu": "compiled loops on all cores, with the gradients of chunked",
    }
)
"""What each implementation is, by name. "auto" is "cpu" on CPUs, "chunked" elsewhere; others run where torch does."""


class Forward(Protocol):
    """How an implementation is called that shares the backward pass of `chunked`."""

    def __call__(self, arguments: SSDArguments, *, save_states: bool) -> SSDResult:
        """Scan."""


def check_name(name: str) -> None:
    """Refuse a name that is neither "auto" nor one of `IMPLEMENTATIONS`.

    Raises:
        ValueError: it is not.
    """
    if name != "auto" and name not in IMPLEMENTATIONS:
        raise ValueError(f"ssd implementation {name!r} is none of auto, {', '.join(IMPLEMENTATIONS)}.")


def choose(name: str, device: torch.device) -> Forward:
    """The forward pass that a name stands for on a device.

    Args:
        name: "auto", "chunked" or "cpu".
        device: of the tensors.

    Raises:
        InputError: it cannot run there; the error says what to install or to do.
    """
    if name == "auto":
        return cpu.forward if device.type == "cpu" and _compiles() else chunked.forward
    if name == "chunked":
        return chunked.forward
    if device.type != "cpu":
        raise InputError(
            f"the implementation 'cpu' of ssd works on CPU tensors, and these are on {device}.",
            fix="move them to the CPU, or ask for another one.",
        )
    problem = why_unusable("numba")
    if problem is not None:
        raise InputError(f"the implementation 'cpu' of ssd needs {problem}.", fix="pip install --upgrade numba.")
    return cpu.forward


@cache
def _compiles() -> bool:
    """Whether "auto" can be "cpu" on CPUs; says once if not."""
    problem = why_unusable("numba")
    if problem is not None:
        logger.warning("ssd on cpu: %s, which is slower; 'cpu' needs %s", IMPLEMENTATIONS["chunked"], problem)
    return problem is None
