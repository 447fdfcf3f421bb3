"""Logits of running answers in, the next token of each out: each as it would be chosen alone, most of it together.

Shapes: R answers, n tokens that an answer has so far, N words of the vocabulary.
"""

import json
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    SuppressTokensLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from bimba.models.bimba.decoding import OnlyTokenizerIds

_SHARED = (
    OnlyTokenizerIds,
    RepetitionPenaltyLogitsProcessor,
    SuppressTokensLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)
"""Processors that judge each answer by itself, and by which tokens it has, not how often or in which order."""

NONE = -1
"""In the place of a token where the scores are no numbers."""

_OF_ONE_ANSWER = ("max_new_tokens", "max_length")


class Chooses(Protocol):
    """An answer whose next token is wanted.

    Attributes:
        token_ids: that it has so far.
        processors: of its scores.
        alike: answers of which this is the same can be processed together; None for one that cannot.
        do_sample: whether the token is drawn by chance.
        chance: by which it is.
    """

    token_ids: list[int]
    processors: LogitsProcessorList
    alike: str | None
    do_sample: bool
    chance: torch.Generator


def alike(settings: GenerationConfig, processors: LogitsProcessorList) -> str | None:
    """What two answers have to share to be processed together; None for one that has to be processed alone."""
    if not all(type(one) in _SHARED for one in processors):
        return None
    told = {name: value for name, value in settings.to_dict().items() if name not in _OF_ONE_ANSWER}
    return json.dumps(told, sort_keys=True, default=str)


def choose(answers: Sequence[Chooses], logits: Tensor) -> list[Tensor | Exception]:
    """The next token [1] of each answer, `NONE` where its scores are no numbers, or why there is none.

    Args:
        answers: R.
        logits: float32 [R, N].
    """
    groups: dict[object, list[int]] = {}
    for index, answer in enumerate(answers):
        groups.setdefault(answer.alike or index, []).append(index)
    chosen: dict[int, Tensor | Exception] = {}
    for members in groups.values():
        try:
            scores = _processed([answers[index] for index in members], logits[members])
        except Exception as error:  # noqa: BLE001 - the options of one answer must not end the others
            chosen |= dict.fromkeys(members, error)
            continue
        likeliest = _likeliest(scores)
        for index, own, first in zip(members, scores, likeliest, strict=True):
            chosen[index] = _drawn(answers[index], own) if answers[index].do_sample else first
    return [chosen[index] for index in range(len(answers))]


def _processed(answers: Sequence[Chooses], logits: Tensor) -> Tensor:
    """Scores [R, N] of answers that are alike."""
    longest = max(len(answer.token_ids) for answer in answers)
    if any(bool(answer.token_ids) != bool(longest) for answer in answers):
        raise ValueError("an answer that has just begun is processed by itself.")
    # Shorter ones repeat a token that they have: it says nothing new of them.
    ids = [answer.token_ids + answer.token_ids[:1] * (longest - len(answer.token_ids)) for answer in answers]
    known = torch.tensor(ids, dtype=torch.long, device=logits.device).reshape(len(answers), longest)
    scores = logits
    # One by one, and not by the list, which looks the arguments of each up each time.
    for process in answers[0].processors:
        call: Any = process
        scores = call(known, scores)
    return scores


def _likeliest(scores: Tensor) -> tuple[Tensor, ...]:
    """The likeliest token [1] of each answer by its scores [R, N]; `NONE` where they are no numbers."""
    best, tokens = scores.max(-1, keepdim=True)
    return torch.where(best.isfinite(), tokens, NONE).unbind()


def _drawn(answer: Chooses, scores: Tensor) -> Tensor:
    """A token [1] by its scores [N]; `NONE` where they are no numbers."""
    is_sound = scores.max().isfinite()  # not so where one is no number, or all are minus infinity
    # What is no probability is never drawn from: on a GPU that would end the process' use of it.
    probabilities = torch.where(is_sound, scores.softmax(-1), torch.ones_like(scores))
    return torch.where(is_sound, torch.multinomial(probabilities, 1, generator=answer.chance), NONE)
