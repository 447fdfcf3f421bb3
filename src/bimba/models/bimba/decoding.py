"""Scores of the next token [B, vocabulary] in, scores that keep the released model's rules out."""

import torch
from torch import Tensor
from transformers import LogitsProcessor


class OnlyTokenizerIds(LogitsProcessor):
    """Never generate an id that the tokenizer cannot read: padding rows of the embedding table and the placeholder.

    Args:
        tokenizer_size: number of ids of the tokenizer, None if every row has its word.
        video_token_id: the placeholder, None if there is none.
    """

    def __init__(self, tokenizer_size: int | None, video_token_id: int | None) -> None:
        self.tokenizer_size, self.video_token_id = tokenizer_size, video_token_id

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # noqa: ARG002 - transformers calls it so
        """[B, vocabulary] -> the same with -inf at ids that must not come."""
        scores = scores.clone()
        if self.tokenizer_size is not None:
            scores[:, self.tokenizer_size :] = -torch.inf
        if self.video_token_id is not None and self.video_token_id < scores.shape[1]:
            scores[:, self.video_token_id] = -torch.inf
        return scores
