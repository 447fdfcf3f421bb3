"""Selective scan as an operator of torch: opcheck, torch.compile, torch.export, autocast.

Shapes: B batch, L length, E channels, N state, Q positions asked for.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from scan_cases import (
    ALL_OPTIONS,
    Arguments,
    assert_all_close,
    assert_close,
    assert_identical,
    draw_arguments,
    draw_like,
    every_direction,
    name_of,
    on_the_cpu,
    packed,
    some_positions,
)
from torch import Tensor, nn

from bimba.ops import selective_scan
from bimba.ops.selective_scan.operator import scan_backward, scan_forward

every_option = pytest.mark.parametrize("options", [ALL_OPTIONS, frozenset()], ids=["all_options", "no_option"])
everywhere_or_not = pytest.mark.parametrize("asked", ["all", "some"])


def drawn(options: frozenset[str], asked: str, dtype: torch.dtype = torch.float32) -> tuple[Arguments, Tensor | None]:
    """Arguments for 66 steps, which have two saved states, and the positions."""
    positions = some_positions(66) if asked == "some" else None
    return draw_arguments(66, dtype=dtype, positions=positions, options=options, sizes=(2, 5, 3)), positions


# opcheck ----------------------------------------------------------------------------------------------------------


@on_the_cpu
@every_direction
@every_option
@everywhere_or_not
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=name_of)
def test_the_forward_operator_keeps_its_word(
    name: str, reverse: bool, options: frozenset[str], asked: str, dtype: torch.dtype
) -> None:
    arguments, positions = drawn(options, asked, dtype)
    leaves = {key: value.requires_grad_() for key, value in arguments.items()}
    given = packed(leaves, positions=positions, reverse=reverse)
    torch.library.opcheck(scan_forward, (*given, name, True))  # type: ignore[no-untyped-call, unused-ignore]


@on_the_cpu
@every_option
@everywhere_or_not
def test_the_forward_operator_keeps_its_word_where_nothing_is_learnt(
    name: str, options: frozenset[str], asked: str
) -> None:
    arguments, positions = drawn(options, asked)
    torch.library.opcheck(scan_forward, (*packed(arguments, positions=positions), name, False))


@on_the_cpu
@every_direction
@every_option
@everywhere_or_not
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=name_of)
def test_the_backward_operator_keeps_its_word(
    name: str, reverse: bool, options: frozenset[str], asked: str, dtype: torch.dtype
) -> None:
    arguments, positions = drawn(options, asked, dtype)
    given = packed(arguments, positions=positions, reverse=reverse)
    y, state, saved_states = scan_forward(*given, name, True)
    torch.library.opcheck(scan_backward, (draw_like(y, 1), draw_like(state, 2), saved_states, *given, name))


@on_the_cpu
def test_both_operators_tell_the_strides_of_what_they_give(name: str) -> None:
    # A projection's halves and transposes come in; what goes out has to lie in memory as was foretold.
    arguments = {
        key: value.transpose(-1, -2).contiguous().transpose(-1, -2) if value.ndim > 1 else value
        for key, value in draw_arguments(66, dtype=torch.float32, sizes=(2, 5, 3)).items()
    }
    given = packed(arguments)
    y, state, saved_states = scan_forward(*given, name, True)
    torch.library.opcheck(scan_forward, (*given, name, True), test_utils="test_faketensor")
    backward_arguments = (draw_like(y, 1), draw_like(state, 2), saved_states, *given, name)
    torch.library.opcheck(scan_backward, backward_arguments, test_utils="test_faketensor")


@on_the_cpu
@pytest.mark.parametrize("length", [0, 1, 64])
def test_both_operators_keep_their_word_at_the_edges(name: str, length: int) -> None:
    given = packed(draw_arguments(length, dtype=torch.float32))
    y, state, saved_states = scan_forward(*given, name, True)
    torch.library.opcheck(scan_forward, (*given, name, True), test_utils="test_faketensor")
    backward_arguments = (draw_like(y, 1), draw_like(state, 2), saved_states, *given, name)
    torch.library.opcheck(scan_backward, backward_arguments, test_utils="test_faketensor")


# torch.compile ----------------------------------------------------------------------------------------------------


@pytest.fixture
def fresh_compiler() -> Iterator[None]:
    """Nothing compiled before, and nothing left behind."""
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def compiled(function: Callable[..., Any], **how: Any) -> Callable[..., Any]:
    """The function as one graph, forward and backward; without a compiler for machine code."""
    wrapped: Callable[..., Any] = torch.compile(function, fullgraph=True, backend="aot_eager", **how)
    return wrapped


def run(
    function: Callable[..., tuple[Tensor, Tensor]], arguments: Arguments, positions: Tensor | None
) -> dict[str, Tensor]:
    """Outputs, final state and every gradient of a function of arguments and positions."""
    leaves = {key: value.clone().requires_grad_() for key, value in arguments.items()}
    y, state = function(leaves, positions)
    gradients = torch.autograd.grad((y, state), list(leaves.values()), (draw_like(y, 1), draw_like(state, 2)))
    return {"y": y, "state": state, **dict(zip(leaves, gradients, strict=True))}


@on_the_cpu
@every_direction
@every_option
@everywhere_or_not
@pytest.mark.usefixtures("fresh_compiler")
def test_a_compiled_scan_is_the_eager_one(name: str, reverse: bool, options: frozenset[str], asked: str) -> None:
    arguments, positions = drawn(options, asked)

    def two_scans(leaves: Arguments, positions: Tensor | None) -> tuple[Tensor, Tensor]:
        halved = dict(leaves, x=leaves["x"] * 0.5)
        result = selective_scan(
            **halved,
            dt_softplus=True,
            reverse=reverse,
            positions=positions,
            return_final_state=True,
            implementation=name,
        )
        assert isinstance(result, tuple)
        return result[0].sin(), result[1]

    assert_all_close(run(compiled(two_scans), arguments, positions), run(two_scans, arguments, positions), 1e-6)


@on_the_cpu
@pytest.mark.usefixtures("fresh_compiler")
def test_a_compiled_scan_takes_any_length(name: str) -> None:
    def function(leaves: Arguments, positions: Tensor | None) -> tuple[Tensor, Tensor]:
        result = selective_scan(
            **leaves,  # type: ignore[arg-type]
            dt_softplus=True,
            positions=positions,
            return_final_state=True,
            implementation=name,
        )
        assert isinstance(result, tuple)
        return result

    dynamic = compiled(function, dynamic=True)
    for length in (66, 67, 130, 5):
        arguments = draw_arguments(length, dtype=torch.float32, sizes=(2, 5, 3))
        assert_identical(run(dynamic, arguments, None), run(function, arguments, None))


@on_the_cpu
@pytest.mark.usefixtures("fresh_compiler")
def test_a_compiled_scan_takes_transposed_tensors(name: str) -> None:
    arguments, _ = drawn(ALL_OPTIONS, "all")

    def function(leaves: Arguments, positions: Tensor | None) -> tuple[Tensor, Tensor]:
        turned = {key: value.mT.contiguous().mT if value.ndim > 1 else value for key, value in leaves.items()}
        result = selective_scan(
            **turned,  # type: ignore[arg-type]
            dt_softplus=True,
            positions=positions,
            return_final_state=True,
            implementation=name,
        )
        assert isinstance(result, tuple)
        return result[0].mT.flatten(), result[1].mT.flatten()

    assert_all_close(run(compiled(function), arguments, None), run(function, arguments, None), 1e-6)


@pytest.mark.usefixtures("fresh_compiler")
def test_a_compiled_scan_refuses_what_the_eager_one_refuses() -> None:
    arguments = draw_arguments(5)
    arguments["dt"] = arguments["dt"][:, :1]
    with pytest.raises(Exception, match=r"dt has the shape \(2, 1, 6\)"):
        compiled(selective_scan)(**arguments)


# torch.export and autocast ----------------------------------------------------------------------------------------


class Scanner(nn.Module):
    """A layer as small as can be: step sizes, what is written and what is read come from the input [B, L, E]."""

    def __init__(self, channels: int = 6, state: int = 4, *, name: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.project = nn.Linear(channels, channels + 2 * state)
        self.A_log = nn.Parameter(torch.rand(channels, state))
        self.D = nn.Parameter(torch.rand(channels))
        self.sizes = [channels, state, state]
        self.name = name

    def forward(self, x: Tensor) -> Tensor:
        """Give y [B, L, E]."""
        dt, B, C = self.project(x).split(self.sizes, dim=-1)
        y = selective_scan(
            x.to(dt.dtype), dt, -torch.exp(self.A_log), B, C, self.D, dt_softplus=True, implementation=self.name
        )
        assert isinstance(y, Tensor)
        return y


@on_the_cpu
@pytest.mark.parametrize("learning", [False, True], ids=["frozen", "learning"])
@pytest.mark.usefixtures("fresh_compiler")
def test_an_exported_layer_scans(name: str, learning: bool) -> None:
    layer = Scanner(name=name).requires_grad_(learning)
    x = draw_arguments(20, dtype=torch.float32)["x"]
    exported = torch.export.export(layer, (x,))
    assert "bimba.selective_scan" in str(exported.graph)
    assert torch.equal(exported.module()(x), layer(x))


@on_the_cpu
@pytest.mark.usefixtures("fresh_compiler")
def test_a_layer_exported_for_inference_scans_any_length(name: str) -> None:
    layer = Scanner(name=name)
    x = draw_arguments(20, dtype=torch.float32)["x"]
    with torch.no_grad():
        exported = torch.export.export(layer, (x,), dynamic_shapes=({1: torch.export.Dim("length", min=2)},))
        for length in (2, 64, 70):
            longer = draw_arguments(length, dtype=torch.float32, seed=1)["x"]
            assert torch.equal(exported.module()(longer), layer(longer))


@on_the_cpu
def test_under_autocast_the_scan_takes_what_the_projection_gives(name: str) -> None:
    layer = Scanner(name=name)
    x = draw_arguments(20, dtype=torch.float32)["x"]
    exact = layer(x)
    exact.sum().backward()
    wanted = {key: parameter.grad for key, parameter in layer.named_parameters()}
    layer.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    assert y.dtype == torch.bfloat16
    assert_close(y, exact, 3e-2)
    y.sum().backward()
    for key, parameter in layer.named_parameters():
        gradient, expected = parameter.grad, wanted[key]
        assert gradient is not None
        assert expected is not None
        assert gradient.dtype == torch.float32
        assert_close(gradient, expected, 5e-2, key)


@on_the_cpu
@pytest.mark.parametrize("autocast", [False, True], ids=["plain", "autocast"])
def test_autocast_changes_nothing_inside_the_scan(name: str, autocast: bool) -> None:
    arguments = draw_arguments(20, dtype=torch.bfloat16)
    assert arguments["A"].dtype == torch.float32
    leaves = {key: value.clone().requires_grad_() for key, value in arguments.items()}
    how: dict[str, Any] = {"dt_softplus": True, "return_final_state": True, "implementation": name}
    with torch.autocast("cpu", torch.bfloat16) if autocast else contextlib.nullcontext():
        y, state = selective_scan(**{**leaves, **how})
    assert (y.dtype, state.dtype) == (torch.bfloat16, torch.float32)
    wanted_y, wanted_state = selective_scan(**{**arguments, **how})
    assert torch.equal(y, wanted_y)
    assert torch.equal(state, wanted_state)
    gradients = torch.autograd.grad((y, state), list(leaves.values()), (draw_like(y, 1), draw_like(state, 2)))
    assert [gradient.dtype for gradient in gradients] == [leaf.dtype for leaf in leaves.values()]
