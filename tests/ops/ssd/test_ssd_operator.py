"""Mamba-2's scan as an operator of torch: slopes, autocast, compilation, memory, and what is refused.

Shapes: B batch, L length, H heads, P width of a head, G groups, N state.
"""

from typing import Any

import pytest
import torch
from ssd_cases import draw_arguments, draw_sequences, results, scan
from torch import Tensor
from torch.autograd import gradcheck

from bimba.ops import ssd
from bimba.ops.ssd import IMPLEMENTATIONS
from bimba.ops.ssd.pieces import cut_into_chunks


@pytest.mark.parametrize("packed", [False, True], ids=["one_sequence", "packed"])
def test_every_gradient_is_the_slope(packed: bool) -> None:
    arguments = {name: value.requires_grad_() for name, value in draw_arguments(5, dtype=torch.float64).items()}
    seq_idx = torch.tensor([[0, 0, 1, 1, 1], [2, 2, 2, 2, 0]]) if packed else None

    def function(*tensors: Tensor) -> tuple[Tensor, Tensor]:
        return scan(dict(zip(arguments, tensors, strict=True)), seq_idx=seq_idx)

    assert gradcheck(function, list(arguments.values()))


@pytest.mark.parametrize("alone", ["x", "dt", "A", "B", "C", "D", "dt_bias", "initial_state"])
def test_a_gradient_reaches_each_tensor_alone(alone: str) -> None:
    arguments = draw_arguments(70)
    together = results(arguments)
    leaf = arguments[alone].clone().requires_grad_()
    y, state = scan(arguments | {alone: leaf})
    weights = [torch.randn(t.shape, generator=torch.Generator().manual_seed(k), dtype=torch.float64).float()
               for k, t in ((1, y), (2, state))]  # fmt: skip
    (gradient,) = torch.autograd.grad((y, state), leaf, weights)
    torch.testing.assert_close(gradient, together[f"gradient of {alone}"], rtol=1e-6, atol=1e-6)


def test_a_second_backward_pass_is_an_error_and_not_a_zero() -> None:
    leaves = {name: value.requires_grad_() for name, value in draw_arguments(3).items()}
    y, _ = scan(leaves)
    (slope,) = torch.autograd.grad(y.sum(), leaves["x"], create_graph=True)
    with pytest.raises(RuntimeError, match="ssd_backward"):
        slope.square().sum().backward()


def test_learning_changes_no_output_and_arguments_stay_as_they_were() -> None:
    arguments = draw_arguments(130)
    leaves = {name: value.clone().requires_grad_() for name, value in arguments.items()}
    learning = scan(leaves)
    (learning[0].sum() + learning[1].sum()).backward()
    with torch.no_grad():
        not_learning = scan(leaves)
    assert all(torch.equal(*pair) for pair in zip(learning, not_learning, strict=True))
    assert not any(tensor.requires_grad for tensor in not_learning)
    assert all(torch.equal(leaves[name], arguments[name]) for name in arguments)


def test_autocast_leaves_the_products_in_float32() -> None:
    arguments = draw_arguments(130)
    expected = results(arguments)
    with torch.autocast("cpu", torch.bfloat16):
        found = results(arguments)
    assert all(torch.equal(found[what], expected[what]) for what in expected)


@pytest.mark.parametrize("name", sorted(set(IMPLEMENTATIONS) - {"reference"}))
def test_the_operators_keep_torch_s_rules(name: str) -> None:
    arguments = draw_arguments(65)
    steps = arguments["dt"].abs()
    given = [arguments["x"], steps, *(arguments[name] for name in ("A", "B", "C", "D", "initial_state"))]
    leaves = [tensor.clone().requires_grad_() for tensor in given]
    torch.library.opcheck(torch.ops.bimba.ssd.default, (*leaves, draw_sequences(65), name, True))
    y, state, saved = torch.ops.bimba.ssd(*given, None, name, True)
    torch.library.opcheck(torch.ops.bimba.ssd_backward.default, (y, state, saved, *given, None))


@pytest.mark.parametrize("batch", [1, 2])
def test_strided_inputs_are_read_as_they_stand(batch: int) -> None:
    arguments = {
        name: value if name in {"A", "D", "dt_bias"} else value[:batch] for name, value in draw_arguments(70).items()
    }
    strided = {name: torch.stack([value, value + 1], dim=-1)[..., 0] for name, value in arguments.items()}
    assert not strided["x"].is_contiguous()
    assert all(torch.equal(*pair) for pair in zip(scan(strided), scan(arguments), strict=True))


