"""The video's tokens and the words of what stands there in, a loss out: tokens shall point where their words do.

A vision tower and a language model that both start from nothing do not find each other through answers alone for a
long time. This loss tells them: a token is classified by its cosine to each word that videos can show, and to no other:
were the rest of the language model's table wrong answers, too, all of it would be pushed the same way, away from every
token, until a question's words are one and the same to the language model.

Shapes: P places of all videos, K words a place, D width of the language model, W words of the vocabulary.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bimba.models.bimba.modeling import BimbaForConditionalGeneration
from bimba.training.data.streams import NO_WORD
from bimba.training.recipe.settings import Words

NOTHING = "nothing"
"""The word for places where nothing stands."""
SHARPNESS = 24.0
"""Cosines are multiplied by it, so that a token can be nearly sure of two words of a thousand."""


class WordLoss:
    """Keeps what a part of the model puts out in its forward pass, and compares it with words.

    Args:
        model: whose projector (at "tokens") or compressor (at "queries") is listened to.
        settings: of the recipe.
        nothing: token id of the word for places where nothing stands.
        shown: token ids of the other words that places can have.
    """

    def __init__(
        self, model: BimbaForConditionalGeneration, settings: Words, nothing: int, shown: Iterable[int]
    ) -> None:
        self.settings, self.nothing = settings, nothing
        self.choices = torch.tensor(sorted({nothing, *shown}))
        self._heard: list[Tensor] = []
        listened_to = model.projector if settings.at == "tokens" else model.compressor
        listened_to.register_forward_hook(self._hear)

    def _hear(self, module: nn.Module, given: Any, output: Tensor) -> None:
        del module, given
        self._heard.append(output)

    def take(self, table: Tensor, words: Sequence[Tensor], num_frames: Sequence[int]) -> Tensor:
        """The loss of what was heard since the last call, and forget it.

        Args:
            table: the language model's embeddings [W, D].
            words: of each video [P of it, K], see `Example`; [0, K] of a video whose words nobody knows.
            num_frames: of each video.

        Raises:
            ValueError: nothing was heard, or tokens and words differ in number.
        """
        if not self._heard:
            raise ValueError("the model was not called")
        heard, self._heard = self._heard, []
        tokens = self._by_video(heard, num_frames)
        pairs = [(t, w) for t, w in zip(tokens, words, strict=True) if len(w)]
        if not pairs:
            return 0 * torch.cat(tokens).sum()
        return self._loss(torch.cat([t for t, _ in pairs]), torch.cat([w for _, w in pairs]), table)

    def _by_video(self, heard: list[Tensor], num_frames: Sequence[int]) -> list[Tensor]:
        """Tokens [P of it, D] of each video, in the order of the batch."""
        if self.settings.at == "tokens":
            (together,) = heard  # [F, S, D]
            return [video.flatten(0, 1) for video in together.split(list(num_frames))]
        # The compressor is called once for each length, shortest first: [n, T', H', W', D].
        in_calls = [video.flatten(0, -2) for call in heard for video in call]
        order = sorted(range(len(num_frames)), key=lambda index: (num_frames[index], index))
        by_video = dict(zip(order, in_calls, strict=True))
        return [by_video[index] for index in range(len(num_frames))]

    def _loss(self, tokens: Tensor, words: Tensor, table: Tensor) -> Tensor:
        """Cross entropy of tokens [P, D] with the even distribution over their words [P, K], and what lengths cost.

        Raises:
            ValueError: a word is none of those that can be shown.
        """
        is_bare = words[:, 0] == NO_WORD
        words = words.clone()
        words[is_bare, 0] = self.nothing
        choices = self.choices.to(table.device)
        known = nn.functional.normalize(table[choices].float(), dim=-1)
        log_shares = (SHARPNESS * nn.functional.normalize(tokens.float(), dim=-1) @ known.T).log_softmax(dim=-1)
        there = words != NO_WORD
        words = words.where(there, self.nothing)
        if not torch.isin(words, choices).all():
            raise ValueError("a place has a word that videos were not said to show.")
        columns = torch.searchsorted(choices, words)
        losses = -(log_shares.gather(1, columns) * there).sum(dim=1) / there.sum(dim=1)
        weights = torch.where(is_bare, self.settings.background, 1.0)
        loss = (losses * weights).sum() / weights.sum().clamp(min=1e-6)
        if not self.settings.length:
            return loss
        wanted = table.detach().float().norm(dim=-1).mean()
        return loss + self.settings.length * (_off_length(tokens, wanted) + _off_length(table, wanted))


def _off_length(vectors: Tensor, wanted: Tensor) -> Tensor:
    """How far vectors [..., D] are from a length, up or down alike: the mean of squared logarithms."""
    cost: Tensor = (vectors.float().norm(dim=-1).clamp(min=1e-6) / wanted).log().square().mean()
    return cost
