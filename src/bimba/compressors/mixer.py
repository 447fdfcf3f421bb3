"""The Mamba block of BIMBA: a joint sequence [B, L, D] in, mixed tokens [B, L, D] out.

Shapes: B batch, L sequence, D model width, E = expand * D inner width, N state, R = rank of dt, K taps of the
convolution.
"""

import math
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from bimba.ops import causal_conv1d, selective_scan

DT_MIN, DT_MAX, DT_FLOOR = 1e-3, 1e-1, 1e-4
"""Range of the initial step sizes (Mamba, arXiv 2312.00752, section 3.6)."""


class ScanDirection(nn.Module):
    """What one direction of the scan owns: convolution, step sizes, input and read-out projections, decay, skip.

    Args:
        inner_dim: E.
        state_dim: N.
        conv_width: K.
        dt_rank: R.
        reverse: scan from the end of the sequence.
        scan_implementation: which implementation of the scan runs, "auto" for the best.
    """

    def __init__(
        self,
        inner_dim: int,
        state_dim: int,
        conv_width: int,
        dt_rank: int,
        *,
        reverse: bool,
        scan_implementation: str = "auto",
    ) -> None:
        super().__init__()
        self.scan_implementation = scan_implementation
        self.inner_dim, self.state_dim, self.dt_rank, self.reverse = inner_dim, state_dim, dt_rank, reverse
        self.conv_weight = nn.Parameter(torch.empty(inner_dim, 1, conv_width))
        self.conv_bias = nn.Parameter(torch.empty(inner_dim))
        # Step sizes and state inputs are needed everywhere, read-outs only where an output is asked for; so the one
        # x_proj of the public layout is two layers here.
        self.step_proj = nn.Linear(inner_dim, dt_rank + state_dim, bias=False)
        self.readout_proj = nn.Linear(inner_dim, state_dim, bias=False)
        self.dt_proj = nn.Linear(dt_rank, inner_dim, bias=False)
        self.dt_bias = nn.Parameter(torch.empty(inner_dim))
        self.A_log = nn.Parameter(torch.empty(inner_dim, state_dim, dtype=torch.float32))
        self.D = nn.Parameter(torch.empty(inner_dim))
        self.reset_parameters()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "ScanDirection":
        """Keep the decay rates in float32 through `.half()` and `.to(bfloat16)`.

        They are exponents of exponentials: bfloat16 would move them by percents over a long sequence.
        """
        exact = self.A_log.data
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call] # untyped there
        if self.A_log.dtype in (torch.float16, torch.bfloat16):
            self.A_log.data = exact.to(self.A_log.device)
        return self

    def reset_parameters(self) -> None:
        """Fresh initial values, see `initialise`."""
        with torch.no_grad():
            for layer in (self.step_proj, self.readout_proj):
                layer.reset_parameters()
            self.initialise(uniform=nn.init.uniform_, copy=Tensor.copy_)

    def initialise(self, *, uniform: Callable[..., object], copy: Callable[[Tensor, Tensor], object]) -> None:
        """Mamba's initial values: A = -(1..N), step sizes log-uniform in [1e-3, 0.1], D = 1.

        The released code starts the backward direction otherwise; here both start alike.

        Args:
            uniform: fills a tensor between two bounds, in place.
            copy: copies its second argument into the first (transformers passes functions that spare loaded weights).
        """
        conv_bound = self.conv_weight.shape[-1] ** -0.5
        uniform(self.conv_weight, -conv_bound, conv_bound)
        uniform(self.conv_bias, -conv_bound, conv_bound)
        uniform(self.dt_proj.weight, -(self.dt_rank**-0.5), self.dt_rank**-0.5)
        log_steps = torch.empty_like(self.dt_bias, dtype=torch.float32).uniform_(math.log(DT_MIN), math.log(DT_MAX))
        steps = log_steps.exp().clamp(min=DT_FLOOR)
        # Inverse of softplus, so that softplus(dt_bias) is the step.
        copy(self.dt_bias, (steps + torch.log(-torch.expm1(-steps))).to(self.dt_bias.dtype))
        entries = torch.arange(1, self.state_dim + 1, dtype=self.A_log.dtype, device=self.A_log.device)
        copy(self.A_log, entries.log().expand_as(self.A_log))
        copy(self.D, torch.ones_like(self.D))

    @property
    def rates(self) -> Tensor:
        """A [E, N], below zero: how fast each entry of the state fades."""
        return -torch.exp(self.A_log.to(torch.promote_types(self.A_log.dtype, torch.float32)))

    def convolve(self, x: Tensor) -> Tensor:
        """Mix each place of x [B, L, E] with those before it (after it, in reverse)."""
        return causal_conv1d(x, self.conv_weight, self.conv_bias, reverse=self.reverse)

    def select(self, mixed: Tensor) -> tuple[Tensor, Tensor]:
        """Step sizes dt [B, L, E], before their bias and softplus, and what enters the state B [B, L, N]."""
        low_rank_dt, B = self.step_proj(mixed).split([self.dt_rank, self.state_dim], dim=-1)
        return self.dt_proj(low_rank_dt), B

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """Scan x [B, L, E], gated by z [B, L, E] -> [B, L, E]."""
        mixed = self.convolve(x)
        dt, B = self.select(mixed)
        C = self.readout_proj(mixed)
        y = selective_scan(
            mixed, dt, self.rates, B, C, self.D, z, self.dt_bias, dt_softplus=True,
            reverse=self.reverse, implementation=self.scan_implementation,
        )  # fmt: skip
        return cast("Tensor", y)


class ZeroLinear(nn.Linear):
    """A linear layer that starts at zero."""

    def reset_parameters(self) -> None:
        """All zero; a class of its own lets other initialisers know."""
        nn.init.zeros_(self.weight)


class BidirectionalMixer(nn.Module):
    """Mamba block that reads a sequence both ways (BIMBA, arXiv 2503.09590, section 3.3).

    The directions share the projections in and out and the gate; the rest is their own. Their gated outputs are added
    before the projection out, which starts at zero: a fresh compressor is plain pooling of its queries.

    Args:
        dim: D.
        state_dim: N.
        conv_width: K.
        expand: E / D.
        bidirectional: also scan from the end (without it: plain Mamba, the paper's ablation).
        scan_implementation: which implementation of the scan runs, "auto" for the best.
    """

    def __init__(
        self,
        dim: int,
        *,
        state_dim: int,
        conv_width: int,
        expand: int,
        bidirectional: bool,
        scan_implementation: str = "auto",
    ) -> None:
        super().__init__()
        self.dim, self.inner_dim = dim, expand * dim
        self.dt_rank = math.ceil(dim / 16)
        self.in_proj = nn.Linear(dim, self.inner_dim, bias=False)
        self.gate_proj = nn.Linear(dim, self.inner_dim, bias=False)
        sizes = self.inner_dim, state_dim, conv_width, self.dt_rank

        def direction(*, reverse: bool) -> ScanDirection:
            return ScanDirection(*sizes, reverse=reverse, scan_implementation=scan_implementation)

        self.forward_scan = direction(reverse=False)
        self.backward_scan = direction(reverse=True) if bidirectional else None
        self.out_proj = ZeroLinear(self.inner_dim, dim, bias=False)

    def forward(self, sequence: Tensor) -> Tensor:
        """[B, L, D] -> [B, L, D], every output; `bimba.compressors.one_pass` computes some of them for less."""
        x, z = self.in_proj(sequence), self.gate_proj(sequence)
        y = self.forward_scan(x, z)
        if self.backward_scan is not None:
            y = y + self.backward_scan(x, z)
        return cast("Tensor", self.out_proj(y))
