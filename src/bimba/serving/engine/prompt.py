"""An encoded video and a question in, what the language model is given out; checked, and ready to be read.

Shapes: L tokens of the prompt, V tokens of the video, D width.
"""

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
from bimba.serving.engine.ticket import Asked, Ticket


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
    """What transformers makes of a prompt and its settings before it reads the first token.

    Attributes:
        embeds: the prompt [1, L, D].
        processors: of the scores of the next token, in order.
        criteria: to stop, beside length and end tokens.
        settings: with everything filled in that the model's own say.
    """

    embeds: Tensor
    processors: LogitsProcessorList
    criteria: tuple[StoppingCriteria, ...]
    settings: GenerationConfig

    @property
    def end_ids(self) -> frozenset[int]:
        """Tokens that end an answer."""
        ends = self.settings.eos_token_id
        return frozenset(() if ends is None else ends if isinstance(ends, list) else [ends])


def features_of(qa: VideoQA[Any, Any], prompt: Prompt) -> VideoFeatures | None:
    """What the language model reads of the video, where the model is; None without one."""
    features = prompt.features
    return features.to(qa.model.input_device, qa.model.dtype) if isinstance(features, Tensor) else features


def prepare(qa: VideoQA[Any, Any], prompt: Prompt) -> Prepared:
    """Let transformers prepare a generation, and take what it would begin with.

    Whatever it makes of settings is what it makes of them for `VideoQA.ask`; nothing is read.
    """
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
        del model
        own = tuple(one for one in stopping_criteria if not isinstance(one, MaxLengthCriteria | EosTokenCriteria))
        taken.append(Prepared(others["inputs_embeds"], logits_processor, own, generation_config))
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
