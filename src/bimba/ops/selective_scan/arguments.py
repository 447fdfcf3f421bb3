"""What an implementation of the scan takes and gives: the arguments of one call, its results, its gradients.

Shapes: B batch, L length, E channels, N state, Q positions asked for (L if all), S saved states.
"""

from typing import NamedTuple

import torch
from torch import Tensor

STEPS_A_STATE = 64
"""Steps of a sequence between two states that are saved for the backward pass, by every implementation alike."""


class ScanArguments(NamedTuple):
    """The arguments of `bimba.ops.selective_scan`, checked: shapes and devices fit, positions rise.

    Attributes:
        x: [B, L, E].
        dt: [B, L, E].
        A: [E, N].
        B: [B, L, N].
        C: [B, Q, N].
        D: [E] or None.
        z: [B, Q, E] or None.
        dt_bias: [E] or None.
        initial_state: [B, E, N] or None.
        positions: int64 [Q], rising, or None for all.
        dt_softplus: make steps positive by softplus.
        reverse: scan from the end.
    """

    x: Tensor
    dt: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor | None
    z: Tensor | None
    dt_bias: Tensor | None
    initial_state: Tensor | None
    positions: Tensor | None
    dt_softplus: bool
    reverse: bool

    @property
    def state_dtype(self) -> torch.dtype:
        """Precision of the state and of all arithmetic: float32, or float64 for float64."""
        return torch.promote_types(self.x.dtype, torch.float32)


class ScanResult(NamedTuple):
    """What a forward pass gives.

    Attributes:
        y: [B, Q, E] in x's dtype.
        final_state: [B, E, N] in the state's dtype.
        saved_states: [B, S, E, N] in the state's dtype: those before the steps 0, STEPS_A_STATE, ..., counted from
            where the scan begins; S is 0 if none were to be saved.
    """

    y: Tensor
    final_state: Tensor
    saved_states: Tensor


class ScanGradients(NamedTuple):
    """The gradient of each tensor argument, in its shape and dtype; None where the argument is None."""

    x: Tensor
    dt: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor | None
    z: Tensor | None
    dt_bias: Tensor | None
    initial_state: Tensor | None
