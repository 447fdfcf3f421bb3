"""The steps of a sequence in, how much of each input and state is left within and at the ends of its chunks out.

Shapes: B batch, L length, H heads, C chunks, J steps of a chunk, K chunks of a piece.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from bimba.ops.causal_conv1d.runs import run_numbers
from bimba.ops.ssd.pieces import Chunks
from bimba.ops.ssd.workspace import Workspace


class Runs(NamedTuple):
    """Which steps of a chunk belong together.

    Attributes:
        number: of the run of equal `seq_idx` that a step belongs to [C, B, J].
        before: the same of the step before the chunk [C, B].
    """

    number: Tensor
    before: Tensor


class Decays(NamedTuple):
    """Shares of what there was that are left, of all chunks or of those of a piece, in the state's dtype.

    Attributes:
        steps: sizes of the steps [C, B, H, J].
        coarse: sums of the rates from the chunk's beginning on [C, B, H, J].
        fine: what rounding took from them [C, B, H, J], or None.
        entering: what is left at a step of the state before the chunk [C, B, H, J].
        leaving: what is left at the chunk's end of the input of a step [C, B, H, J].
        runs: which steps belong together, or None for all.
    """

    steps: Tensor
    coarse: Tensor
    fine: Tensor | None
    entering: Tensor
    leaving: Tensor
    runs: Runs | None

    def of(self, part: slice) -> "Decays":
        """Those of some chunks."""
        fine = None if self.fine is None else self.fine[part]
        runs = None if self.runs is None else Runs(self.runs.number[part], self.runs.before[part])
        return Decays(self.steps[part], self.coarse[part], fine, self.entering[part], self.leaving[part], runs)

    @property
    def whole(self) -> Tensor:
        """What is left at a chunk's end of the state before it [C, B, H]."""
        return self.entering[..., -1]

    def between(self, workspace: Workspace) -> Tensor:
        """What is left at step t of the input of step j [K, B, H, J (t), J (j)]; 1 where there is no way from j to t.

        Nothing is exponentiated that is not used: above the diagonal there would be sums with the wrong sign.
        """
        shares = workspace("between", *self.coarse.shape, self.coarse.shape[-1])
        torch.sub(self.coarse.unsqueeze(-1), self.coarse.unsqueeze(-2), out=shares)
        if self.fine is not None:
            shares.add_(self.fine.unsqueeze(-1)).sub_(self.fine.unsqueeze(-2))
        shares.tril_()
        if self.runs is not None:
            shares.masked_fill_(_apart(self.runs).unsqueeze(2), 0.0)
        return shares.exp_()

    def mask(self, scores: Tensor) -> None:
        """Zero, in place, what leads to an earlier step or another sequence [K, B, G, J, J]."""
        scores.tril_()
        if self.runs is not None:
            scores.masked_fill_(_apart(self.runs).unsqueeze(2), 0.0)


def find_decays(steps: Tensor, rates: Tensor, seq_idx: Tensor | None, chunks: Chunks) -> Decays:
    """The decays of a whole sequence; they are few beside its values.

    The sum over a stretch is the difference of two running sums. Where a large step stands among small ones float32
    would leave few of its digits, so running sums are float64, handed on as two numbers of lower precision.

    Args:
        steps: in the state's dtype [B, L, H].
        rates: A [H].
        seq_idx: [B, L] or None.
        chunks: how the sequence is cut.
    """
    dtype = steps.dtype
    runs = None if seq_idx is None else _find_runs(seq_idx, steps, chunks)
    steps = chunks.cut(steps).transpose(2, 3).contiguous()
    # Apple's GPUs have no float64.
    wide = torch.float32 if steps.device.type == "mps" else torch.float64
    sums = (steps.to(wide) * rates.to(wide).unsqueeze(-1)).cumsum(-1)
    coarse = sums.to(dtype)
    fine = None if sums.dtype == dtype else (sums - coarse).to(dtype)
    exponents = torch.stack((sums, sums[..., -1:] - sums)).to(dtype)
    if runs is not None:
        gone = torch.stack((runs.number != runs.before.unsqueeze(-1), runs.number != runs.number[..., -1:]))
        exponents.masked_fill_(gone.unsqueeze(3), -torch.inf)
    entering, leaving = exponents.exp_()
    return Decays(steps, coarse, fine, entering, leaving, runs)


def _find_runs(seq_idx: Tensor, steps: Tensor, chunks: Chunks) -> Runs:
    numbers = run_numbers(seq_idx, steps)
    last = numbers.shape[1] - 1
    places = torch.arange(chunks.number * chunks.steps, device=numbers.device)
    # Beyond the end the last run goes on; before the first step there is the run of the first.
    number = numbers[:, places.clamp(max=last)].unflatten(1, (chunks.number, chunks.steps))
    before = numbers[:, places[:: chunks.steps].sub(1).clamp(0, last)]
    return Runs(number.movedim(1, 0), before.T)


def _apart(runs: Runs) -> Tensor:
    """Whether two steps of a chunk belong to different sequences [K, B, J, J]."""
    return runs.number.unsqueeze(-1) != runs.number.unsqueeze(-2)
