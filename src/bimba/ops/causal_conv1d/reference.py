"""The definition of the causal convolution: one shifted product for each tap, summed in float32.

Shapes: B batch, L length, E channels, K taps.
"""

import torch
from torch import Tensor
from torch.nn import functional


def causal_conv1d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, reverse: bool = False, activation: bool = True
) -> Tensor:
    """Depthwise convolution over the past (or the future with `reverse`), then SiLU.

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
    if bias is not None and bias.shape != (channels,):
        raise ValueError(f"{channels} channels need bias [{channels}], not {tuple(bias.shape)}.")
    length, num_taps = x.shape[1], weight.shape[2]
    padding = num_taps - 1
    dtype = torch.promote_types(x.dtype, torch.float32)
    padded = functional.pad(x, (0, 0, 0, padding) if reverse else (0, 0, padding, 0)).to(dtype)
    mixed = padded.new_zeros(x.shape) if bias is None else bias.to(dtype).expand(x.shape)
    for tap in range(num_taps):
        offset = padding - tap if reverse else tap
        mixed = mixed + padded[:, offset : offset + length] * weight[:, 0, tap].to(dtype)
    return (functional.silu(mixed) if activation else mixed).to(x.dtype)
