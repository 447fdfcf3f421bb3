"""Names of a device and a dtype in, what to compute on and what memory is free there out."""

import torch

from bimba.cli.doctor.hardware import read_memory
from bimba.cli.units import in_bytes
from bimba.errors import InputError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

_SHARE_OF_FREE = 0.8
"""Estimates may be wrong, and other programs want memory, too."""


def device_named(name: str) -> torch.device:
    """The device of a name; of "auto" the best there is.

    Raises:
        InputError: there is none of that name.
    """
    if name == "auto":
        from bimba.checkpoints.loading import best_device

        return best_device()
    fix = "use auto, cpu, cuda, cuda:N or mps."
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {name!r} cannot be used: {str(error).splitlines()[0][:200]}", fix=fix) from error
    if device.type == "meta":
        raise InputError("device 'meta' computes nothing.", fix=fix)
    return device


def dtype_named(name: str) -> torch.dtype:
    """The dtype of a name.

    Raises:
        InputError: it is not one of those that are measured.
    """
    if name not in DTYPES:
        raise InputError(f"--dtype {name!r} is not measured.", fix=f"take {', '.join(DTYPES)}.")
    return DTYPES[name]


def check_numbers(rounds: int, patience: float) -> None:
    """Refuse what leaves nothing to be measured.

    Raises:
        InputError: a number is too small.
    """
    if rounds < 1:
        raise InputError(f"--rounds is {rounds}.", fix="take at least one round.")
    if not patience > 0:
        raise InputError(f"--patience is {patience:g} seconds.", fix="take more than 0, e.g. --patience 60.")


def free_bytes(device: torch.device) -> int | None:
    """Memory to be had on a device; None where nobody tells."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        return torch.cuda.mem_get_info(device)[0]
    return read_memory().free_bytes if device.type == "cpu" else None


def why_too_large(needed: float, device: torch.device, *, estimated: str = "about ") -> str | None:
    """Why so many bytes are not asked for; None if they leave room on the device."""
    free = free_bytes(device)
    if free is None or needed <= _SHARE_OF_FREE * free:
        return None
    return f"needs {estimated}{in_bytes(needed)} of memory, and {in_bytes(free)} are free"


def tolerance(dtype: torch.dtype) -> float:
    """How far a result may be off, relative to the largest value of the true one."""
    return max(1e-4, 8 * torch.finfo(dtype).eps)


def relative_difference(result: torch.Tensor, truth: torch.Tensor) -> float:
    """Largest difference over largest true value; infinite if something is not finite, or of another shape."""
    if result.shape != truth.shape:
        return float("inf")
    difference = (result.to(truth.dtype) - truth).abs().max() / truth.abs().max()
    return difference.item() if difference.isfinite() else float("inf")
