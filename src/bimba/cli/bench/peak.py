"""One call of the compressor's block in; the most memory that it needs above weights, inputs and result out.

On a CPU that is the memory of a process, so each call gets one of its own: `python -m bimba.cli.bench.peak JSON`.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from bimba.cli.bench.block import CALLS, Block, first_frames, make_block
from bimba.cli.bench.machine import dtype_named
from bimba.cli.bench.sizes import CompressSize
from bimba.errors import BimbaError

_STATUS = Path("/proc/self/status")
_SMALLEST_GROUPS, _SMALLEST_SIDE = 1, 8


class PeakError(BimbaError):
    """The process that was to be measured did not finish."""


@dataclass(frozen=True)
class Once:
    """One call.

    Attributes:
        peak_bytes: above weights, inputs and result; None where it cannot be measured.
        seconds: that it took.
    """

    peak_bytes: int | None
    seconds: float


def measure_once(name: str, size: CompressSize, device: torch.device, dtype: str, longest: float) -> Once:
    """Call once, in a process of its own if the device is a CPU.

    Args:
        name: of `CALLS`.
        size: of the compressor.
        device: to compute on.
        dtype: name of a dtype.
        longest: seconds after which the process is stopped.

    Raises:
        PeakError: the process failed, was killed for its memory, or took too long.
    """
    if device.type != "cpu":
        return _on_gpu(name, make_block(size, device, dtype_named(dtype)))
    order = json.dumps({"name": name, "size": asdict(size), "dtype": dtype, "threads": torch.get_num_threads()})
    command = [sys.executable, "-m", "bimba.cli.bench.peak", order]
    fix = "take a smaller --size, or a larger --patience."
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=longest)  # noqa: S603
    except subprocess.TimeoutExpired as error:
        raise PeakError(f"its process did not finish within {longest:.0f} s", fix=fix) from error
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise PeakError(f"its process failed: {last[0][:200]}", fix=fix)
    return Once(**json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Do what the first argument says, and print what it took as JSON."""
    order = json.loads(sys.argv[1])
    torch.set_num_threads(order["threads"])
    _volunteer()
    values = order["size"]
    size = CompressSize(values["name"], tuple(values["grid"]), values["dim"], tuple(values["pool"]))
    call = CALLS[order["name"]]
    block = make_block(size, torch.device("cpu"), dtype_named(order["dtype"]))
    with torch.no_grad():
        # Compiled code and the libraries' buffers are not what is measured.
        small = block.with_part(first_frames(size, _SMALLEST_GROUPS, most_patches=_SMALLEST_SIDE))
        call(small)
        before = begin_peak()
        begun = time.perf_counter()
        result = call(block)
        seconds = time.perf_counter() - begun
    peak = peak_bytes()
    above = None if before is None or peak is None else max(peak - before - result.nbytes, 0)
    print(json.dumps(asdict(Once(above, seconds))))


def _on_gpu(name: str, block: Block) -> Once:
    """By the GPU's own bookkeeping."""
    device = block.tokens.device
    on_cuda = device.type == "cuda"
    if on_cuda:
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device) if on_cuda else 0
    begun = time.perf_counter()
    with torch.no_grad():
        result = CALLS[name](block)
    float(result[0, 0, 0])  # waits
    seconds = time.perf_counter() - begun
    return Once(torch.cuda.max_memory_allocated(device) - before - result.nbytes if on_cuda else None, seconds)


def _volunteer() -> None:
    """If memory runs out, this process shall be the one that ends."""
    score = Path("/proc/self/oom_score_adj")
    if score.exists() and os.access(score, os.W_OK):
        score.write_text("1000")


def begin_peak() -> int | None:
    """Memory in use now, from where on the most is counted."""
    try:
        Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    except OSError:
        return peak_bytes()
    return status_bytes("VmRSS")


def peak_bytes() -> int | None:
    """The most memory so far."""
    peak = status_bytes("VmHWM")
    if peak is not None or sys.platform == "win32":
        return peak
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def status_bytes(key: str) -> int | None:
    """An entry of the system's record of this process, such as "VmRSS"; None where there is no such record."""
    if not _STATUS.exists():
        return None
    found = (line.split()[1] for line in _STATUS.read_text().splitlines() if line.startswith(f"{key}:"))
    value = next(found, None)
    return None if value is None else int(value) * 1024


if __name__ == "__main__":
    main()
