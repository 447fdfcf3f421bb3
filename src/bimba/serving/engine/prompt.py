"""An encoded video and a question in, what the language model is given out; checked, and ready to be read.

Shapes: L tokens of the prompt, V tokens of the video, D width.
"""

import json
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import (
    EosTokenCriteria,
    GenerationConfig,
    LogitsProcessorList,
    MaxLengthCriteria,
    StoppingCriteria,
    StoppingCriteriaList,
)

from bimba.inference.clip import Clip
from bimba.inference.generation import generation_settings
from bimba.inference.request import Request, RequestBuilder, check_length
from bimba.inference.video_qa import VideoQA
from bimba.models.kinds import VideoFeatures
from bimba.serving.engine.choosing import alike
from bimba.serving.engine.ticket import Asked, Ticket

_MOST_SETTINGS = 64
"""For which it is known what transformers makes of them."""


@dataclass(frozen=True)
class Prompt:
    """A question whose video is encoded.

    Attributes:
        ticket: whose it is.
        request: prompt and frames.
        features: of the video; None without one.
        settings: how to generate.
        video: what tells the video, as it was looked at, from others; None where prompts about it are not kept.
    """

    ticket: Ticket
    request: Request
    features: VideoFeatures | None
    settings: GenerationConfig
    video: str | None = None


def write_prompt(
    qa: VideoQA[Any, Any], ticket: Ticket, clip: Clip | None, most_new_tokens: int, video: str | None = None
) -> Prompt:
    """The prompt about a video whose features are there.

    Args:
        qa: the model.
        ticket: the question.
        clip: of the video, with its features; None without one.
        most_new_tokens: of an answer that says nothing about it.
        video: as of `Prompt`.

    Raises:
        InputError: it is longer than the language model reads, or an option is out of range.
    """
    asked = ticket.asked
    builder = RequestBuilder(qa.processor, None, asked.turns, asked.look.sampling, asked.look.time_sentence)
    request = builder.about(clip)
    room = _room(qa, request, asked, most_new_tokens)
    check_length(request, qa.context_length, room, lambda: _WAY_OUT)
    settings = generation_settings(qa.model.generation_config, room, asked.drawing.options)
    return Prompt(ticket, request, None if clip is None else clip.features, settings, video)


_WAY_OUT = "ask for fewer tokens (max_tokens), look at fewer frames (bimba.num_frames), or shorten the conversation."


def _room(qa: VideoQA[Any, Any], request: Request, asked: Asked, most_new_tokens: int) -> int:
    """Tokens that the answer may have: as asked for, or as many as there is room for, up to the server's own limit."""
    if asked.drawing.max_new_tokens is not None:
        return asked.drawing.max_new_tokens
    if qa.context_length is None:
        return most_new_tokens
    return max(1, min(most_new_tokens, qa.context_length - len(request.input_ids)))


@dataclass(frozen=True)
class Prepared:
    """What transformers makes of a prompt's settings before it reads the first token.

    Attributes:
        processors: of the scores of the next token, in order.
        criteria: to stop, beside length and end tokens.
        settings: with everything filled in that the model's own say.
        alike: answers of which this is the same can be processed together; None for one that cannot.
    """

    processors: LogitsProcessorList
    criteria: tuple[StoppingCriteria, ...]
    settings: GenerationConfig
    alike: str | None

    @property
    def end_ids(self) -> frozenset[int]:
        """Tokens that end an answer."""
        ends = self.settings.eos_token_id
        return frozenset(() if ends is None else ends if isinstance(ends, list) else [ends])


def features_of(qa: VideoQA[Any, Any], prompt: Prompt) -> VideoFeatures | None:
    """What the language model reads of the video, where the model is; None without one."""
    features = prompt.features
    return features.to(qa.model.input_device, qa.model.dtype) if isinstance(features, Tensor) else features


def embed_from(qa: VideoQA[Any, Any], prompt: Prompt, start: int) -> Tensor:
    """A prompt as the language model reads it, from a token on: [1, L - start, D].

    Args:
        qa: the model.
        prompt: which one.
        start: tokens that need not be read.
    """
    ids = torch.tensor([prompt.request.input_ids], device=qa.model.input_device)
    if qa.model.config.video_token_id not in prompt.request.input_ids[start:]:
        rest: Tensor = qa.model.get_input_embeddings()(ids[:, start:])
        return rest
    features = features_of(qa, prompt)
    embeds: Tensor = qa.model.embed(ids, video_features=None if features is None else [features])
    return embeds[:, start:]


class Preparing:
    """Lets transformers prepare generations, and keeps what it makes of settings for the next question with the same.

    Args:
        qa: the model.
    """

    def __init__(self, qa: VideoQA[Any, Any]) -> None:
        self._qa = qa
        self._known: OrderedDict[str, Prepared] = OrderedDict()

    def prepare(self, prompt: Prompt) -> Prepared:
        """What is needed to choose an answer's tokens, as for `VideoQA.ask`; nothing is read."""
        name = json.dumps(prompt.ticket.asked.drawing.options, sort_keys=True, default=str)
        known = self._known.get(name)
        if known is None:
            known = _prepared(self._qa, prompt)
            if known.alike is not None and not known.criteria:  # else they may remember one answer
                self._known[name] = known
                if len(self._known) > _MOST_SETTINGS:
                    self._known.popitem(last=False)
        return known


def _prepared(qa: VideoQA[Any, Any], prompt: Prompt) -> Prepared:
    """Let transformers prepare a generation, and take what it would begin with."""
    taken: list[Prepared] = []

    def take(
        model: Any,
        input_ids: Tensor,
        *,
        logits_processor: LogitsProcessorList,
        stopping_criteria: StoppingCriteriaList,
        generation_config: GenerationConfig,
        **others: Any,
    ) -> Tensor:
        del model, others
        own = tuple(one for one in stopping_criteria if not isinstance(one, MaxLengthCriteria | EosTokenCriteria))
        told = alike(generation_config, logits_processor)
        taken.append(Prepared(logits_processor, own, generation_config, told))
        return input_ids

    ids = torch.tensor([prompt.request.input_ids], device=qa.model.input_device)
    features = features_of(qa, prompt)
    qa.model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        video_features=None if features is None else [features],
        generation_config=prompt.settings,
        tokenizer=qa.processor.tokenizer,
        custom_generate=take,
    )
    return taken[0]
