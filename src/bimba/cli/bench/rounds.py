"""Calls that do the same in, the seconds that each took out; they take turns, so that a busy minute hits all alike."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

import torch

from bimba.cli.progress import Report

Call = Callable[[], object]

_FIRST_STEPS, _MOST_STEPS = 32, 256
_SHARE_OF_PATIENCE = 20
_SHORT_SECONDS = 0.5
"""Calls that take less are made twice, and the second one counts: the first finds the caches of another contender, a
processor that is slow to wake, and threads of OpenMP that stay awake for some milliseconds after their work."""


@dataclass(frozen=True)
class Timing:
    """Seconds of one contender, a value a round."""

    seconds: tuple[float, ...]

    @property
    def median_seconds(self) -> float:
        """What is compared."""
        return median(self.seconds)

    @property
    def best_seconds(self) -> float:
        """What the machine can do when nobody else wants it."""
        return min(self.seconds)


def seconds_of(call: Call, device: torch.device) -> float:
    """Time of one call; on a GPU from its first kernel to its last, by the GPU's own clock."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record(torch.cuda.current_stream(device))
        result = call()
        end.record(torch.cuda.current_stream(device))
        torch.cuda.synchronize(device)
        del result
        milliseconds: float = start.elapsed_time(end)
        return milliseconds / 1000
    begun = time.perf_counter()
    result = call()
    if device.type == "mps":
        torch.mps.synchronize()
    seconds = time.perf_counter() - begun
    del result  # freeing it is not part of the work
    return seconds


def take_turns(calls: Mapping[str, Call], rounds: int, device: torch.device, report: Report) -> dict[str, Timing]:
    """Every call once a round, each round beginning with another one.

    Args:
        calls: by name, all warmed up.
        rounds: at least 1.
        device: on which they compute.
        report: told of "rounds".
    """
    names = list(calls)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        first = number % max(len(names), 1)
        for place, name in enumerate(names[first:] + names[:first]):
            taken = seconds_of(calls[name], device)
            seconds[name].append(seconds_of(calls[name], device) if taken < _SHORT_SECONDS else taken)
            report("rounds", number * len(names) + place + 1, rounds * len(names))
    return {name: Timing(tuple(values)) for name, values in seconds.items()}


def predict_seconds(
    call_on: Callable[[int], Call], length: int, patience: float, device: torch.device, *, power: int
) -> float:
    """How long a whole sequence will take, from its first steps; 0 if it is too short to matter.

    Some contenders take four times as long for twice the steps, so that time is measured at growing lengths and goes
    on growing as it did between the last two.

    Args:
        call_on: makes the call for the first steps of the sequence.
        length: L.
        patience: seconds; measuring stops early where a twentieth of it is exceeded.
        device: of the tensors.
        power: of the length, with which the time may grow at most; noise may seem to be more.
    """
    steps = _FIRST_STEPS
    if length <= 2 * steps:
        return 0.0

    def measured(steps: int) -> float:
        return min(seconds_of(call_on(steps), device) for _ in range(2))

    seconds_of(call_on(steps), device)  # compiles
    before, now = 0.0, measured(steps)
    while 2 * steps <= min(_MOST_STEPS, length) and now < patience / _SHARE_OF_PATIENCE:
        steps *= 2
        before, now = now, measured(steps)
    growth = min(max(now / before, 2.0), 2.0**power) if before else 2.0
    return now * math.pow(length / steps, math.log2(growth))
