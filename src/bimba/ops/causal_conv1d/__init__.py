"""Depthwise causal convolution: a sequence [B, L, E] in, each position mixed with the few before it out.

Shapes: B batch, L length, E channels, K taps.
"""

from torch import Tensor

from bimba.ops.causal_conv1d.cpu import convolve
from bimba.ops.causal_conv1d.reference import causal_conv1d_reference
from bimba.ops.packages import why_unusable


def causal_conv1d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, reverse: bool = False, activation: bool = True
) -> Tensor:
    """Depthwise convolution over the past (or the future with `reverse`), then SiLU.

    Sums are float32 whatever the inputs' dtype (float64 for float64). On CPUs a compiled loop does it where numba is
    installed, elsewhere plain torch.

    Args:
        x: [B, L, E].
        weight: [E, 1, K], the layout of `torch.nn.Conv1d(groups=E)`; its last tap meets the position itself.
        bias: [E].
        reverse: look ahead instead of back: equal to flipping x, convolving and flipping the result.
        activation: apply SiLU.

    Returns:
        [B, L, E] in x's dtype.

    Raises:
        ValueError: the channels of x, weight and bias differ.
    """
    channels = x.shape[-1]
    if x.ndim != 3 or weight.ndim != 3 or weight.shape[:2] != (channels, 1):
        raise ValueError(f"x [B, L, E] {tuple(x.shape)} needs weight [E, 1, K], not {tuple(weight.shape)}.")
    if bias is None:
        bias = weight.new_zeros(channels)
    elif bias.shape != (channels,):
        raise ValueError(f"{channels} channels need bias [{channels}], not {tuple(bias.shape)}.")
    if x.device.type == "cpu" and why_unusable("numba") is None:
        result: Tensor = convolve(x, weight, bias, reverse, activation)
        return result
    return causal_conv1d_reference(x, weight, bias, reverse=reverse, activation=activation)


__all__ = ["causal_conv1d"]
