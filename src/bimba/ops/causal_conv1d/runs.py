"""Numbers of sequences in, the number of the run of equal ones that each position belongs to out.

Shapes: B batch, L length.
"""

import torch
from torch import Tensor
from torch.nn import functional


def run_numbers(seq_idx: Tensor, x: Tensor) -> Tensor:
    """Runs are counted from 0; two runs of the same number are two.

    Args:
        seq_idx: integers [B, L].
        x: the sequences [B, L, ...].

    Returns:
        int64 [B, L].

    Raises:
        ValueError: seq_idx is of another shape or device than x, or no int32 or int64.
    """
    if seq_idx.shape != x.shape[:2] or seq_idx.device != x.device:
        raise ValueError(
            f"x {tuple(x.shape)} on {x.device} needs seq_idx {tuple(x.shape[:2])} there, "
            f"not {tuple(seq_idx.shape)} on {seq_idx.device}."
        )
    if seq_idx.dtype not in (torch.int32, torch.int64):
        raise ValueError(f"seq_idx is {seq_idx.dtype}; numbers of sequences are int32 or int64.")
    return functional.pad(seq_idx[:, 1:] != seq_idx[:, :-1], (1, 0)).cumsum(1)
