"""A contender's results in; how far they are from the definition in float64 out.

Two comparisons: all results on the first steps of the sequence, and on the whole sequence those that belong to a few
channels, which a slow loop in float64 can still compute.

Shapes: B batch, L length, E channels, N state.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from bimba.cli.bench.contenders import ScanInputs
from bimba.cli.bench.machine import relative_difference
from bimba.ops.selective_scan.reference import selective_scan_reference

NUM_STEPS = 200
"""Of the first comparison: more than three of the pieces of 64 steps that implementations work in."""
NUM_CHANNELS = 16
"""Of the second comparison."""

Results = dict[str, Tensor]
"""y, and with a backward pass the gradient of each input by its name."""

_OF_CHANNELS = {"y": -1, "x": -1, "dt": -1, "A": 0, "D": 0, "dt_bias": 0}
"""Results that belong to one channel each, and the dimension in which channels lie; the others are sums over all."""


def compute(run: Callable[[ScanInputs], Tensor], inputs: ScanInputs, grad_y: Tensor | None) -> Results:
    """Run forward, and backward from `grad_y` [B, L, E] if it is given."""
    if grad_y is None:
        with torch.no_grad():
            return {"y": run(inputs)}
    leaves = ScanInputs(*(tensor.detach().requires_grad_() for tensor in inputs))
    y = run(leaves)
    gradients = torch.autograd.grad(y, leaves, grad_y)
    return {"y": y.detach()} | dict(zip(ScanInputs._fields, gradients, strict=True))


class Truth:
    """What results should be.

    Args:
        inputs: of the whole sequence.
        grad_y: [B, L, E], or None without a backward pass.
    """

    def __init__(self, inputs: ScanInputs, grad_y: Tensor | None) -> None:
        length, channels = inputs.x.shape[1:]
        self.inputs, self.grad_y = inputs, grad_y
        self.num_steps = min(NUM_STEPS, length)
        self._channels = torch.linspace(0, channels - 1, min(NUM_CHANNELS, channels), device=inputs.x.device).long()
        some_grad = None if grad_y is None else grad_y[..., self._channels]
        self._start = _define(*self.start())
        self._some = _define(inputs.some(self._channels), some_grad)

    def start(self) -> tuple[ScanInputs, Tensor | None]:
        """The first steps and their gradient."""
        grad_y = None if self.grad_y is None else self.grad_y[:, : self.num_steps]
        return self.inputs.first(self.num_steps), grad_y

    def errors_at_start(self, results: Results) -> dict[str, float]:
        """Relative differences of all results on the first steps."""
        return {name: relative_difference(results[name], truth) for name, truth in self._start.items()}

    def errors_of_channels(self, results: Results) -> dict[str, float]:
        """Relative differences of some channels' results on the whole sequence."""
        return {
            name: relative_difference(results[name].index_select(dim, self._channels), self._some[name])
            for name, dim in _OF_CHANNELS.items()
            if name in self._some
        }


def _define(inputs: ScanInputs, grad_y: Tensor | None) -> Results:
    """Results by the definition in float64."""

    def run(given: ScanInputs) -> Tensor:
        x, dt, A, B, C, D, dt_bias = given
        return selective_scan_reference(x, dt, A, B, C, D, dt_bias=dt_bias, dt_softplus=True)[0]

    doubled = ScanInputs(*(tensor.double() for tensor in inputs))
    return compute(run, doubled, None if grad_y is None else grad_y.double())
