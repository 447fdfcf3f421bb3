"""Depthwise causal convolution: a sequence [B, L, E] in, each position mixed with the few before it out.

Shapes: B batch, L length, E channels, K taps.
"""

import torch
from torch import Tensor

from bimba.ops.causal_conv1d.cpu import convolve
from bimba.ops.causal_conv1d.reference import causal_conv1d_reference
from bimba.ops.causal_conv1d.runs import run_numbers
from bimba.ops.packages import why_unusable


def causal_conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    reverse: bool = False,
    activation: bool = True,
    initial_state: Tensor | None = None,
    seq_idx: Tensor | None = None,
) -> Tensor:
    """Depthwise convolution over the past (or the future with `reverse`), then SiLU.

    Sums are float32 whatever the inputs' dtype (float64 for float64). On CPUs a compiled loop does it where numba is
    installed, elsewhere, and with `seq_idx`, plain torch.

    Args:
        x: [B, L, E].
        weight: [E, 1, K], the layout of `torch.nn.Conv1d(groups=E)`; its last tap meets the position itself.
        bias: [E].
        reverse: look ahead instead of back: equal to flipping x, convolving and flipping the result.
        activation: apply SiLU.
        initial_state: [B, K - 1, E], the positions before the first (after the last with `reverse`), as
            `carried_state` gives them; zeros if not given.
        seq_idx: integers [B, L]: no position is mixed with one beyond a change of them; the initial state belongs to
            the first of them (the last with `reverse`).

    Returns:
        [B, L, E] in x's dtype.

    Raises:
        ValueError: the channels of x, weight and bias differ, or initial_state or seq_idx do not fit x.
    """
    channels = x.shape[-1]
    if x.ndim != 3 or weight.ndim != 3 or weight.shape[:2] != (channels, 1):
        raise ValueError(f"x [B, L, E] {tuple(x.shape)} needs weight [E, 1, K], not {tuple(weight.shape)}.")
    if bias is None:
        bias = weight.new_zeros(channels)
    elif bias.shape != (channels,):
        raise ValueError(f"{channels} channels need bias [{channels}], not {tuple(bias.shape)}.")
    if initial_state is not None:
        return _convolve_joined(x, weight, bias, initial_state, seq_idx, reverse=reverse, activation=activation)
    if seq_idx is not None:
        runs = run_numbers(seq_idx, x)
        return causal_conv1d_reference(x, weight, bias, reverse=reverse, activation=activation, runs=runs)
    if x.device.type == "cpu" and why_unusable("numba") is None:
        result: Tensor = convolve(x, weight, bias, reverse, activation)
        return result
    return causal_conv1d_reference(x, weight, bias, reverse=reverse, activation=activation)


def carried_state(
    x: Tensor, num_taps: int, *, initial_state: Tensor | None = None, seq_idx: Tensor | None = None
) -> Tensor:
    """What the positions after x look back at: the `initial_state` of a sequence's next piece.

    Args:
        x: [B, L, E].
        num_taps: K.
        initial_state: [B, K - 1, E] of this piece.
        seq_idx: integers [B, L] of this piece; nothing is carried of what the last of them are not.

    Returns:
        [B, K - 1, E] in x's dtype.

    Raises:
        ValueError: initial_state or seq_idx do not fit x.
    """
    batch, length, channels = x.shape
    if initial_state is None:
        initial_state = x.new_zeros(batch, num_taps - 1, channels)
    _check_state(initial_state, x, num_taps)
    latest = x[:, max(0, length - num_taps + 1) :]  # not all of x, which would be kept alive
    state = torch.cat([initial_state.to(x.dtype), latest], dim=1)[:, latest.shape[1] :]
    if seq_idx is None or not length:
        return state
    runs = _joined_runs(seq_idx, x, num_taps - 1)[:, length:]
    return torch.where((runs == runs[:, -1:]).unsqueeze(-1), state, 0.0)


def _convolve_joined(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    initial_state: Tensor,
    seq_idx: Tensor | None,
    *,
    reverse: bool,
    activation: bool,
) -> Tensor:
    """Convolve x with what is carried from the piece before it."""
    carried, length = weight.shape[2] - 1, x.shape[1]
    _check_state(initial_state, x, weight.shape[2])
    ends = [initial_state.to(x.dtype), x]
    joined = torch.cat(ends[::-1] if reverse else ends, dim=1)
    if seq_idx is not None:
        seq_idx = _joined_runs(seq_idx, x, carried, reverse=reverse)
    result = causal_conv1d(joined, weight, bias, reverse=reverse, activation=activation, seq_idx=seq_idx)
    return result[:, :length] if reverse else result[:, carried:]


def _joined_runs(seq_idx: Tensor, x: Tensor, carried: int, *, reverse: bool = False) -> Tensor:
    """Numbers of the runs of a piece with what was carried, which goes on with its neighbour [B, L + K - 1]."""
    runs = run_numbers(seq_idx, x)
    neighbour = runs[:, -1:] if reverse else runs[:, :1]
    ends = [neighbour.expand(-1, carried), runs]
    return torch.cat(ends[::-1] if reverse else ends, dim=1)


def _check_state(initial_state: Tensor, x: Tensor, num_taps: int) -> None:
    needed = (x.shape[0], num_taps - 1, x.shape[2])
    if tuple(initial_state.shape) != needed:
        raise ValueError(f"x {tuple(x.shape)} needs initial_state {needed}, not {tuple(initial_state.shape)}.")


__all__ = ["carried_state", "causal_conv1d"]
