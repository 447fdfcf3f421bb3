"""Selective scan: gradients are slopes, reach each tensor alone, start at the final state too, and exist once.

Shapes: B batch, L length, E channels, N state, Q positions asked for.
"""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from scan_cases import (
    ALL_OPTIONS,
    REQUIRED,
    TOLERANCE,
    TRITON,
    assert_all_close,
    assert_close,
    draw_arguments,
    draw_like,
    every_direction,
    every_implementation,
    on_the_cpu,
    results,
    scan,
    some_positions,
)
from torch import Tensor
from torch.autograd import gradcheck
from torch.utils.checkpoint import checkpoint

every_tensor = pytest.mark.parametrize("alone", [*REQUIRED, *sorted(ALL_OPTIONS)])


def as_function(keys: list[str], *, name: str, **how: Any) -> Callable[..., tuple[Tensor, Tensor]]:
    """The scan as a function of tensors in the order of `keys`."""

    def function(*tensors: Tensor) -> tuple[Tensor, Tensor]:
        return scan(dict(zip(keys, tensors, strict=True)), implementation=name, **how)

    return function


@on_the_cpu
@every_direction
@pytest.mark.parametrize("selected", [False, True], ids=["everywhere", "positions"])
@pytest.mark.parametrize("dt_softplus", [False, True], ids=["plain", "softplus"])
@pytest.mark.parametrize("left_out", ["nothing", *sorted(ALL_OPTIONS), "everything"])
def test_every_gradient_is_the_slope(
    name: str, reverse: bool, selected: bool, dt_softplus: bool, left_out: str
) -> None:
    options = frozenset() if left_out == "everything" else ALL_OPTIONS - {left_out}
    positions = some_positions(4) if selected else None
    arguments = draw_arguments(4, positions=positions, options=options, sizes=(1, 2, 2))
    how: dict[str, Any] = {"positions": positions, "reverse": reverse, "dt_softplus": dt_softplus}
    function = as_function(list(arguments), name=name, **how)
    assert gradcheck(function, [tensor.requires_grad_() for tensor in arguments.values()])


@every_direction
@pytest.mark.parametrize("name", [TRITON])
@pytest.mark.parametrize("selected", [False, True], ids=["everywhere", "positions"])
def test_every_gradient_of_kernels_is_the_slope(name: str, reverse: bool, selected: bool) -> None:
    positions = some_positions(3) if selected else None
    arguments = draw_arguments(3, positions=positions, sizes=(1, 2, 2))
    function = as_function(list(arguments), name=name, positions=positions, reverse=reverse, dt_softplus=True)
    assert gradcheck(function, [tensor.requires_grad_() for tensor in arguments.values()], fast_mode=True)


@every_implementation
@every_tensor
def test_a_gradient_reaches_each_tensor_alone(name: str, alone: str) -> None:
    arguments = draw_arguments(5, dtype=torch.float32)
    together = results(arguments, implementation=name, dt_softplus=True)
    leaf = arguments[alone].clone().requires_grad_()
    y, state = scan(dict(arguments, **{alone: leaf}), dt_softplus=True, implementation=name)
    (gradient,) = torch.autograd.grad((y, state), leaf, (draw_like(y, 1), draw_like(state, 2)))
    assert torch.equal(gradient, together[f"gradient of {alone}"])


@every_implementation
@every_direction
@pytest.mark.parametrize("length", [1, 20, 65], ids="L{}".format)
def test_the_final_state_has_a_gradient_of_its_own(name: str, reverse: bool, length: int) -> None:
    # h[L] = exp(A sum(s)) h[0] + ..., so the slope for h[0] is known.
    arguments = draw_arguments(length, dtype=torch.float32, sizes=(1, 3, 4))
    arguments["dt"] = arguments["dt"].abs() * 0.01
    arguments.pop("dt_bias")
    leaf = arguments["initial_state"].clone().requires_grad_()
    _, state = scan(dict(arguments, initial_state=leaf), reverse=reverse, implementation=name)
    weights = draw_like(state, 2)
    (gradient,) = torch.autograd.grad(state, leaf, weights)
    decay = torch.exp(arguments["A"] * arguments["dt"].sum(1).unsqueeze(-1))
    assert_close(gradient, weights * decay, TOLERANCE[torch.float32])


