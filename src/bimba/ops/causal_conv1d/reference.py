"""The definition of the causal convolution: one shifted product for each tap, summed in float32.

Shapes: B batch, L length, E channels, K taps.
"""

import torch
from torch import Tensor
from torch.nn import functional


def causal_conv1d_reference(x: Tensor, weight: Tensor, bias: Tensor, *, reverse: bool, activation: bool) -> Tensor:
    """Arguments and result of `bimba.ops.causal_conv1d`, all given."""
    length, num_taps = x.shape[1], weight.shape[2]
    padding = num_taps - 1
    dtype = torch.promote_types(x.dtype, torch.float32)
    padded = functional.pad(x, (0, 0, 0, padding) if reverse else (0, 0, padding, 0)).to(dtype)
    mixed = bias.to(dtype).expand(x.shape)
    for tap in range(num_taps):
        offset = padding - tap if reverse else tap
        mixed = mixed + padded[:, offset : offset + length] * weight[:, 0, tap].to(dtype)
    return (functional.silu(mixed) if activation else mixed).to(x.dtype)
