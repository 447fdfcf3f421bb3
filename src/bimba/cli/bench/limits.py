"""A device in; what it can do at most out: bytes copied a second, exponentials taken a second, measured now.

A scan must read its inputs and write its outputs once, and it must take one exponential for each entry of each state.
Which of the two limits is reached first depends on N: a scan moves 12 bytes a channel and step in float32, and takes N
exponentials meanwhile.
"""

from dataclasses import dataclass

import torch

from bimba.cli.bench.rounds import Call, seconds_of
from bimba.cli.bench.sizes import ScanSize

_TRYING_SECONDS = 0.25
_FEWEST_TRIES = 5
_COPIED_BYTES = {"cpu": 2**28, "cuda": 2**30}
_ON_ALL_THREADS = 2**16
"""Exponentials a thread: input and output take 512 kB, the second-level cache of a core."""
_ON_ONE_THREAD = 2**14
"""As many as torch does not share out. On a machine that is busy elsewhere, one thread takes more than several do that
wait for each other."""
_ON_A_GPU = 2**22
_REPEATS = 4


@dataclass(frozen=True)
class Limits:
    """What a device can do.

    Attributes:
        bytes_per_second: read plus written, by a copy of a large tensor.
        exponentials_per_second: by torch.exp on a float32 tensor that fits into the caches, on all threads.
    """

    bytes_per_second: float
    exponentials_per_second: float

    def best_of(self, other: "Limits") -> "Limits":
        """The higher of two measurements: other programs only ever lower them."""
        return Limits(
            max(self.bytes_per_second, other.bytes_per_second),
            max(self.exponentials_per_second, other.exponentials_per_second),
        )


@dataclass(frozen=True)
class Needs:
    """What a pass over a sequence cannot do without.

    Attributes:
        num_bytes: that must move.
        num_exponentials: that must be taken.
    """

    num_bytes: int
    num_exponentials: int

    def shares(self, seconds: float, limits: Limits) -> tuple[float, float]:
        """Of the two limits, what was reached by taking so long."""
        return (
            self.num_bytes / seconds / limits.bytes_per_second,
            self.num_exponentials / seconds / limits.exponentials_per_second,
        )


def needs_of(size: ScanSize, itemsize: int, *, backward: bool) -> Needs:
    """What a scan needs: forward it reads x, dt, B and C and writes y.

    Backward it reads x, dt, B, C and the gradient of y, and writes four gradients. The decays are taken again there:
    keeping them would move N times the bytes.
    """
    shared = size.length * size.state_dim
    forward = 3 * size.num_values + 2 * shared
    both = forward + 5 * size.num_values + 4 * shared
    return Needs((both if backward else forward) * itemsize, size.num_states * (2 if backward else 1))


def measure_limits(device: torch.device) -> Limits:
    """Copy and take exponentials, several times; the best counts."""
    source = torch.ones(_COPIED_BYTES.get(device.type, 2**28) // 4, device=device)
    target = torch.empty_like(source)
    copying = _best_seconds(lambda: target.copy_(source), device)
    on_cpu = device.type == "cpu"
    counts = (_ON_ALL_THREADS * torch.get_num_threads(), _ON_ONE_THREAD) if on_cpu else (_ON_A_GPU,)
    return Limits(2 * source.nbytes / copying, max(_exponentials_per_second(count, device) for count in counts))


def _exponentials_per_second(count: int, device: torch.device) -> float:
    """By torch.exp on so many numbers, again and again."""
    exponents = torch.linspace(-8, 0, count, device=device)
    powers = torch.empty_like(exponents)

    def take_exponentials() -> None:
        for _ in range(_REPEATS):
            torch.exp(exponents, out=powers)

    return _REPEATS * count / _best_seconds(take_exponentials, device)


def _best_seconds(call: Call, device: torch.device) -> float:
    """The shortest of many tries: on a busy machine most of them wait for each other's threads."""
    tries: list[float] = []
    while len(tries) < _FEWEST_TRIES or sum(tries) < _TRYING_SECONDS:
        tries.append(seconds_of(call, device))
    return min(tries)
