"""Gated RMSNorm: its formula in both orders, groups, dtypes and refusals."""

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck
from torch.nn import functional

from bimba.ops import gated_rms_norm


def draw(*, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """Draw y and z [2, 3, 8] and weight [8]."""
    generator = torch.Generator().manual_seed(0)
    y, z, weight = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((2, 3, 8), (2, 3, 8), 8))
    return y.to(dtype), z.to(dtype), weight.to(dtype)


def test_gates_then_normalises() -> None:
    y, z, weight = draw()
    expected = functional.rms_norm(y * functional.silu(z), (8,), weight, eps=1e-5)
    torch.testing.assert_close(gated_rms_norm(y, z, weight), expected)


def test_normalises_then_gates_if_asked() -> None:
    y, z, weight = draw()
    expected = functional.rms_norm(y, (8,), weight, eps=1e-3) * functional.silu(z)
    torch.testing.assert_close(gated_rms_norm(y, z, weight, eps=1e-3, norm_before_gate=True), expected)


@pytest.mark.parametrize("norm_before_gate", [False, True])
def test_each_group_has_a_norm_of_its_own(norm_before_gate: bool) -> None:
    y, z, weight = draw()
    halves = [
        gated_rms_norm(y[..., part], z[..., part], weight[part], norm_before_gate=norm_before_gate)
        for part in (slice(0, 4), slice(4, 8))
    ]
    grouped = gated_rms_norm(y, z, weight, num_groups=2, norm_before_gate=norm_before_gate)
    torch.testing.assert_close(grouped, torch.cat(halves, dim=-1))
    assert not torch.allclose(grouped, gated_rms_norm(y, z, weight, norm_before_gate=norm_before_gate))


def test_without_a_gate_it_is_rms_norm() -> None:
    y, _, weight = draw()
    torch.testing.assert_close(gated_rms_norm(y, None, weight), functional.rms_norm(y, (8,), weight, eps=1e-5))


@pytest.mark.parametrize("norm_before_gate", [False, True])
def test_gradients_are_slopes(norm_before_gate: bool) -> None:
    inputs = [tensor.requires_grad_() for tensor in draw()]
    assert gradcheck(lambda *given: gated_rms_norm(*given, num_groups=2, norm_before_gate=norm_before_gate), inputs)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_is_rounded_once(dtype: torch.dtype) -> None:
    y, z, weight = draw(dtype=dtype)
    exact = gated_rms_norm(y.double(), z.double(), weight.double())
    found = gated_rms_norm(y, z, weight)
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), exact, rtol=torch.finfo(dtype).eps, atol=1e-6)


def test_what_does_not_fit_is_refused() -> None:
    y, z, weight = draw()
    with pytest.raises(ValueError, match=r"y \(2, 3, 8\) needs z alike and weight \[8\], not \(2, 3, 7\), \(8,\)"):
        gated_rms_norm(y, z[..., :7], weight)
    with pytest.raises(ValueError, match=r"not \(2, 3, 8\), \(1,\)"):
        gated_rms_norm(y, z, weight[:1])
    with pytest.raises(ValueError, match="8 channels cannot be 3 groups of equal width"):
        gated_rms_norm(y, z, weight, num_groups=3)
