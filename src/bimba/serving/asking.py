"""The body of a chat completion in, a question for the engine out; what cannot be asked is refused by name."""

from typing import Literal

from bimba.errors import BimbaError
from bimba.inference.request import checked_turns
from bimba.serving.engine.ticket import Asked, Drawing, Look, Media
from bimba.serving.media.opening import MediaOpener
from bimba.serving.protocol.requests import BimbaOptions, ChatMessage, ChatRequest, FilePart, Part, TextPart, VideoPart
from bimba.serving.refusals import RefusedError, refused
from bimba.serving.settings import ServeSettings
from bimba.text.prompts import Message
from bimba.video.sampling import SamplingOrRate
from bimba.video.source import Video


def check_supported(body: ChatRequest, settings: ServeSettings, *, shares_steps: bool) -> None:
    """Refuse what this server does not do.

    Raises:
        RefusedError: another model is asked for, or log-probabilities of a model that does not tell them.
    """
    if body.model != settings.model_name:
        raise RefusedError(
            404,
            f"there is no model of that name here, but {settings.model_name!r}.",
            code="model_not_found",
            param="model",
        )
    if body.logprobs and not shares_steps:
        raise _unsupported("logprobs are not supported for this model.", "logprobs")


def asked_of(body: ChatRequest, settings: ServeSettings, opener: MediaOpener, owner: str) -> Asked:
    """What a body asks; its video is found and, if it came along, written to a file.

    Raises:
        RefusedError: it cannot be asked.
    """
    parts = [(index, part) for index, turn in enumerate(body.messages) for part in _media_parts(turn)]
    first = next((index for index, turn in enumerate(body.messages) if turn.role == "user"), None)
    if len(parts) > 1:
        raise _unsupported("a conversation is about one video or image; this one names several.", "messages")
    if parts and parts[0][0] != first:
        raise _unsupported("the video has to be in the first message of the user.", f"messages.{parts[0][0]}.content")
    if body.evidence is not None and not parts:
        raise _unsupported("there is no video that the answer could rest on.", "bimba.evidence")
    _check_letters(body, settings.limits.letters)
    look = _look(body.bimba or BimbaOptions(), settings)
    try:
        turns = checked_turns([_message(turn) for turn in body.messages], has_video=bool(parts))
        Video("", start=look.start, end=look.end)  # checks the times
    except BimbaError as error:
        raise refused(error, "messages") from error
    media = _opened(parts[0][1], opener, owner) if parts else None
    num_alternatives = (body.top_logprobs or 0) if body.logprobs else None
    most = body.max_completion_tokens if body.max_tokens is None else body.max_tokens
    drawing = Drawing(most, dict(body.drawing_options), body.seed, body.stops, num_alternatives)
    return Asked(turns, media, look, drawing, is_streamed=bool(body.stream), evidence=body.evidence)


def _check_letters(body: ChatRequest, most: int) -> None:
    """Refuse texts that would take long to be made tokens, only to be too long for any model."""
    texts = (turn.content if isinstance(turn.content, str) else _texts(turn.content) for turn in body.messages)
    num_letters = sum(map(len, texts))
    if num_letters > most:
        raise RefusedError(
            413,
            f"the messages have {num_letters:,} letters; this server reads {most:,} at most.",
            code="too_large",
            param="messages",
        )


def _texts(parts: list[Part]) -> str:
    return "\n".join(part.text for part in parts if isinstance(part, TextPart))


def _look(options: BimbaOptions, settings: ServeSettings) -> Look:
    num_frames = settings.frames if options.num_frames is None else options.num_frames
    sampling: SamplingOrRate = settings.sampling if options.sampling is None else options.sampling
    limit = settings.max_video_tokens if options.max_video_tokens is None else options.max_video_tokens
    return Look(num_frames, sampling, options.start, options.end, options.time_sentence, limit)


def _media_parts(turn: ChatMessage) -> list[Part]:
    if isinstance(turn.content, str):
        return []
    return [part for part in turn.content if not isinstance(part, TextPart)]


def _message(turn: ChatMessage) -> Message:
    """A turn in words alone; several texts stand below each other."""
    role: Literal["system", "user", "assistant"] = "system" if turn.role == "developer" else turn.role
    if isinstance(turn.content, str):
        return Message(role, turn.content)
    return Message(role, _texts(turn.content))


def _opened(part: Part, opener: MediaOpener, owner: str) -> Media:
    if isinstance(part, FilePart):
        if part.file.file_id is not None:
            return opener.open_file(part.file.file_id, owner)
        return opener.open_url(part.file.file_data or "")
    if isinstance(part, TextPart):
        raise TypeError("a text is no video")
    return opener.open_url(part.video_url.url if isinstance(part, VideoPart) else part.image_url.url)


def _unsupported(message: str, param: str) -> RefusedError:
    return RefusedError(400, message, code="unsupported_value", param=param)
