"""The definition of the causal convolution: one shifted product for each tap, summed in float32.

Shapes: B batch, L length, E channels, K taps.
"""

import torch
from torch import Tensor
from torch.nn import functional


def causal_conv1d_reference(
    x: Tensor, weight: Tensor, bias: Tensor, *, reverse: bool, activation: bool, runs: Tensor | None = None
) -> Tensor:
    """Arguments and result of `bimba.ops.causal_conv1d`, all given; `runs` [B, L] are the numbers of `run_numbers`."""
    length, num_taps = x.shape[1], weight.shape[2]
    padding = num_taps - 1
    dtype = torch.promote_types(x.dtype, torch.float32)
    sides = (0, padding) if reverse else (padding, 0)
    padded = functional.pad(x, (0, 0, *sides)).to(dtype)
    neighbours = None if runs is None else functional.pad(runs, sides)
    mixed = bias.to(dtype).expand(x.shape)
    for tap in range(num_taps):
        offset = padding - tap if reverse else tap
        seen = padded[:, offset : offset + length]
        if runs is not None and neighbours is not None:
            seen = torch.where((neighbours[:, offset : offset + length] == runs).unsqueeze(-1), seen, 0.0)
        mixed = mixed + seen * weight[:, 0, tap].to(dtype)
    return (functional.silu(mixed) if activation else mixed).to(x.dtype)
