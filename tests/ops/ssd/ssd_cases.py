"""What the tests of Mamba-2's scan share: random arguments in; outputs, gradients and the definition's answers out.

Shapes: B batch, L length, H heads, P width of a head, G groups, N state.
"""

from typing import Any

import torch
from torch import Tensor

from bimba.ops import ssd

BATCH, HEADS, WIDTH, GROUPS, STATE = 2, 6, 5, 2, 4
TOLERANCE = {torch.float64: 1e-12, torch.float32: 5e-6, torch.float16: 2e-3, torch.bfloat16: 1e-2}
"""Largest difference over the largest expected entry, by the dtype of the result."""
EXACT = {"A", "initial_state"}
"""What is given in the state's precision."""

Arguments = dict[str, Tensor]


def draw_arguments(
    length: int, *, dtype: torch.dtype = torch.float32, D_by_channel: bool = False, seed: int = 0
) -> Arguments:
    """All floating arguments, in the model's proportions."""
    generator = torch.Generator().manual_seed(1000 * seed + length)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    drawn = {
        "x": normal(BATCH, length, HEADS, WIDTH),
        "dt": normal(BATCH, length, HEADS),
        "A": -torch.rand(HEADS, generator=generator, dtype=torch.float64).mul(4.0).add(0.05),
        "B": normal(BATCH, length, GROUPS, STATE),
        "C": normal(BATCH, length, GROUPS, STATE),
        "D": normal(HEADS, WIDTH) if D_by_channel else normal(HEADS),
        "dt_bias": normal(HEADS),
        "initial_state": normal(BATCH, HEADS, WIDTH, STATE),
    }
    kept = torch.promote_types(dtype, torch.float32)
    return {name: value.to(kept if name in EXACT else dtype) for name, value in drawn.items()}


def draw_sequences(length: int, *, seed: int = 0) -> Tensor:
    """seq_idx [B, L] that changes at about every tenth step, and comes back to earlier numbers."""
    generator = torch.Generator().manual_seed(seed)
    changes = torch.rand(BATCH, length, generator=generator) < 0.1
    return (changes.cumsum(1) % 3).to(torch.int32)


def scan(arguments: Arguments, **how: Any) -> tuple[Tensor, Tensor]:
    """Outputs [B, L, H, P] and final state [B, H, P, N]."""
    how = {"dt_softplus": True, **arguments, **how}
    result = ssd(**how, return_final_state=True)
    assert isinstance(result, tuple)
    return result


def draw_like(tensor: Tensor, seed: int) -> Tensor:
    """Random numbers in a tensor's shape and dtype."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(tensor.shape, generator=generator, dtype=torch.float64).to(tensor.dtype)


def results(arguments: Arguments, *, weights: tuple[Tensor, Tensor] | None = None, **how: Any) -> Arguments:
    """Outputs, final state, and the gradient of every argument by a weighted sum of both."""
    leaves = {name: value.detach().clone().requires_grad_() for name, value in arguments.items()}
    y, state = scan(leaves, **how)
    if weights is None:
        weights = draw_like(y, 1), draw_like(state, 2)
    gradients = torch.autograd.grad((y, state), list(leaves.values()), weights, materialize_grads=True)
    named = {f"gradient of {name}": gradient for name, gradient in zip(leaves, gradients, strict=True)}
    return {"y": y.detach(), "state": state.detach(), **named}


def defined_results(arguments: Arguments, **how: Any) -> Arguments:
    """The same by the definition in float64, with weights rounded as those of `results` are."""
    state = torch.empty(BATCH, HEADS, WIDTH, STATE, dtype=torch.promote_types(arguments["x"].dtype, torch.float32))
    weights = draw_like(arguments["x"], 1).double(), draw_like(state, 2).double()
    exact = {name: value.double() for name, value in arguments.items()}
    return results(exact, weights=weights, implementation="reference", **how)


def assert_all_close(actual: Arguments, expected: Arguments) -> None:
    """Every result equal within the tolerance of its own dtype, as a fraction of the largest expected entry."""
    assert actual.keys() == expected.keys()
    for what, tensor in actual.items():
        truth = expected[what].double()
        assert tensor.shape == truth.shape, what
        if not truth.numel():
            continue
        difference = (tensor.double() - truth).abs().max().item()
        allowed = TOLERANCE[tensor.dtype] * truth.abs().max().item()
        assert difference <= allowed, f"{what} is off by {difference:.1e}; allowed is {allowed:.1e}"
