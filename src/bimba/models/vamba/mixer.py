"""The Mamba-2 block of a Vamba layer: video tokens [B, L, D] in, mixed video tokens [B, L, D] out.

Parameters are named as in the released checkpoint, so that it can be read as it is.

Shapes: B batch, L tokens, D model width, E = expand * D inner width, H heads, P width of a head, G groups, N state,
K taps of the convolution, V = E + 2 G N channels of the convolution.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from bimba.compressors.norms import ExactRMSNorm
from bimba.ops import carried_state, causal_conv1d, gated_rms_norm, ssd

NORM_EPS = 1e-5
"""Of both norms, in every released block."""

IN_PROJ_STD = 0.02


class MixerState(NamedTuple):
    """What a mixer keeps of the tokens before, so that a video can go through in pieces of any length.

    Attributes:
        conv_inputs: the last K - 1 inputs of the convolution [B, K - 1, V].
        scan_state: of the scan, after the last token [B, H, P, N].
    """

    conv_inputs: Tensor
    scan_state: Tensor


class GatedRMSNorm(nn.Module):
    """`bimba.ops.gated_rms_norm` with a weight [E]."""

    def __init__(self, width: int, *, num_groups: int, norm_before_gate: bool) -> None:
        super().__init__()
        self.num_groups, self.norm_before_gate = num_groups, norm_before_gate
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, y: Tensor, z: Tensor) -> Tensor:
        """Values and gates [B, L, E] -> [B, L, E]."""
        return gated_rms_norm(
            y, z, self.weight, eps=NORM_EPS, num_groups=self.num_groups, norm_before_gate=self.norm_before_gate
        )


class CausalConv1d(nn.Conv1d):
    """`bimba.ops.causal_conv1d` with a weight [V, 1, K] and a bias [V], named as torch's convolution has them.

    Called as a module, so that weights that are kept elsewhere are here when they are used.
    """

    def forward(  # type: ignore[override] # a sequence in pieces, not a picture
        self, inputs: Tensor, *, initial_state: Tensor | None, seq_idx: Tensor | None
    ) -> Tensor:
        """Inputs [B, L, V] -> [B, L, V]."""
        return causal_conv1d(inputs, self.weight, self.bias, initial_state=initial_state, seq_idx=seq_idx)


class Mamba2Mixer(nn.Module):
    """Mamba-2 (arXiv 2405.21060, section 7): projection, convolution, scan in heads, gated norm, projection.

    Settings are named as in released configs.

    Args:
        dim: D.
        d_state: N.
        d_conv: K.
        expand: E / D.
        headdim: P.
        ngroups: G; heads of a group share what is written to and read from the state.
        A_init_range: least and largest initial decay rate.
        D_has_hdim: a skip weight for each channel, not for each head.
        norm_before_gate: normalise first, gate then.
        dt_min: least initial step.
        dt_max: largest initial step.
        dt_init_floor: what initial steps are not below.
        dt_limit: least and largest step; None for no largest one.
        bias: of the projections.
        conv_bias: of the convolution.
        chunk_size: kept with the settings; it changes no result, and how long the scan's chunks are is its own choice.

    Raises:
        ValueError: the inner width cannot be cut into such heads and groups.
    """

    no_weight_decay: ClassVar[tuple[str, ...]] = ("A_log", "D", "dt_bias", "norm.weight")
    """Parameters that weight decay should not pull to zero."""

    def __init__(
        self,
        dim: int,
        *,
        d_state: int = 128,
        d_conv: int = 4,
        expand: int = 2,
        headdim: int = 64,
        ngroups: int = 1,
        A_init_range: Sequence[float] = (1.0, 16.0),
        D_has_hdim: bool = False,
        norm_before_gate: bool = False,
        dt_min: float = 0.001,
        dt_max: float = 0.1,
        dt_init_floor: float = 1e-4,
        dt_limit: Sequence[float | None] = (0.0, None),
        bias: bool = False,
        conv_bias: bool = True,
        chunk_size: int = 256,
    ) -> None:
        super().__init__()
        inner_dim = expand * dim
        num_heads = inner_dim // headdim
        if inner_dim % headdim or num_heads % ngroups:
            raise ValueError(f"an inner width of {inner_dim} is not {ngroups} groups of heads of {headdim}.")
        self.dim, self.inner_dim, self.num_heads, self.headdim = dim, inner_dim, num_heads, headdim
        self.ngroups, self.d_state, self.d_conv, self.chunk_size = ngroups, d_state, d_conv, chunk_size
        self.A_init_range = (float(A_init_range[0]), float(A_init_range[1]))
        self.dt_init_range, self.dt_init_floor = (dt_min, dt_max), dt_init_floor
        least, largest = dt_limit
        self.dt_limit = (0.0 if least is None else float(least), math.inf if largest is None else float(largest))

        conv_dim = inner_dim + 2 * ngroups * d_state
        self.in_proj = nn.Linear(dim, inner_dim + conv_dim + num_heads, bias=bias)
        self.conv1d = CausalConv1d(conv_dim, conv_dim, d_conv, groups=conv_dim, bias=conv_bias)
        self.dt_bias = nn.Parameter(torch.empty(num_heads))
        self.A_log = nn.Parameter(torch.empty(num_heads, dtype=torch.float32))
        self.D = nn.Parameter(torch.empty(inner_dim if D_has_hdim else num_heads))
        self.norm = GatedRMSNorm(inner_dim, num_groups=ngroups, norm_before_gate=norm_before_gate)
        self.out_proj = nn.Linear(inner_dim, dim, bias=bias)
        self.reset_parameters()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Mamba2Mixer":
        """Keep the decay rates in float32 through `.half()` and `.to(bfloat16)`: they are exponents of exponentials."""
        exact = self.A_log.data
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call] # untyped there
        if self.A_log.dtype in (torch.float16, torch.bfloat16):
            self.A_log.data = exact.to(self.A_log.device)
        return self

    def reset_parameters(self) -> None:
        """Fresh initial values, see `initialise`."""
        with torch.no_grad():
            self.initialise(uniform=nn.init.uniform_, copy=Tensor.copy_)

    def initialise(
        self, *, uniform: Callable[..., object], copy: Callable[[Tensor, Tensor], object], num_layers: int = 1
    ) -> None:
        """Initial values as released: rates uniform and steps log-uniform in their ranges, D = 1, norm 1.

        Args:
            uniform: fills a tensor between two bounds, in place.
            copy: copies its second argument into the first (transformers passes functions that spare loaded weights).
            num_layers: of the model; the projection out is smaller by its root, since so many are added up.
        """
        copy(self.in_proj.weight, torch.empty_like(self.in_proj.weight).normal_(std=IN_PROJ_STD))
        conv_bound = self.d_conv**-0.5
        out_bound = (self.inner_dim * num_layers) ** -0.5
        uniform(self.conv1d.weight, -conv_bound, conv_bound)
        uniform(self.out_proj.weight, -out_bound, out_bound)
        if self.conv1d.bias is not None:
            uniform(self.conv1d.bias, -conv_bound, conv_bound)
        for projection in (self.in_proj, self.out_proj):
            if projection.bias is not None:
                copy(projection.bias, torch.zeros_like(projection.bias))
        smallest, largest = (math.log(step) for step in self.dt_init_range)
        steps = torch.empty_like(self.dt_bias, dtype=torch.float32).uniform_(smallest, largest).exp()
        steps = steps.clamp(min=self.dt_init_floor)
        # Inverse of softplus, so that softplus(dt_bias) is the step.
        copy(self.dt_bias, (steps + torch.log(-torch.expm1(-steps))).to(self.dt_bias.dtype))
        copy(self.A_log, torch.empty_like(self.A_log).uniform_(*self.A_init_range).log())
        copy(self.D, torch.ones_like(self.D))
        copy(self.norm.weight, torch.ones_like(self.norm.weight))

    def forward(
        self, tokens: Tensor, *, seq_idx: Tensor | None = None, state: MixerState | None = None
    ) -> tuple[Tensor, MixerState]:
        """Mix each token with those before it.

        Args:
            tokens: [B, L, D].
            seq_idx: integers [B, L]; each run of equal numbers is a sequence of its own.
            state: after what came before; the first sequence goes on from it.

        Returns:
            [B, L, D], and the state after the last token.
        """
        groups = self.ngroups * self.d_state
        conv_dim = self.inner_dim + 2 * groups
        z, conv_inputs, dt = self.in_proj(tokens).split([self.inner_dim, conv_dim, self.num_heads], dim=-1)
        before = None if state is None else state.conv_inputs
        mixed = self.conv1d(conv_inputs, initial_state=before, seq_idx=seq_idx)
        x, B, C = mixed.split([self.inner_dim, groups, groups], dim=-1)
        exact = torch.promote_types(self.A_log.dtype, torch.float32)
        y, scan_state = ssd(
            x.unflatten(-1, (self.num_heads, self.headdim)),
            dt,
            -torch.exp(self.A_log.to(exact)),
            B.unflatten(-1, (self.ngroups, self.d_state)),
            C.unflatten(-1, (self.ngroups, self.d_state)),
            self.D if self.D.numel() == self.num_heads else self.D.view(self.num_heads, self.headdim),
            self.dt_bias,
            True,
            dt_limit=self.dt_limit,
            seq_idx=seq_idx,
            initial_state=None if state is None else state.scan_state,
            return_final_state=True,
        )
        carried = carried_state(conv_inputs, self.d_conv, initial_state=before, seq_idx=seq_idx)
        return self.out_proj(self.norm(y.flatten(-2), z)), MixerState(carried, scan_state)

    def load_kernels(self, device: torch.device) -> None:
        """Mix one token of zeros there, so that what the first call has to import and load from disk is loaded."""
        with torch.no_grad():
            self(torch.zeros(1, 1, self.dim, dtype=self.conv1d.weight.dtype, device=device))


class Mamba2Block(nn.Module):
    """``tokens + mixer(rmsnorm(tokens))`` (Vamba, arXiv 2503.11579, section 3.2).

    Args:
        dim: D.
        settings: of `Mamba2Mixer`.
    """

    no_weight_decay: ClassVar[tuple[str, ...]] = (
        "norm.weight",
        *(f"mixer.{name}" for name in Mamba2Mixer.no_weight_decay),
    )
    """Parameters that weight decay should not pull to zero."""

    def __init__(self, dim: int, **settings: Any) -> None:
        super().__init__()
        self.norm = ExactRMSNorm(dim, eps=NORM_EPS)
        self.mixer = Mamba2Mixer(dim, **settings)

    def forward(
        self,
        tokens: Tensor,
        *,
        seq_idx: Tensor | None = None,
        state: MixerState | None = None,
        return_state: bool = False,
    ) -> Tensor | tuple[Tensor, MixerState]:
        """Take tokens one block further; a sequence may go through in pieces, with the result of one pass.

        Args:
            tokens: [B, L, D].
            seq_idx: integers [B, L]; each run of equal numbers is a sequence of its own.
            state: after the piece before this one, whose last sequence goes on here.
            return_state: also return the state after the last token.

        Returns:
            [B, L, D]; with `return_state` also the state.
        """
        mixed, after = self.mixer(self.norm(tokens), seq_idx=seq_idx, state=state)
        tokens = tokens + mixed
        return (tokens, after) if return_state else tokens
