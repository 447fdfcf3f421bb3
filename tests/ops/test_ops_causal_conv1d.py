"""Causal convolution: torch's own conv1d, the flip, and refusals."""

import sys
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck
from torch.nn import functional

from bimba.ops import causal_conv1d
from bimba.ops.causal_conv1d.reference import causal_conv1d_reference

causal_conv1d_module = sys.modules["bimba.ops.causal_conv1d"]  # in bimba.ops the name is the function's

every_length = pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 64], ids="L{}".format)
every_width = pytest.mark.parametrize("num_taps", [1, 2, 3, 4], ids="K{}".format)


def draw(length: int, num_taps: int, channels: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    """Draw x [2, L, E], weight [E, 1, K] and bias [E] in float64."""
    generator = torch.Generator().manual_seed(length * 10 + num_taps)
    shapes = (2, length, channels), (channels, 1, num_taps), (channels,)
    x, weight, bias = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)
    return x, weight, bias


@every_length
@every_width
@pytest.mark.parametrize("activation", [False, True], ids=["linear", "silu"])
@pytest.mark.parametrize("with_bias", [False, True], ids=["without_bias", "with_bias"])
def test_equals_torch_conv1d_padded_on_the_left(length: int, num_taps: int, activation: bool, with_bias: bool) -> None:
    x, weight, bias = draw(length, num_taps)
    used_bias = bias if with_bias else None
    expected = functional.conv1d(x.mT, weight, used_bias, padding=num_taps - 1, groups=x.shape[-1])[..., :length].mT
    if activation:
        expected = functional.silu(expected)
    actual = causal_conv1d(x, weight, used_bias, activation=activation)
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)


@every_length
@every_width
def test_reverse_equals_the_flip_of_the_flipped_sequence(length: int, num_taps: int) -> None:
    x, weight, bias = draw(length, num_taps)
    expected = causal_conv1d(x.flip(1), weight, bias).flip(1)
    torch.testing.assert_close(causal_conv1d(x, weight, bias, reverse=True), expected, rtol=1e-12, atol=1e-12)


