"""Selective scan by mamba-ssm: what goes to the package and what comes back, with the definition standing in for it.

The package needs a GPU and a compiler to be installed, so none of this runs its kernels. Its function has time last.

Shapes: B batch, L length, E channels, N state, Q positions asked for.
"""

import dataclasses
import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from scan_cases import (
    ALL_OPTIONS,
    Case,
    assert_all_close,
    defined_results,
    draw_arguments,
    every_direction,
    name_of,
    results,
    scan,
    some_positions,
)
from torch import Tensor

from bimba.errors import InputError
from bimba.ops import selective_scan
from bimba.ops.selective_scan import IMPLEMENTATIONS, choice
from bimba.ops.selective_scan.reference import selective_scan_reference

WITHOUT_STATE = ALL_OPTIONS - {"initial_state"}


class MambaSSM:
    """Stands in for the package's module; remembers the calls."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def selective_scan_fn(
        self,
        u: Tensor,
        delta: Tensor,
        A: Tensor,
        B: Tensor,
        C: Tensor,
        D: Tensor | None = None,
        z: Tensor | None = None,
        delta_bias: Tensor | None = None,
        delta_softplus: bool = False,
        return_last_state: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """u, delta and z are [B, E, L], B and C [B, N, L], A [E, N], D and delta_bias [E]."""
        self.calls.append({"u": u, "delta": delta, "A": A, "B": B, "C": C, "D": D, "z": z, "delta_bias": delta_bias})
        turned = (None if tensor is None else tensor.mT for tensor in (u, delta, B, C, z))
        x, dt, writes, reads, gate = turned
        assert x is not None
        assert dt is not None
        assert writes is not None
        assert reads is not None
        y, state = selective_scan_reference(x, dt, A, writes, reads, D, gate, delta_bias, delta_softplus)
        return (y.mT, state) if return_last_state else y.mT


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> MambaSSM:
    """The stand-in, installed, and allowed to run on the CPU."""
    stand_in = MambaSSM()
    interface: Any = ModuleType("mamba_ssm.ops.selective_scan_interface")
    interface.selective_scan_fn = stand_in.selective_scan_fn
    monkeypatch.setitem(sys.modules, "mamba_ssm", ModuleType("mamba_ssm"))
    monkeypatch.setitem(sys.modules, "mamba_ssm.ops", ModuleType("mamba_ssm.ops"))
    monkeypatch.setitem(sys.modules, interface.__name__, interface)
    unhindered = dataclasses.replace(IMPLEMENTATIONS["mamba_ssm"], obstacle=lambda _: None)
    monkeypatch.setattr(choice, "IMPLEMENTATIONS", {**IMPLEMENTATIONS, "mamba_ssm": unhindered})
    return stand_in


def outputs_and_gradients(arguments: dict[str, Tensor], **how: Any) -> dict[str, Tensor]:
    """Results of a scan whose final state has no gradient; that of the definition counts for nothing."""
    leaves = {key: value.double().requires_grad_() for key, value in arguments.items()}
    y, state = selective_scan_reference(**{**leaves, **how})
    gradients = torch.autograd.grad(y, list(leaves.values()), torch.ones_like(y))
    return {"y": y.detach(), "state": state.detach(), **dict(zip(leaves, gradients, strict=True))}


@every_direction
@pytest.mark.parametrize("selected", [False, True], ids=["everywhere", "positions"])
@pytest.mark.parametrize("options", [WITHOUT_STATE, frozenset()], ids=["all_options", "no_option"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=name_of)
@pytest.mark.parametrize("length", [1, 2, 65])
def test_values_and_every_gradient_are_those_of_the_definition(
    package: MambaSSM, reverse: bool, selected: bool, options: frozenset[str], dtype: torch.dtype, length: int
) -> None:
    positions = some_positions(length) if selected else None
    arguments = draw_arguments(length, dtype=dtype, positions=positions, options=options)
    how: dict[str, Any] = {"dt_softplus": True, "reverse": reverse, "positions": positions}
    leaves = {key: value.clone().requires_grad_() for key, value in arguments.items()}
    y, state = scan(leaves, implementation="mamba_ssm", **how)
    gradients = torch.autograd.grad(y, list(leaves.values()), torch.ones_like(y))
    actual = {"y": y.detach(), "state": state.detach(), **dict(zip(leaves, gradients, strict=True))}
    assert_all_close(actual, outputs_and_gradients(arguments, **how))
    assert [tensor.dtype for tensor in gradients] == [tensor.dtype for tensor in arguments.values()]
    assert len(package.calls) == 1


@every_direction
def test_the_package_gets_what_its_kernels_take(package: MambaSSM, reverse: bool) -> None:
    positions = some_positions(9)
    arguments = draw_arguments(9, dtype=torch.bfloat16, positions=positions, options=WITHOUT_STATE)
    mixed = dict(arguments, B=arguments["B"].float(), dt=arguments["dt"].float())
    scan(mixed, implementation="mamba_ssm", reverse=reverse, positions=positions)
    (call,) = package.calls
    assert {key: tuple(tensor.shape) for key, tensor in call.items()} == {
        "u": (2, 6, 9), "delta": (2, 6, 9), "A": (6, 4), "B": (2, 4, 9), "C": (2, 4, 9), "D": (6,), "z": (2, 6, 9),
        "delta_bias": (6,),
    }  # fmt: skip
    assert {tensor.dtype for key, tensor in call.items() if key in {"u", "delta", "B", "C", "z"}} == {torch.bfloat16}
    assert {tensor.dtype for key, tensor in call.items() if key in {"A", "D", "delta_bias"}} == {torch.float32}
    assert all(tensor.is_contiguous() for tensor in call.values())


def test_outputs_come_back_contiguous_and_in_the_dtype_of_x(package: MambaSSM) -> None:
    arguments = draw_arguments(9, dtype=torch.bfloat16, options=WITHOUT_STATE)
    y, state = scan(arguments, implementation="mamba_ssm", reverse=True)
    assert y.is_contiguous()
    assert (y.dtype, state.dtype) == (torch.bfloat16, torch.float32)
    assert len(package.calls) == 1


@pytest.mark.usefixtures("package")
def test_an_initial_state_is_refused_with_a_way_out() -> None:
    with pytest.raises(InputError, match=r"starts from an empty state only\.\n  fix: use implementation="):
        scan(draw_arguments(3), implementation="mamba_ssm")


@pytest.mark.usefixtures("package")
def test_the_final_state_has_no_gradient_rather_than_a_wrong_one() -> None:
    # The package's backward pass drops what comes to the final state without a word.
    leaves = {key: value.requires_grad_() for key, value in draw_arguments(3, options=WITHOUT_STATE).items()}
    y, state = scan(leaves, implementation="mamba_ssm")
    assert y.requires_grad
    assert not state.requires_grad


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize("positions", [[3, 1], [1, 1], [-1, 2], [2, 5]], ids=str)
def test_positions_on_another_order_are_refused_here_too(positions: list[int]) -> None:
    asked = torch.tensor(positions)
    arguments = draw_arguments(5, positions=asked, options=WITHOUT_STATE)
    with pytest.raises(ValueError, match=r"positions must rise strictly within 0\.\.4"):
        scan(arguments, positions=asked, implementation="mamba_ssm")


@pytest.mark.usefixtures("package")
def test_bad_shapes_are_refused_here_too() -> None:
    arguments = draw_arguments(5, options=WITHOUT_STATE)
    arguments["dt"] = arguments["dt"][:, :1]
    with pytest.raises(ValueError, match=r"dt has the shape \(2, 1, 6\)"):
        scan(arguments, implementation="mamba_ssm")


def test_without_the_package_the_refusal_names_it() -> None:
    with pytest.raises(InputError, match="'mamba_ssm' needs mamba_ssm, which is not installed"):
        selective_scan(**draw_arguments(3, options=WITHOUT_STATE), implementation="mamba_ssm")  # type: ignore[arg-type]


@pytest.mark.usefixtures("package")
def test_the_results_of_a_case_are_those_of_every_other_implementation() -> None:
    case = Case(20, (2, 5, 3), torch.float32, reverse=True)
    arguments = {key: value for key, value in case.arguments.items() if key != "initial_state"}
    y, state = scan(arguments, implementation="mamba_ssm", **case.how)
    expected = defined_results(arguments, **case.how)
    cpu = results(arguments, implementation="cpu", **case.how)
    assert_all_close({"y": y, "state": state}, {key: expected[key] for key in ("y", "state")})
    assert_all_close({"y": y, "state": state}, {key: cpu[key] for key in ("y", "state")})
