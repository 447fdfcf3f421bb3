"""Conversations that begin alike in, one row of tokens that holds the beginning once and each rest behind it out.

Each rest (a branch) sees the beginning and itself, at the positions that it had alone: the losses are those of the
conversations one by one, and the beginning, with its video, is computed once.

Shapes: B rows, L tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor


@dataclass(frozen=True)
class Joined:
    """A row of tokens.

    Attributes:
        ids: [L].
        labels: [L].
        starts: where each branch begins.
        longest: tokens of the longest conversation.
    """

    ids: list[int]
    labels: list[int]
    starts: tuple[int, ...]
    longest: int


def join_branches(conversations: Sequence[tuple[list[int], list[int]]], placeholder: int) -> Joined:
    """Put conversations about one video behind one beginning, which ends with the video's placeholder.

    Args:
        conversations: ids and labels of each.
        placeholder: id of the video's placeholder.

    Raises:
        ValueError: they do not begin alike, or one has not one placeholder.
    """
    if any(ids.count(placeholder) != 1 for ids, _ in conversations):
        raise ValueError("a branch needs one video")
    first_ids, first_labels = conversations[0]
    end = first_ids.index(placeholder) + 1
    ids, labels, starts = first_ids[:end], first_labels[:end], []
    for branch_ids, branch_labels in conversations:
        if branch_ids[:end] != first_ids[:end] or branch_labels[:end] != first_labels[:end]:
            raise ValueError("conversations about one video do not begin alike")
        starts.append(len(ids))
        ids += branch_ids[end:]
        labels += branch_labels[end:]
    return Joined(ids, labels, tuple(starts), max(len(ids) for ids, _ in conversations))


def positions_and_mask(lengths: Sequence[int], branches: Sequence[Sequence[int]], width: int) -> tuple[Tensor, Tensor]:
    """Positions and attention of rows with branches.

    Args:
        lengths: tokens of each of B rows.
        branches: where the branches of each row begin; none for a row that is one conversation.
        width: L, tokens of the padded rows.

    Returns:
        int64 [B, L], and bool [B, 1, L, L]: which tokens (columns) each token (row) sees; padding sees itself.
    """
    positions = torch.zeros(len(lengths), width, dtype=torch.long)
    owners = torch.full((len(lengths), width), -1)  # 0 the beginning, from 1 the branches, -1 padding
    for row, (length, starts) in enumerate(zip(lengths, branches, strict=True)):
        begin = starts[0] if starts else length
        positions[row, :begin] = torch.arange(begin)
        owners[row, :begin] = 0
        for number, (start, end) in enumerate(pairwise([*starts, length]), start=1):
            positions[row, start:end] = begin + torch.arange(end - start)
            owners[row, start:end] = number
    sees = (owners[:, :, None] == owners[:, None, :]) | (owners[:, None, :] == 0)
    sees &= torch.ones(width, width, dtype=torch.bool).tril()
    return positions, sees[:, None]
