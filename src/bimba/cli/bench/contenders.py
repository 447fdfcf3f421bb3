"""Nothing in; the ways to run a selective scan that are compared out: ours and those of other packages.

Shapes: B batch, L length, E channels, N state.
"""

import importlib
import importlib.util
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional

from bimba.cli.bench.sizes import ScanSize
from bimba.ops.selective_scan import IMPLEMENTATIONS, selective_scan

Obstacle = tuple[str, str]
"""Why something cannot run, and what to do about it."""

_PEERS_AMONG_OURS = {"mamba_ssm"}
"""Implementations of ours that call another package."""


class ScanInputs(NamedTuple):
    """What is scanned, with steps softplus(dt + dt_bias).

    Attributes:
        x: [B, L, E].
        dt: [B, L, E].
        A: float32 [E, N].
        B: [B, L, N].
        C: [B, L, N].
        D: float32 [E].
        dt_bias: float32 [E].
    """

    x: Tensor
    dt: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor
    dt_bias: Tensor

    def first(self, steps: int) -> "ScanInputs":
        """The same for the first steps only."""
        return ScanInputs(
            self.x[:, :steps], self.dt[:, :steps], self.A, self.B[:, :steps], self.C[:, :steps], self.D, self.dt_bias
        )

    def some(self, channels: Tensor) -> "ScanInputs":
        """The same for some channels only; no channel depends on another."""
        x, dt = self.x[..., channels], self.dt[..., channels]
        return ScanInputs(x, dt, self.A[channels], self.B, self.C, self.D[channels], self.dt_bias[channels])


@dataclass(frozen=True)
class Contender:
    """A way to run the scan.

    Attributes:
        name: on the command line and in tables.
        summary: what it is, in a few words.
        is_ours: whether it is an implementation of bimba.
        run: inputs -> y [B, L, E].
        obstacle: why it cannot run on a device; None if it can.
        states: memory for a sequence of L steps, forward or forward + backward, in copies of all its states [L, E, N].
        rows: the rest of it, in copies of x [L, E]; both in float32, measured with torch 2.13 and rounded up.
    """

    name: str
    summary: str
    is_ours: bool
    run: Callable[[ScanInputs], Tensor]
    obstacle: Callable[[torch.device], Obstacle | None]
    states: Callable[[int, bool], float]
    rows: tuple[float, float] = (3.0, 8.0)

    def needed_bytes(self, size: ScanSize, *, backward: bool) -> int:
        """Memory beside the inputs, estimated."""
        states = self.states(size.length, backward) * size.num_states
        return int(4 * (states + self.rows[backward] * size.num_values))


def contenders() -> list[Contender]:
    """All of them, ours first."""
    ours = [_implementation(name) for name in IMPLEMENTATIONS]
    ours.sort(key=lambda contender: not contender.is_ours)
    return [
        *ours,
        Contender(
            "torch loop", "a loop over tokens in torch, float32", False, torch_loop, _no_obstacle,
            lambda _, backward: 3.6 if backward else 0.0, rows=(6.0, 8.0),
        ),
        Contender(
            "mambapy", "mambapy's parallel scan", False, _mambapy,
            _needs_package("mambapy", 'pip install "bimba[bench]"'), _mambapy_states,
        ),
        Contender(
            "transformers", "transformers' slow path", False, _transformers, _transformers_obstacle,
            lambda _, backward: 12.0 if backward else 4.3,
        ),
    ]  # fmt: skip


def torch_loop(inputs: ScanInputs) -> Tensor:
    """The recurrence as people write it: one step after the other, differentiated by autograd."""
    x, dt, A, B, C, D, dt_bias = (tensor.float() for tensor in inputs)
    steps = functional.softplus(dt + dt_bias)
    state = x.new_zeros(x.shape[0], *A.shape)
    is_differentiated = torch.is_grad_enabled()
    y, outputs = torch.empty_like(x), []
    for t, (x_t, step, B_t, C_t) in enumerate(zip(x.unbind(1), steps.unbind(1), B.unbind(1), C.unbind(1), strict=True)):
        state = torch.exp(step.unsqueeze(-1) * A) * state + (step * x_t).unsqueeze(-1) * B_t.unsqueeze(1)
        read_out = (state * C_t.unsqueeze(1)).sum(-1)
        if is_differentiated:
            outputs.append(read_out)
        else:
            y[:, t] = read_out  # a list would scatter the memory: its entries lie between states that are freed
    if is_differentiated:
        y = torch.stack(outputs, dim=1)
    return (y + D * x).to(inputs.x.dtype)