def test_the_last_tap_meets_the_position_itself() -> None:
    x = torch.arange(1.0, 6.0).reshape(1, 5, 1)
    weight = torch.tensor([100.0, 10.0, 1.0]).reshape(1, 1, 3)
    looking_back = causal_conv1d(x, weight, activation=False).flatten().tolist()
    looking_ahead = causal_conv1d(x, weight, activation=False, reverse=True).flatten().tolist()
    assert looking_back == [1, 12, 123, 234, 345]
    assert looking_ahead == [321, 432, 543, 54, 5]


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
def test_every_gradient_is_the_slope(reverse: bool) -> None:
    inputs = [tensor.requires_grad_() for tensor in draw(5, 3, channels=2)]
    assert gradcheck(lambda x, weight, bias: causal_conv1d(x, weight, bias, reverse=reverse), inputs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_output_keeps_the_dtype_of_x(dtype: torch.dtype) -> None:
    x, weight, bias = draw(16, 4)
    x, weight, bias = x.to(dtype), weight.to(dtype), bias.to(dtype)
    mixed = causal_conv1d(x, weight.float(), bias.float())  # weights may be kept in float32
    assert mixed.dtype == dtype
    exact = causal_conv1d(x.double(), weight.double(), bias.double())
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2
    torch.testing.assert_close(mixed.double(), exact, rtol=0.0, atol=tolerance * exact.abs().max().item())


@pytest.mark.parametrize(
    ("x_shape", "weight_shape"),
    [((2, 5), (6, 1, 4)), ((2, 5, 6), (6, 4)), ((2, 5, 6), (5, 1, 4)), ((2, 5, 6), (6, 2, 4)), ((2, 5, 6), (1, 1, 4))],
)
def test_weights_that_do_not_fit_are_refused_with_both_shapes(
    x_shape: tuple[int, ...], weight_shape: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match=r"x \[B, L, E\] \(2, .*needs weight \[E, 1, K\], not \("):
        causal_conv1d(torch.zeros(x_shape), torch.zeros(weight_shape))


@pytest.mark.parametrize("bias_shape", [(1,), (5,), (6, 1)])
def test_a_bias_that_does_not_fit_is_refused(bias_shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"6 channels need bias \[6\], not \("):
        causal_conv1d(torch.zeros(2, 5, 6), torch.zeros(6, 1, 4), torch.zeros(bias_shape))


# The compiled version against the definition ---------------------------------------------------------------------


def draw_as(dtype: torch.dtype, length: int, channels: int, num_taps: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(length + channels)
    shapes = (3, length, channels), (channels, 1, num_taps), (channels,)
    x, weight, bias = (torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes)
    return x, weight, bias


@pytest.mark.parametrize("length", [0, 1, 2, 3, 255, 256, 257], ids="L{}".format)
@pytest.mark.parametrize("channels", [1, 127, 129], ids="E{}".format)
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
def test_values_and_gradients_equal_the_definition(length: int, channels: int, reverse: bool) -> None:
    inputs = [tensor.requires_grad_() for tensor in draw_as(torch.float32, length, channels)]
    exact = [tensor.detach().double().requires_grad_() for tensor in inputs]
    actual = causal_conv1d(*inputs, reverse=reverse)
    expected = causal_conv1d_reference(*exact, reverse=reverse, activation=True)
    torch.testing.assert_close(actual.double(), expected, rtol=1e-5, atol=1e-5)
    incoming = torch.randn(actual.shape, generator=torch.Generator().manual_seed(0))
    gradients = torch.autograd.grad(actual, inputs, incoming)
    for gradient, truth in zip(gradients, torch.autograd.grad(expected, exact, incoming.double()), strict=True):
        scale = truth.abs().max().item() if truth.numel() else 0.0
        torch.testing.assert_close(gradient.double(), truth, rtol=0.0, atol=1e-5 * scale)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_is_rounded_once(dtype: torch.dtype) -> None:
    x, weight, bias = draw_as(dtype, 50, 9)
    expected = causal_conv1d(x.double(), weight.double(), bias.double())
    actual = causal_conv1d(x, weight, bias)
    assert actual.dtype == dtype
    torch.testing.assert_close(actual.double(), expected, rtol=torch.finfo(dtype).eps, atol=1e-6)


def test_strided_inputs_are_read_as_they_stand() -> None:
    x, weight, bias = draw_as(torch.float32, 20, 8)
    strided = torch.stack([x, x + 1], dim=-1)[..., 0]
    assert not strided.is_contiguous()
    torch.testing.assert_close(causal_conv1d(strided, weight, bias), causal_conv1d(x, weight, bias), rtol=0, atol=0)
    flipped = causal_conv1d(x.flip(1), weight.flip(0), bias.flip(0))
    assert flipped.shape == x.shape


def test_nothing_unwritten_comes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def poisoned(*shape: Any, **how: Any) -> Tensor:
        return torch.full(shape[0] if isinstance(shape[0], tuple | torch.Size) else shape, float("nan"), **how)

    inputs = [tensor.requires_grad_() for tensor in draw_as(torch.float32, 300, 130)]
    monkeypatch.setattr(torch, "empty", poisoned)
    result = causal_conv1d(*inputs)
    gradients = torch.autograd.grad(result.sum(), inputs)
    assert not result.isnan().any()
    assert not any(gradient.isnan().any() for gradient in gradients)


def test_nan_reaches_the_next_positions_and_no_other() -> None:
    x, weight, bias = draw_as(torch.float32, 10, 3)
    x[1, 4, 2] = float("nan")
    looking_back = causal_conv1d(x, weight, bias).isnan().nonzero().tolist()
    looking_ahead = causal_conv1d(x, weight, bias, reverse=True).isnan().nonzero().tolist()
    assert looking_back == [[1, t, 2] for t in (4, 5, 6, 7)]
    assert looking_ahead == [[1, t, 2] for t in (1, 2, 3, 4)]


def test_the_operators_keep_torch_s_rules() -> None:
    inputs = [tensor.requires_grad_() for tensor in draw_as(torch.float32, 7, 5)]
    torch.library.opcheck(torch.ops.bimba.causal_conv1d.default, (*inputs, False, True))
    plain = [tensor.detach() for tensor in (inputs[0], *inputs)]
    torch.library.opcheck(torch.ops.bimba.causal_conv1d_backward.default, (*plain, True, True))


def test_without_numba_the_definition_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight, bias = draw_as(torch.float32, 20, 8)
    expected = causal_conv1d(x, weight, bias)
    monkeypatch.setattr(causal_conv1d_module, "why_unusable", lambda package: f"{package}, which is not installed")
    monkeypatch.setattr(causal_conv1d_module, "convolve", None)
    torch.testing.assert_close(causal_conv1d(x, weight, bias), expected, rtol=1e-5, atol=1e-6)
