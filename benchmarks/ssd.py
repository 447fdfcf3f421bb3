"""Mamba-2's scan beside a recurrence in torch and transformers' own path, in the same run: a section in Markdown.

`python -m benchmarks.ssd` compares them with each other first, then measures them in turns, and writes
`results/<date>-ssd.md`. `--steps N` takes another length, `--threads N` so many threads; `--forward` leaves gradients
out.

Shapes: B batch (1), L length, H heads, P width of a head, N state; one group.
"""

import argparse
import importlib
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.reports import write_report
from bimba.cli.bench.rounds import Timing, take_turns
from bimba.ops import ssd

HEADS, WIDTH, STATE = 24, 64, 128
ROUNDS = 3
LARGEST_ERROR = 1e-5
"""Of what is measured, over the largest output of the recurrence."""
OURS = "cpu (ours)"
RIVAL = "transformers, chunks of 64"
CPU = torch.device("cpu")


class Inputs(NamedTuple):
    """What is scanned, with steps softplus(dt + dt_bias); shapes are those of `bimba.ops.ssd`."""

    x: Tensor
    dt: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor
    dt_bias: Tensor


def make_inputs(length: int) -> Inputs:
    """Random sequences with the rates and steps of a fresh mixer: A from -16 to -1, steps from 0.001 to 0.1."""
    generator = torch.Generator().manual_seed(20)

    def noise(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    steps = torch.logspace(-3.0, -1.0, HEADS)
    return Inputs(
        x=noise(1, length, HEADS, WIDTH),
        dt=noise(1, length, HEADS).mul_(0.5),
        A=-torch.linspace(1.0, 16.0, HEADS),
        B=noise(1, length, 1, STATE),
        C=noise(1, length, 1, STATE),
        D=torch.ones(HEADS),
        dt_bias=steps.expm1().log(),
    )


def ours(implementation: str) -> Callable[[Inputs], Tensor]:
    """One of ours."""

    def run(inputs: Inputs) -> Tensor:
        return cast("Tensor", ssd(*inputs, dt_softplus=True, implementation=implementation))

    return run


def recurrence(inputs: Inputs) -> Tensor:
    """One token after the other, the state [B, H, P, N] updated in place; everything else is done before or after."""
    x, dt, A, B, C, D, dt_bias = inputs
    steps = functional.softplus(dt + dt_bias)
    decays, entering = torch.exp(steps * A)[..., None, None], (steps.unsqueeze(-1) * x).unsqueeze(-1)
    state, y = x.new_zeros(1, HEADS, WIDTH, STATE), torch.empty_like(x)
    for t in range(x.shape[1]):
        state.mul_(decays[:, t]).addcmul_(entering[:, t], B[:, t].unsqueeze(2))
        y[:, t] = (state @ C[:, t].unsqueeze(-1)).squeeze(-1)
    return y.add_(D.unsqueeze(-1) * x)


def transformers_in_chunks(chunk_size: int) -> Callable[[Inputs], Tensor]:
    """The torch path that a Mamba-2 model of transformers takes without the package mamba-ssm."""
    module = importlib.import_module("transformers.models.mamba2.modeling_mamba2")
    # Its decorator puts mamba-ssm's kernels there if they are installed, and keeps the function below itself.
    scan: Any = module.mamba2_chunk_scan.__wrapped__

    def run(inputs: Inputs) -> Tensor:
        x, dt, A, B, C, D, dt_bias = inputs
        return cast("Tensor", scan(x, dt, A, B, C, chunk_size, D=D, dt_bias=dt_bias, dt_softplus=True))

    return run


def report(length: int, *, gradients: bool) -> str:
    """Compare, measure, and put into words."""
    inputs = make_inputs(length)
    rivals = {RIVAL: transformers_in_chunks(64), "transformers, chunks of 256": transformers_in_chunks(256)}
    ways = {OURS: ours("cpu"), "chunked (ours)": ours("chunked"), "recurrence, in place": recurrence, **rivals}
    threads = torch.get_num_threads()
    where = f"{threads} threads of a CPU" if threads > 1 else "one thread of a CPU"
    parts = [
        f"## L {length:,}, {HEADS} heads of {WIDTH}, N {STATE}, float32, {where}",
        f"Best of {ROUNDS} rounds, taking turns in one process, after one call each to warm up.",
        "### Forward",
        _measure_forward(inputs, ways),
    ]
    if gradients:
        with_gradients = {name: call for name, call in ways.items() if call is not recurrence}
        parts += ["### Forward + backward", _measure_both(inputs, with_gradients)]
    return "\n\n".join(parts)


@torch.no_grad()
def _measure_forward(inputs: Inputs, ways: dict[str, Callable[[Inputs], Tensor]]) -> str:
    errors = _errors({name: call(inputs) for name, call in ways.items()}, "recurrence, in place")
    calls = {name: partial(call, inputs) for name, call in ways.items()}
    return _table(take_turns(calls, ROUNDS, CPU, _tell), errors, "the recurrence")


def _measure_both(inputs: Inputs, ways: dict[str, Callable[[Inputs], Tensor]]) -> str:
    grad_y = torch.randn(inputs.x.shape, generator=torch.Generator().manual_seed(21))
    found = {name: _differentiate(call, inputs, grad_y) for name, call in ways.items()}
    by_input = [_errors(dict(zip(ways, each, strict=True)), RIVAL) for each in zip(*found.values(), strict=True)]
    errors = {name: max(each[name] for each in by_input) for name in ways}
    calls = {name: partial(_differentiate, call, inputs, grad_y) for name, call in ways.items()}
    return _table(take_turns(calls, ROUNDS, CPU, _tell), errors, RIVAL)


def _differentiate(call: Callable[[Inputs], Tensor], inputs: Inputs, grad_y: Tensor) -> tuple[Tensor, ...]:
    """Gradients of all inputs."""
    leaves = Inputs(*(tensor.detach().clone().requires_grad_() for tensor in inputs))
    return torch.autograd.grad(call(leaves), leaves, grad_y)


def _errors(found: dict[str, Tensor], truth: str) -> dict[str, float]:
    """Largest differences from one of them, over its largest entry."""
    scale = found[truth].abs().max().item()
    return {name: (tensor - found[truth]).abs().max().item() / scale for name, tensor in found.items()}


def _table(timings: dict[str, Timing], errors: dict[str, float], truth: str) -> str:
    ours = timings[OURS].best_seconds
    rows = [f"|  | best | / ours | from {truth} |", "| --- | ---: | ---: | ---: |"]
    for name, timing in timings.items():
        if errors[name] > LARGEST_ERROR:
            sys.exit(f"{name} is off by {errors[name]:.1g} from {truth}; what is wrong gets no number")
        best = timing.best_seconds
        rows.append(f"| {name} | {best * 1000:,.0f} ms | {best / ours:.3g} | {errors[name]:.0e} |")
    return "\n".join(rows)


def _tell(stage: str, done: int, total: int) -> None:
    print(f"  {stage}: {done} of {total}", file=sys.stderr, flush=True)


def main() -> None:
    """Measure, print, write results/<date>-ssd.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=8192, help="length of the sequence")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of torch")
    parser.add_argument("--forward", action="store_true", help="leave gradients out")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    section = report(given.steps, gradients=not given.forward)
    print(section)
    path = write_report("Mamba-2's scan", [section], suffix="-ssd")
    print(f"written to {path}")


if __name__ == "__main__":
    main()
