"""A question about a video in, its clip with what the language model reads of it out; encoded once, kept on disk."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from torch import Tensor

from bimba.inference.budget import AUTO, ROOM_FOR_ANSWERS
from bimba.inference.clip import Clip, ClipFile
from bimba.inference.encoded import EncodedVideo
from bimba.inference.encoded.describing import describe, settings_of
from bimba.inference.encoder import encode_clip
from bimba.inference.request import RequestBuilder, build_request
from bimba.inference.stopwatch import Stopwatch
from bimba.inference.video_qa import VideoQA
from bimba.models.bimba.modeling import BimbaForConditionalGeneration
from bimba.serving.engine.cache import EncodedCache
from bimba.serving.engine.ticket import Asked, Media, Ticket
from bimba.serving.engine.turns import Turns
from bimba.serving.media.checking import check_video, open_isolated
from bimba.serving.settings import MediaLimits
from bimba.text.prompts import Message
from bimba.video.source import Video

_ANY_QUESTION = (Message("user", "?"),)


class Encoder:
    """Encodes the videos of questions.

    Args:
        qa: the model.
        cache: that keeps what is encoded; None for a model that reads question and video together, or layer by layer.
        turns: of which encoding a piece of frames takes one.
        limits: of what is decoded.
    """

    def __init__(self, qa: VideoQA[Any, Any], cache: EncodedCache | None, turns: Turns, limits: MediaLimits) -> None:
        self._qa, self._cache, self._turns, self._limits = qa, cache, turns, limits

    def known(self, asked: Asked) -> Clip | None:
        """The clip of a video that was encoded before; None if it was not."""
        if asked.media is None or self._cache is None:
            return None
        encoded = self._cache.get(asked.media.sha256, self._settings(asked))
        return None if encoded is None else encoded.clip

    def key(self, asked: Asked) -> str | None:
        """What tells a video, as it is looked at, from others; None where each question has it encoded anew."""
        if asked.media is None or self._cache is None:
            return None
        return self._cache.key(asked.media.sha256, self._settings(asked))

    def encode(self, ticket: Ticket, media: Media) -> Clip:
        """The clip of a video, read and encoded now.

        Raises:
            VideoError: the video cannot be read.
            InputError: it is larger or longer than is allowed, or a setting is out of range.
            RefusedError: nobody waits for the answer any more.
        """
        asked = ticket.asked
        ticket.progress = ("reading", 0, 1)
        media.check_unchanged()
        with open_isolated(media.path, self._limits, asked.look.start, asked.look.end) as video:
            check_video(video, self._limits)
            ticket.check()
            return self._encoded(ticket, media, video)

    def _encoded(self, ticket: Ticket, media: Media, video: Video) -> Clip:
        qa, asked = self._qa, ticket.asked
        opened = ClipFile(video)
        turns = _ANY_QUESTION if self._cache is not None else asked.turns
        look = asked.look
        builder = RequestBuilder(
            qa.processor, opened, turns, look.sampling, look.time_sentence, max_video_tokens=look.max_video_tokens
        )
        room = ROOM_FOR_ANSWERS if asked.look.num_frames == AUTO else 1
        request = build_request(builder, asked.look.num_frames, qa.context_length, room)
        if request.clip is None:
            raise ValueError("there is no video to encode.")

        def report(stage: str, done: int, total: int) -> None:
            ticket.progress = (stage, done, total)

        @contextmanager
        def waiting() -> Iterator[None]:
            ticket.check()
            with self._turns.given_up():
                yield

        about = None
        if self._cache is not None:  # before it is read, so that what is written to it meanwhile is noticed
            about = describe(opened, request.clip, qa.model.config, qa.encoder_identity, self._looking(asked))
        with self._turns.held():
            features = encode_clip(
                qa.model,
                qa.processor,
                request.clip,
                Stopwatch(qa.model.input_device),
                question_ids=request.question_ids,
                progress=report,
                waiting=waiting,
            )
        media.check_unchanged()
        if self._cache is None or about is None or not isinstance(features, Tensor):
            return replace(request.clip, features=features)
        encoded = EncodedVideo(features, about)
        self._cache.put(media.sha256, self._settings(asked), encoded)
        return encoded.clip

    def _settings(self, asked: Asked) -> dict[str, Any]:
        """What has to be the same for the tokens of a video to be."""
        part = Video("", start=asked.look.start, end=asked.look.end)
        return settings_of(self._qa.model.config, part, self._looking(asked))

    def _looking(self, asked: Asked) -> dict[str, Any]:
        look = asked.look
        limit = {} if look.max_video_tokens is None else {"max_video_tokens": look.max_video_tokens}
        return {"num_frames": look.num_frames, "sampling": look.sampling} | limit


def keeps_encodings(qa: VideoQA[Any, Any]) -> bool:
    """Whether what a model makes of a video can be kept for another question."""
    return isinstance(qa.model, BimbaForConditionalGeneration) and not qa.model.config.reads_question
