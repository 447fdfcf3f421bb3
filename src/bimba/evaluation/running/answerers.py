"""Chunks of a video's frames and questions in, what a model says to each out; ours, or any that keeps to `Answerer`."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

from torch import Tensor

from bimba.evaluation.answering import Asker, Query
from bimba.evaluation.provenance import session
from bimba.inference import VideoQA
from bimba.inference.clip import Clip


class Answerer(Protocol):
    """A model that answers questions about a video that it sees once."""

    def check(self, num_frames: int) -> None:
        """Refuse a video that is too long for the model.

        Raises:
            InputError: it is.
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

    def chunks(self, clip: Clip) -> Iterator[Tensor]:
        """Pixels [t, 3, S, S]."""
        return self._asker.pixels(clip.frames())

    def say(self, chunks: Iterable[Tensor], queries: Sequence[Query]) -> list[str]:
        """Answer in words, greedily."""
        features = self._asker.look_at(chunks)
        return [reply.said for reply in self._asker.answer(features, queries)]

    def choose(self, chunks: Iterable[Tensor], queries: Sequence[Query], letters: Sequence[str]) -> list[list[float]]:
        """Log-probability of each letter as the answer's beginning."""
        return self._asker.choose(self._asker.look_at(chunks), queries, letters)

    def session(self) -> dict[str, Any]:
        """Code, machine, device and dtype."""
        return session(self._qa.model.input_device, self._qa.model.dtype)
