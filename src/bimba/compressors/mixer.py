"""The Mamba block of BIMBA: a joint sequence [B, L, D] in, mixed tokens [B, L, D] out.

Shapes: B batch, L sequence, D model width, E = expand * D inner width, N state, R = rank of dt, K taps of the
convolution.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

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

    def forward(
        self,
        x: Tensor,
        z: Tensor | None = None,
        *,
        kept: slice = slice(None),
        positions: Tensor | None = None,
        initial_state: Tensor | None = None,
        sum_steps: bool = False,
    ) -> "Scanned":
        """Scan the rows `kept` of x, each mixed with the rows before it (after it, in reverse), kept or not.

        All of the direction's weights are used in here: where they are loaded module by module, they are here now.

        Args:
            x: [B, n, E]; n rows, of which L are kept.
            z: gate [B, L, E], or [B, Q, E] with `positions`.
            kept: the rows that are scanned; the others are only what the convolution looks at.
            positions: of the outputs among those kept, rising [Q]; all if None.
            initial_state: [B, E, N].
            sum_steps: also sum the steps between the positions.
        """
        mixed = causal_conv1d(x, self.conv_weight, self.conv_bias, reverse=self.reverse)[:, kept]
        low_rank_dt, B = self.step_proj(mixed).split([self.dt_rank, self.state_dim], dim=-1)
        dt = self.dt_proj(low_rank_dt)
        reads = self.readout_proj(mixed if positions is None else mixed.index_select(1, positions))
        exact = torch.promote_types(self.A_log.dtype, torch.float32)
        rates = -torch.exp(self.A_log.to(exact))
        step_sums = None
        how: dict[str, Any] = {"dt_bias": self.dt_bias, "dt_softplus": True}
        if sum_steps and positions is not None:
            dt, how = functional.softplus(dt.to(exact) + self.dt_bias.to(exact)), {}
            step_sums = sum_between(dt, positions)
        y, state = selective_scan(
            mixed, dt, rates, B, reads, self.D, z, **how,
            reverse=self.reverse, initial_state=initial_state, return_final_state=True, positions=positions,
            implementation=self.scan_implementation,
        )  # fmt: skip
        return Scanned(y, state, reads, rates, step_sums)

    def load_kernels(self, device: torch.device) -> None:
        """Scan one row of zeros there, so that what the first call has to import and load from disk is loaded."""
        row = torch.zeros(1, 1, self.inner_dim, dtype=self.conv_weight.dtype, device=device)
        with torch.no_grad():
            self(row, positions=torch.zeros(1, dtype=torch.int64, device=device))


class Scanned(NamedTuple):
    """What one direction gives.

    Attributes:
        y: [B, Q, E], or [B, L, E] without positions.
        state: after the last step [B, E, N].
        reads: C at the outputs [B, Q, N].
        rates: A [E, N], below zero: how fast each entry of the state fades.
        step_sums: of the steps before the first position and from each position on [B, 1 + Q, E], if asked for.
    """

    y: Tensor
    state: Tensor
    reads: Tensor
    rates: Tensor
    step_sums: Tensor | None


def sum_between(steps: Tensor, positions: Tensor) -> Tensor:
    """Sums of the steps [B, L, E] before the first position and from each of the positions [Q] on: [B, 1 + Q, E].

    Sums, not differences of running sums: those would lose the small ones among the large.
    """
    length, num_stretches = steps.shape[1], positions.shape[0] + 1
    marks = torch.zeros(length, dtype=torch.int64, device=steps.device).index_fill(0, positions, 1)
    stretch = marks.cumsum(0)
    if steps.device.type != "cuda":
        return steps.new_zeros(steps.shape[0], num_stretches, steps.shape[2]).index_add(1, stretch, steps)
    # There index_add sums in another order each time.
    lengths = torch.bincount(stretch, minlength=num_stretches)
    return torch.stack([torch.segment_reduce(item, "sum", lengths=lengths, axis=0, initial=0) for item in steps])


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
        y = self.forward_scan(x, z).y
        if self.backward_scan is not None:
            y = y + self.backward_scan(x, z).y
        return cast("Tensor", self.out_proj(y))
