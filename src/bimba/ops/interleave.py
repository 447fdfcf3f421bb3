"""Tokens [B, S, D] and queries [B, Q, D] in, one sequence [B, S + Q, D] with known query positions out.

Shapes: B batch, S video tokens, Q queries, L = S + Q, D width.
"""

from typing import Literal, get_args

import torch
from torch import Tensor

QueryPosition = Literal["interleaved", "start", "end"]


def query_positions(num_tokens: int, num_queries: int, placement: QueryPosition = "interleaved") -> Tensor:
    """Places of the queries in the joint sequence, in rising order.

    "interleaved" spreads them evenly, the last query last (BIMBA, arXiv 2503.09590, section 3.3). The released
    positions come from an integer `torch.linspace` on the CPU; closed forms differ from it by one at some sizes, so
    it is called here rather than rewritten. "start" and "end" put all queries on one side (the paper's ablation).

    Args:
        num_tokens: S, at least 1.
        num_queries: Q, at least 1.
        placement: "interleaved", "start" or "end".

    Returns:
        int64 [Q] on the CPU.

    Raises:
        ValueError: a count is below 1, or the placement is unknown.
    """
    if num_tokens < 1 or num_queries < 1:
        raise ValueError(f"{num_tokens} tokens and {num_queries} queries: both must be at least 1.")
    length = num_tokens + num_queries
    if placement == "interleaved":
        return torch.linspace(0, length - 1, num_queries + 1, dtype=torch.int64, device="cpu")[1:]
    if placement == "start":
        return torch.arange(num_queries, device="cpu")
    if placement == "end":
        return torch.arange(num_tokens, length, device="cpu")
    raise ValueError(f"query placement {placement!r} is none of {', '.join(get_args(QueryPosition))}.")


def interleave(tokens: Tensor, queries: Tensor, positions: Tensor) -> Tensor:
    """Joint sequence in which the queries stand at `positions` and the tokens, in order, everywhere else.

    Args:
        tokens: [B, S, D].
        queries: [B, Q, D].
        positions: int64 [Q], strictly rising, below S + Q.

    Returns:
        [B, S + Q, D].

    Raises:
        ValueError: batch, width or number of positions do not fit, or the positions do not rise within the sequence.
    """
    if tokens.shape[0] != queries.shape[0] or tokens.shape[-1] != queries.shape[-1]:
        raise ValueError(f"tokens {tuple(tokens.shape)} and queries {tuple(queries.shape)} differ in batch or width.")
    if positions.shape != (queries.shape[1],):
        raise ValueError(f"{queries.shape[1]} queries need as many positions, not {tuple(positions.shape)}.")
    num_tokens = tokens.shape[1]
    length = num_tokens + queries.shape[1]
    if not torch.equal(positions, positions[(positions >= 0) & (positions < length)].unique()):
        raise ValueError(f"positions must rise strictly within 0..{length - 1}.")
    return torch.cat([tokens, queries], dim=1).index_select(1, gather_order(num_tokens, positions).to(tokens.device))


def gather_order(num_tokens: int, positions: Tensor) -> Tensor:
    """Where each place of the joint sequence comes from in the concatenation [tokens, queries]: int64 [S + Q]."""
    num_queries = positions.shape[0]
    is_query = torch.zeros(num_tokens + num_queries, dtype=torch.bool)
    is_query[positions.cpu()] = True
    order = torch.empty(num_tokens + num_queries, dtype=torch.int64)
    order[is_query] = torch.arange(num_tokens, num_tokens + num_queries)
    order[~is_query] = torch.arange(num_tokens)
    return order


def token_positions(num_tokens: int, positions: Tensor) -> Tensor:
    """Places that the queries leave to the tokens: int64 [S] on the CPU, rising."""
    is_token = torch.ones(num_tokens + positions.shape[0], dtype=torch.bool)
    is_token[positions.cpu()] = False
    return is_token.nonzero().squeeze(1)