@every_implementation
def test_without_the_final_state_the_gradient_is_that_of_the_outputs(name: str) -> None:
    arguments = draw_arguments(6, dtype=torch.float32)
    leaf = arguments["x"].clone().requires_grad_()
    y, state = scan(dict(arguments, x=leaf), dt_softplus=True, implementation=name)
    (alone,) = torch.autograd.grad(y, leaf, draw_like(y, 1), retain_graph=True)
    (with_zeros,) = torch.autograd.grad((y, state), leaf, (draw_like(y, 1), torch.zeros_like(state)))
    assert torch.equal(alone, with_zeros)


@every_implementation
def test_what_does_not_act_on_the_final_state_has_no_gradient_from_it(name: str) -> None:
    leaves = {key: value.requires_grad_() for key, value in draw_arguments(4, dtype=torch.float32).items()}
    _, state = scan(leaves, dt_softplus=True, implementation=name)
    asked = [leaves[key] for key in ("C", "D", "z")]
    for gradient in torch.autograd.grad(state, asked, torch.ones_like(state)):
        assert not gradient.any()


@every_implementation
def test_a_sum_spread_over_all_outputs_is_a_gradient_like_any_other(name: str) -> None:
    # sum() gives a gradient that is one number in memory, expanded.
    arguments = draw_arguments(6, dtype=torch.float32)
    gradients = []
    for spread in (True, False):
        leaves = {key: value.clone().requires_grad_() for key, value in arguments.items()}
        y, _ = scan(leaves, dt_softplus=True, implementation=name)
        loss = y.sum() if spread else (y * torch.ones_like(y)).sum()
        gradients.append(dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True)))
    assert all(torch.equal(gradient, gradients[1][key]) for key, gradient in gradients[0].items())


@every_implementation
def test_gradients_add_up_over_two_scans(name: str) -> None:
    arguments = draw_arguments(4, dtype=torch.float32)
    leaves = {key: value.clone().requires_grad_() for key, value in arguments.items()}
    both = [scan(leaves, dt_softplus=True, reverse=reverse, implementation=name) for reverse in (False, True)]
    torch.autograd.backward(
        [tensor for pair in both for tensor in pair],
        [draw_like(tensor, 1 + k) for pair in both for k, tensor in enumerate(pair)],
    )
    alone = [results(arguments, dt_softplus=True, reverse=reverse, implementation=name) for reverse in (False, True)]
    for key, leaf in leaves.items():
        what = f"gradient of {key}"
        assert leaf.grad is not None
        assert_close(leaf.grad, alone[0][what] + alone[1][what], 1e-6, what)


@on_the_cpu
def test_a_second_backward_pass_is_an_error_and_not_a_zero(name: str) -> None:
    leaves = {key: value.requires_grad_() for key, value in draw_arguments(3).items()}
    y, _ = scan(leaves, dt_softplus=True, implementation=name)
    (slope,) = torch.autograd.grad(y.sum(), leaves["x"], create_graph=True)
    assert slope.requires_grad
    with pytest.raises(RuntimeError, match=re.escape("selective_scan_backward")):
        slope.square().sum().backward()


@on_the_cpu
def test_a_checkpointed_scan_has_the_same_gradients(name: str) -> None:
    arguments = draw_arguments(70, dtype=torch.float32)
    gradients = []
    for checkpointed in (False, True):
        leaves = [value.clone().requires_grad_() for value in arguments.values()]
        function = as_function(list(arguments), name=name, dt_softplus=True)
        y, state = checkpoint(function, *leaves, use_reentrant=False) if checkpointed else function(*leaves)
        named = zip(arguments, torch.autograd.grad(y.sum() + state.sum(), leaves), strict=True)
        gradients.append(dict(named))
    assert_all_close(gradients[0], gradients[1], 0.0)


@every_implementation
def test_the_arguments_are_left_as_they_were(name: str) -> None:
    arguments = draw_arguments(7)
    leaves = {key: value.clone().requires_grad_() for key, value in arguments.items()}
    y, state = scan(leaves, dt_softplus=True, reverse=True, implementation=name)
    (y.sum() + state.sum()).backward()
    assert all(torch.equal(leaves[key], arguments[key]) for key in arguments)


@every_implementation
def test_learning_changes_no_output(name: str) -> None:
    arguments = draw_arguments(20, dtype=torch.float32)
    leaves = {key: value.clone().requires_grad_() for key, value in arguments.items()}
    learning = scan(leaves, dt_softplus=True, implementation=name)
    with torch.no_grad():
        not_learning = scan(leaves, dt_softplus=True, implementation=name)
    assert all(tensor.requires_grad for tensor in learning)
    assert not any(tensor.requires_grad for tensor in not_learning)
    assert all(torch.equal(*pair) for pair in zip(learning, not_learning, strict=True))
