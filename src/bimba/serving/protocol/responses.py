"""An answer and what it took in, JSON as OpenAI's clients read it out."""

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import BaseModel, Field
from transformers import PreTrainedTokenizerBase

from bimba.inference.evidence import Evidence
from bimba.serving.engine.ticket import Done, Found, Ready, Scored, Unfound

FinishReason = Literal["stop", "length"]


class ErrorDetail(BaseModel):
    """What is wrong with a request."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """The body of every response that is no success."""

    error: ErrorDetail


class ModelCard(BaseModel):
    """A model."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "bimba"
    max_model_len: int | None = Field(description="Tokens that it reads, prompt and answer together.")
    shares_steps: bool = Field(description="Whether answers are generated together; else one after the other.")
    why_alone: str | None = Field(description="Why they are not.")


class ModelList(BaseModel):
    """The models of a server."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


class FileCard(BaseModel):
    """An uploaded file."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    filename: str
    purpose: str
    status: Literal["processed"] = "processed"


class FileList(BaseModel):
    """Uploaded files."""

    object: Literal["list"] = "list"
    data: list[FileCard]
    has_more: Literal[False] = False


class FileDeleted(BaseModel):
    """A file that is gone."""

    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True


class Alternative(BaseModel):
    """A token that might have come."""

    token: str
    logprob: float
    bytes: list[int] | None


class TokenLogprob(Alternative):
    """A token that came, and the likeliest in its place."""

    top_logprobs: list[Alternative]


class Logprobs(BaseModel):
    """Of the tokens of an answer."""

    content: list[TokenLogprob]
    refusal: None = None


class AnswerMessage(BaseModel):
    """The answer."""

    role: Literal["assistant"] = "assistant"
    content: str


class Choice(BaseModel):
    """The one answer."""

    index: Literal[0] = 0
    message: AnswerMessage
    logprobs: Logprobs | None
    finish_reason: FinishReason


class PromptDetails(BaseModel):
    """Tokens of the prompt, by where they came from."""

    video_tokens: int
    cached_tokens: int = Field(description="That had been read for an earlier question.")


class Usage(BaseModel):
    """Tokens; the prompt's are with those of the video."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails


class BimbaDetails(BaseModel):
    """What OpenAI's interface has no place for; sent where the request has a `bimba` of its own."""

    frame_seconds: list[float] = Field(description="Times of the frames that the model saw.")
    was_encoded: bool = Field(description="Whether the video was encoded for an earlier question.")
    evidence: Evidence | None = Field(
        default=None, description="Which moments of the video the answer rests on; null unless it was asked for."
    )
    evidence_error: str | None = Field(
        default=None, description="Why there is no evidence where it was asked for; the answer stands."
    )


class ChatCompletion(BaseModel):
    """An answer."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    bimba: BimbaDetails | None = None


def usage_of(ready: Ready, done: Done) -> Usage:
    """Tokens of a question and its answer."""
    num_prompt, num_new = ready.num_prompt_tokens, len(done.token_ids)
    details = PromptDetails(video_tokens=ready.num_video_tokens, cached_tokens=done.num_known)
    return Usage(
        prompt_tokens=num_prompt,
        completion_tokens=num_new,
        total_tokens=num_prompt + num_new,
        prompt_tokens_details=details,
    )


def details_of(ready: Ready, found: Found | Unfound | None) -> BimbaDetails:
    """What OpenAI's interface has no place for."""
    return BimbaDetails(
        frame_seconds=list(ready.frame_seconds),
        was_encoded=ready.was_encoded,
        evidence=found.evidence if isinstance(found, Found) else None,
        evidence_error=found.message if isinstance(found, Unfound) else None,
    )


def logprobs_of(tokenizer: PreTrainedTokenizerBase, scored: Iterable[Scored]) -> Logprobs:
    """Tokens in letters, with their log-probabilities."""
    content = [
        TokenLogprob(
            **_spelled(tokenizer, one.token_id, one.logprob),
            top_logprobs=[Alternative(**_spelled(tokenizer, *pair)) for pair in one.alternatives],
        )
        for one in scored
    ]
    return Logprobs(content=content)


def _spelled(tokenizer: PreTrainedTokenizerBase, token_id: int, logprob: float) -> dict[str, Any]:
    """A token; its bytes are told where it is whole characters."""
    token = str(tokenizer.decode([token_id]))
    known = None if "\ufffd" in token else list(token.encode())
    return {"token": token, "logprob": logprob, "bytes": known}


def chunk(name: str, created: int, model: str, **parts: Any) -> dict[str, Any]:
    """A piece of a streamed answer; without `delta` it has no choice."""
    usage, bimba = parts.pop("usage", None), parts.pop("bimba", None)
    choices = [{"index": 0, "logprobs": None, "finish_reason": None} | parts] if parts else []
    body: dict[str, Any] = {"id": name, "object": "chat.completion.chunk", "created": created, "model": model}
    body["choices"] = choices
    if usage is not None:
        body["usage"] = usage
    return body | ({} if bimba is None else {"bimba": bimba})
