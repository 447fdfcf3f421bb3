"""Chunks of a video's frames and questions in, what a model says to each out; ours, or any that keeps to `Answerer`."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

from bimba.evaluation.answering import Asker, Chunk, Query, Tokens
from bimba.evaluation.provenance import session
from bimba.inference import VideoQA
from bimba.inference.clip import Clip
from bimba.inference.encoded import EncodedVideo
from bimba.inference.encoded.describing import settings_of


class Answerer(Protocol):
    """A model that answers questions about a video that it sees once."""

    def check(self, num_frames: int) -> None:
        """Refuse a video that is too long for the model.

        Raises:
            InputError: it is.
        """

    def accept(self, encoded: EncodedVideo, num_frames: int, sampling: str) -> None:
        """Refuse a video that was encoded before, if it is not what looking at it now would give.

        Raises:
            InputError: it is not.
        """

    def chunks(self, clip: Clip) -> Iterator[Any]:
        """What the model needs of a clip's frames, bit by bit; called in the reading thread, without the model."""

    def say(self, chunks: Iterable[Any], queries: Sequence[Query]) -> list[str]:
        """Answer in words, greedily."""

    def choose(self, chunks: Iterable[Any], queries: Sequence[Query], letters: Sequence[str]) -> list[list[float]]:
        """Log-probability of each letter as the answer's beginning."""

    def session(self) -> dict[str, Any]:
        """What the answers are made with: see `bimba.evaluation.provenance.session`."""


class BimbaAnswerer:
    """A model of ours.

    Args:
        qa: model and processor.
        max_new_tokens: of an answer in words.
        batch_size: prompts that the language model reads at a time; it changes nothing beyond rounding.
    """

    def __init__(self, qa: VideoQA, *, max_new_tokens: int, batch_size: int) -> None:
        self._qa = qa
        self._asker = Asker(qa, max_new_tokens=max_new_tokens, batch_size=batch_size)

    def check(self, num_frames: int) -> None:
        """Refuse a video that is too long for the model.

        Raises:
            InputError: it is.
        """
        self._asker.check(num_frames)

    def accept(self, encoded: EncodedVideo, num_frames: int, sampling: str) -> None:
        """Refuse what another model encoded, or this one in another way.

        Raises:
            InputError: it was.
        """
        encoded.check_encoder(self._qa.encoder_identity, self._qa.model.config.text_config.hidden_size)
        looking = {"num_frames": num_frames, "sampling": sampling}
        encoded.check_settings(settings_of(self._qa.model.config, None, looking))

    def chunks(self, clip: Clip) -> Iterator[Chunk]:
        """Pixels of some frames at a time; the tokens, where the video was encoded before."""
        if clip.features is not None:
            return iter([Tokens(clip.features, clip.num_frames)])
        return self._asker.pixels(clip.frames())

    def say(self, chunks: Iterable[Chunk], queries: Sequence[Query]) -> list[str]:
        """Answer in words, greedily."""
        return [reply.said for reply in self._asker.answer(self._asker.look_at(chunks), queries)]

    def choose(self, chunks: Iterable[Chunk], queries: Sequence[Query], letters: Sequence[str]) -> list[list[float]]:
        """Log-probability of each letter as the answer's beginning."""
        return self._asker.choose(self._asker.look_at(chunks), queries, letters)

    def session(self) -> dict[str, Any]:
        """Code, machine, device and dtype."""
        return session(self._qa.model.input_device, self._qa.model.dtype)
