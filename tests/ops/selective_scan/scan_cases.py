"""What the tests of the scan share: random arguments in, outputs, gradients and the definition's answers out.

Without a GPU triton's kernels run in its interpreter, on the CPU; tests/conftest.py asks for it before anything imports
triton. Tensors stand on the CPU; `scan` takes them where the implementation runs, and back.

Shapes: B batch, L length, E channels, N state, Q positions asked for (L if all).
"""

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest
import torch
from _pytest.mark.structures import ParameterSet
from torch import Tensor

from bimba.ops import selective_scan
from bimba.ops.selective_scan.arguments import ScanArguments
from bimba.ops.selective_scan.reference import selective_scan_reference

INTERPRETED = not torch.cuda.is_available()
"""Whether triton's kernels run in the interpreter: milliseconds a step, so that tests give them less to do."""

BATCH, CHANNELS, STATE = 2, 6, 4
ALL_OPTIONS = frozenset({"D", "z", "dt_bias", "initial_state"})
REQUIRED = ("x", "dt", "A", "B", "C")
OVER_TIME = frozenset({"x", "dt", "B", "C", "z"})
TOLERANCE = {torch.float64: 1e-12, torch.float32: 5e-6, torch.float16: 2e-3, torch.bfloat16: 1e-2}
"""Largest difference over the largest expected entry, by the dtype of the result."""

_HAS_TRITON = importlib.util.find_spec("triton") is not None
TRITON = pytest.param(
    "triton",
    marks=[
        pytest.mark.skipif(not _HAS_TRITON, reason='needs triton: pip install "bimba[kernels]"'),
        pytest.mark.interpreted if INTERPRETED else pytest.mark.gpu,
    ],
)
on_the_cpu = pytest.mark.parametrize("name", ["reference", "cpu"])
every_implementation = pytest.mark.parametrize("name", ["reference", "cpu", TRITON])
every_direction = pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])

Arguments = dict[str, Tensor]


def each_with(values: Sequence[object], *, interpreted: Sequence[object]) -> list[ParameterSet]:
    """Every implementation with every value; but triton's interpreter, which is slow, only with some."""
    of_triton = interpreted if INTERPRETED else values
    return [
        *(pytest.param(name, value, id=f"{value}-{name}") for value in values for name in ("reference", "cpu")),
        *(pytest.param("triton", value, id=f"{value}-triton", marks=TRITON.marks) for value in of_triton),
    ]


def name_of(dtype: torch.dtype) -> str:
    """What stands behind `torch.`."""
    return str(dtype).removeprefix("torch.")


def draw_arguments(
    length: int,
    *,
    dtype: torch.dtype = torch.float64,
    positions: Tensor | None = None,
    options: frozenset[str] = ALL_OPTIONS,
    sizes: tuple[int, int, int] = (BATCH, CHANNELS, STATE),
    seed: int = 0,
) -> Arguments:
    """Random tensors in the model's proportions; what has the state's precision stays above bfloat16.

    Args:
        length: L.
        dtype: of x, dt, B, C, D, z and dt_bias.
        positions: [Q] of the outputs, or None for all.
        options: the tensors that are drawn beside the five that are always there.
        sizes: B, E and N.
        seed: of the draw.
    """
    batch, channels, state = sizes
    generator = torch.Generator().manual_seed(seed)
    outputs = length if positions is None else len(positions)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    kept = torch.promote_types(dtype, torch.float32)
    drawn = {
        "x": normal(batch, length, channels),
        "dt": normal(batch, length, channels),
        "A": -torch.rand(channels, state, generator=generator, dtype=torch.float64).add(0.1).to(kept),
        "B": normal(batch, length, state),
        "C": normal(batch, outputs, state),
        "D": normal(channels),
        "z": normal(batch, outputs, channels),
        "dt_bias": normal(channels),
        "initial_state": normal(batch, channels, state).to(kept),
    }
    return {key: value for key, value in drawn.items() if key in options or key in REQUIRED}


def some_positions(length: int) -> Tensor:
    """About every third position, the last among them."""
    return torch.arange(length - 1, -1, -3).flip(0)


def select(arguments: Arguments, positions: Tensor) -> Arguments:
    """Read-outs and gates at the positions only."""
    return {key: value[:, positions] if key in {"C", "z"} else value for key, value in arguments.items()}


def flipped(arguments: Arguments) -> Arguments:
    """The same arguments with time running the other way."""
    return {key: value.flip(1) if key in OVER_TIME else value for key, value in arguments.items()}


def device_of(name: str) -> torch.device:
    """Where an implementation is tested."""
    if name == "triton" and INTERPRETED:
        assert os.environ.get("TRITON_INTERPRET") == "1", "to be set before anything imports triton"
    return torch.device("cpu" if name != "triton" or INTERPRETED else "cuda")


def scan(arguments: Arguments, *, implementation: str = "auto", **how: Any) -> tuple[Tensor, Tensor]:
    """Outputs [B, Q, E] and final state [B, E, N]."""
    device = device_of(implementation)
    how.update({key: value.to(device) for key, value in arguments.items()})
    result = selective_scan(**how, return_final_state=True, implementation=implementation)
    assert isinstance(result, tuple)
    return result[0].cpu(), result[1].cpu()