def _implementation(name: str) -> Contender:
    """One of ours, under its own name."""
    implementation = IMPLEMENTATIONS[name]

    def run(inputs: ScanInputs) -> Tensor:
        x, dt, A, B, C, D, dt_bias = inputs
        return cast("Tensor", selective_scan(x, dt, A, B, C, D, dt_bias=dt_bias, dt_softplus=True, implementation=name))

    def obstacle(device: torch.device) -> Obstacle | None:
        found = implementation.obstacle(device)
        if found is None and name == "triton" and device.type == "cpu":
            return "is only interpreted on a CPU, where its time says nothing", "run it on a CUDA GPU"
        return found

    is_ours = name not in _PEERS_AMONG_OURS
    rows = (6.0, 16.0) if name == "reference" else (2.0, 10.0)

    def states(_: int, backward: bool) -> float:
        return 0.1 if backward else 0.0  # one every 64 steps, and parts of sums

    return Contender(name, implementation.summary, is_ours, run, obstacle, states, rows)


def _mambapy(inputs: ScanInputs) -> Tensor:
    """The whole tensor of decays and of inputs, combined by its parallel scan."""
    pscan: Any = importlib.import_module("mambapy.pscan").pscan
    x, dt, A, B, C, D, dt_bias = (tensor.float() for tensor in inputs)
    steps = functional.softplus(dt + dt_bias)
    states = pscan(torch.exp(steps.unsqueeze(-1) * A), (steps * x).unsqueeze(-1) * B.unsqueeze(2))
    y: Tensor = (states @ C.unsqueeze(-1)).squeeze(-1) + D * x
    return y.to(inputs.x.dtype)


def _mambapy_states(length: int, backward: bool) -> float:
    """Part of its copies are padded to a power of two."""
    padding = math.pow(2, math.ceil(math.log2(length))) / length
    return 3.0 + 7.2 * padding if backward else 1.6 + 3.5 * padding


def _transformers(inputs: ScanInputs) -> Tensor:
    """The torch path that a Mamba model of transformers takes without the package mamba-ssm."""
    # Its decorator puts mamba-ssm's kernels there if they are installed, and keeps the function below itself.
    slow: Any = _transformers_scan().__wrapped__
    x, dt, B, C = (tensor.transpose(1, 2) for tensor in (inputs.x, inputs.dt, inputs.B, inputs.C))
    y: Tensor = slow(x, dt, inputs.A, B, C, D=inputs.D, delta_bias=inputs.dt_bias, delta_softplus=True)
    return y.transpose(1, 2).to(inputs.x.dtype)


@cache
def _transformers_scan() -> Any:
    """Their function, or None where this version has none."""
    module = importlib.import_module("transformers.models.mamba.modeling_mamba")
    found = getattr(module, "mamba_selective_scan", None)
    return found if hasattr(found, "__wrapped__") else None


def _transformers_obstacle(device: torch.device) -> Obstacle | None:  # noqa: ARG001 # it runs wherever torch does
    if _transformers_scan() is None:
        version = importlib.import_module("transformers").__version__
        return f"transformers {version} has no scan that can be called on its own", "pip install -U transformers"
    return None


def _needs_package(package: str, fix: str) -> Callable[[torch.device], Obstacle | None]:
    def obstacle(device: torch.device) -> Obstacle | None:  # noqa: ARG001 # it runs wherever torch does
        if importlib.util.find_spec(package) is None:
            return f"needs {package}, which is not installed", fix
        return None

    return obstacle


def _no_obstacle(device: torch.device) -> None:
    """A loop in torch runs wherever torch does."""
