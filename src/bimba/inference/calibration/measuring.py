"""Work in, its seconds out, and those of some layers by themselves; short work is repeated with more."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from bimba.models.stages import Stage

Clock = Callable[[], float]
"""Seconds since some moment."""

WALL_CLOCK: Clock = time.perf_counter

LONG_ENOUGH_SECONDS = 1.0
"""A measurement that takes so long is not repeated with more."""


class Timed:
    """Takes the time, and that of some layers by themselves; on a GPU it waits until the work is done.

    Args:
        layers: by name, those whose time is added up.
        device: where they are.
        clock: what the time is taken from.

    Attributes:
        seconds: that the layers took so far, by name.
    """

    def __init__(self, layers: Mapping[str, Sequence[nn.Module]], device: torch.device, clock: Clock) -> None:
        self._layers, self._device, self._clock = layers, device, clock
        self._hooks: list[Any] = []
        self.seconds = dict.fromkeys(layers, 0.0)

    def __enter__(self) -> "Timed":
        for name, layers in self._layers.items():
            for layer in layers:
                self._hooks += self._hooked(name, layer)
        return self

    def __exit__(self, *reason: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def now(self) -> float:
        """The time when all work so far is done."""
        if self._device.type != "cpu":
            torch.accelerator.synchronize(self._device)
        return self._clock()

    @contextmanager
    def counting(self, *stages: str) -> Iterator[tuple[dict[str, float], Stage]]:
        """The seconds of stages, and of the layers (named "... layer"), in a block.

        Yields:
            what becomes their seconds, and what is called with the name of a stage and holds its work.
        """
        seconds, before = dict.fromkeys(stages, 0.0), dict(self.seconds)

        @contextmanager
        def stage(name: str) -> Iterator[None]:
            begun = self.now()
            yield
            seconds[name] += self.now() - begun

        yield seconds, stage
        seconds |= {f"{name} layer": self.seconds[name] - before[name] for name in before}

    def _hooked(self, name: str, layer: nn.Module) -> tuple[Any, Any]:
        begun = [0.0]

        def begin(*_: object) -> None:
            begun[0] = self.now()

        def end(*_: object) -> None:
            self.seconds[name] += self.now() - begun[0]

        return layer.register_forward_pre_hook(begin), layer.register_forward_hook(end)


def repeated(
    measure: Callable[[int], dict[str, float]], fewest: int, most: int, timed: Timed
) -> tuple[int, dict[str, float]]:
    """Measure with more and more, until it takes long enough or is all that there is; then the middle of three."""
    measure(fewest)  # the first time is slower: kernels are compiled, memory is found
    size = fewest
    while True:
        begun = timed.now()
        seconds = measure(size)
        is_long = timed.now() - begun >= LONG_ENOUGH_SECONDS
        if is_long or size >= most:
            break
        size = min(2 * size, most)
    if is_long:
        return size, seconds
    others = [seconds, measure(size), measure(size)]
    return size, sorted(others, key=lambda one: sum(one.values()))[1]