def output(arguments: Arguments, **how: Any) -> Tensor:
    """Outputs [B, Q, E]; raises what the scan raises."""
    return scan(arguments, **how)[0]


def packed(arguments: Arguments, **how: Any) -> ScanArguments:
    """The arguments as an implementation's module takes them."""
    optional: dict[str, Any] = dict.fromkeys(("D", "z", "dt_bias", "initial_state", "positions"))
    return ScanArguments(**{**optional, "dt_softplus": True, "reverse": False, **arguments, **how})


def draw_like(tensor: Tensor, seed: int) -> Tensor:
    """Random numbers in a tensor's shape and dtype."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(tensor.shape, generator=generator, dtype=torch.float64).to(tensor.dtype)


def results(arguments: Arguments, *, implementation: str, **how: Any) -> Arguments:
    """Outputs, the final state, and the gradient of every argument, by name.

    The gradients are those of a random weighted sum of outputs and state; the weights have their dtypes, and depend on
    their shapes only.
    """
    leaves = {key: value.detach().clone().requires_grad_() for key, value in arguments.items()}
    y, state = scan(leaves, implementation=implementation, **how)
    weights = (draw_like(y, 1), draw_like(state, 2))
    gradients = torch.autograd.grad((y, state), list(leaves.values()), weights)
    named = {f"gradient of {key}": gradient for key, gradient in zip(leaves, gradients, strict=True)}
    return {"y": y.detach(), "state": state.detach(), **named}


def defined_results(arguments: Arguments, **how: Any) -> Arguments:
    """The same by the definition in float64, with weights rounded as those of `results` are."""
    leaves = {key: value.detach().double().requires_grad_() for key, value in arguments.items()}
    how.update(leaves)
    y, state = selective_scan_reference(**how)
    state_dtype = torch.promote_types(arguments["x"].dtype, torch.float32)
    weights = (draw_like(y.to(arguments["x"].dtype), 1).double(), draw_like(state.to(state_dtype), 2).double())
    gradients = torch.autograd.grad((y, state), list(leaves.values()), weights, materialize_grads=True)
    named = {f"gradient of {key}": gradient for key, gradient in zip(leaves, gradients, strict=True)}
    return {"y": y.detach(), "state": state.detach(), **named}


def relative_difference(actual: Tensor, expected: Tensor) -> float:
    """Largest difference over the largest expected entry; infinite where one of them is not finite."""
    if not expected.numel():
        return 0.0
    difference = (actual.double() - expected.double()).abs().max().item()
    largest = expected.double().abs().max().item()
    if difference == 0.0:
        return 0.0
    return difference / largest if difference < float("inf") and largest > 0.0 else float("inf")


def assert_close(actual: Tensor, expected: Tensor, tolerance: float, what: str = "result") -> None:
    """Equal within a fraction of the largest expected entry."""
    assert actual.shape == expected.shape, what
    difference = relative_difference(actual, expected)
    assert difference <= tolerance, f"{what} is off by {difference:.1e} of the largest entry; allowed is {tolerance}"


def assert_all_close(actual: Arguments, expected: Arguments, tolerance: float | None = None) -> None:
    """Every result equal within the tolerance of its own dtype, if none is given."""
    assert actual.keys() == expected.keys()
    for what, tensor in actual.items():
        assert_close(tensor, expected[what], TOLERANCE[tensor.dtype] if tolerance is None else tolerance, what)


def assert_identical(actual: Arguments, expected: Arguments) -> None:
    """Every result equal bit for bit, NaN included."""
    assert actual.keys() == expected.keys()
    for what, tensor in actual.items():
        assert tensor.dtype == expected[what].dtype, what
        assert torch.equal(tensor.nan_to_num(nan=12345.0), expected[what].nan_to_num(nan=12345.0)), what


@dataclass(frozen=True)
class Case:
    """One scan with all options, softplus, and random arguments.

    Attributes:
        length: L.
        sizes: B, E and N.
        dtype: of the inputs.
        reverse: scan from the end.
    """

    length: int
    sizes: tuple[int, int, int]
    dtype: torch.dtype
    reverse: bool

    def __str__(self) -> str:
        batch, channels, state = self.sizes
        direction = "reverse" if self.reverse else "forward"
        return f"L{self.length}-B{batch}-E{channels}-N{state}-{name_of(self.dtype)}-{direction}"

    @property
    def arguments(self) -> Arguments:
        """What is scanned."""
        return draw_arguments(self.length, dtype=self.dtype, sizes=self.sizes, seed=self.length)

    @property
    def how(self) -> dict[str, bool]:
        """How it is scanned."""
        return {"dt_softplus": True, "reverse": self.reverse}

    def expected(self) -> Arguments:
        """What the definition makes of it."""
        return _defined(self)

    def turned(self) -> "Case":
        """The same in the other direction."""
        return replace(self, reverse=not self.reverse)


@cache
def _defined(case: Case) -> Arguments:
    return defined_results(case.arguments, **case.how)