def test_states_that_are_saved_are_few() -> None:
    x = torch.empty(1, 100_000, 24, 64, device="meta")
    on_cpu = cut_into_chunks(torch.empty(1, 1, 1, 1).expand(1, 100_000, 24, 64))
    assert len(cut_into_chunks(x).pieces) <= 100_000 / 64 + 1
    assert len(on_cpu.pieces) <= 100_000 / 64 + 1
    assert on_cpu.steps * on_cpu.number - 100_000 < on_cpu.steps


@pytest.mark.parametrize("length", [1, 63, 64, 65, 127, 128, 129, 4095, 4097, 6401])
def test_chunks_cover_the_sequence_and_none_is_empty(length: int) -> None:
    chunks = cut_into_chunks(torch.empty(1, 1, 1, 1).expand(1, length, 1, 1))
    assert chunks.steps <= 64
    assert chunks.steps * (chunks.number - 1) < length <= chunks.steps * chunks.number
    assert [piece.start for piece in chunks.pieces][1:] == [piece.stop for piece in chunks.pieces][:-1]
    assert chunks.pieces[-1].stop == chunks.number


def test_nothing_unwritten_comes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def poisoned(*shape: Any, **how: Any) -> Tensor:
        return torch.full(shape[0] if isinstance(shape[0], tuple | torch.Size) else shape, float("nan"), **how)

    arguments = draw_arguments(150)
    monkeypatch.setattr(torch, "empty", poisoned)
    assert not any(tensor.isnan().any() for tensor in results(arguments, seq_idx=draw_sequences(150)).values())


# Refusals ---------------------------------------------------------------------------------------------------------

WRONG = {
    "x": ((2, 5, 30), r"x is \[B, L, H, P\] and B \[B, L, G, N\]; got \(2, 5, 30\)"),
    "dt": ((2, 5, 1), r"dt has the shape \(2, 5, 1\) where x \(2, 5, 6, 5\) needs \(2, 5, 6\)"),
    "A": ((6, 4), r"A has the shape \(6, 4\)"),
    "B": ((2, 5, 4, 4), r"6 heads of x \(2, 5, 6, 5\) cannot share 4 groups of B \(2, 5, 4, 4\)"),
    "C": ((2, 5, 1, 4), r"C has the shape \(2, 5, 1, 4\)"),
    "D": ((6, 1), r"D has the shape \(6, 1\) where x \(2, 5, 6, 5\) needs \(6, 5\)"),
    "dt_bias": ((1,), r"dt_bias has the shape \(1,\)"),
    "initial_state": ((2, 6, 4, 5), r"initial_state has the shape \(2, 6, 4, 5\)"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_shape_that_does_not_fit_is_refused_with_both_sides(name: str) -> None:
    shape, message = WRONG[name]
    with pytest.raises(ValueError, match=message):
        scan(draw_arguments(5) | {name: torch.zeros(shape)})


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"seq_idx": torch.zeros(2, 4, dtype=torch.int64)}, r"seq_idx has the shape \(2, 4\)"),
        ({"seq_idx": torch.zeros(2, 5)}, "seq_idx is torch.float32; numbers of sequences are int32 or int64"),
        ({"dt_limit": (0.5, 0.1)}, r"least and the largest step, in this order; got \(0.5, 0.1\)"),
        ({"dt_limit": (float("nan"), 0.1)}, "least and the largest step"),
        ({"implementation": "magic"}, "ssd implementation 'magic' is none of auto, reference, chunked, cpu"),
    ],
    ids=["short", "floating", "limits", "nan", "name"],
)
def test_what_makes_no_sense_is_refused(how: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        scan(draw_arguments(5), **how)


def test_integers_are_refused() -> None:
    with pytest.raises(ValueError, match=r"x is torch\.int64; a scan takes float16"):
        scan(draw_arguments(5) | {"x": torch.zeros(2, 5, 6, 5, dtype=torch.int64)})


def test_the_names_are_frozen_and_auto_is_the_compiled_one() -> None:
    assert list(IMPLEMENTATIONS) == ["reference", "chunked", "cpu"]
    arguments = draw_arguments(70)
    how: dict[str, Any] = {"dt_softplus": True, **arguments}
    y = ssd(**how)
    assert isinstance(y, Tensor)
    assert torch.equal(y, scan(arguments, implementation="cpu")[0])
    assert not torch.equal(y, scan(arguments, implementation="chunked")[0])
