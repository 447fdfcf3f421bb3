"""Stored samples in, examples for a model out; a sample that cannot be made becomes a `Failure` with its reason.

What is the same for every kind of model; `dataset` and `vamba_dataset` make the examples.

Shapes: L tokens.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

from torch.utils.data import Dataset

from bimba.errors import BimbaError, InputError
from bimba.inference.clip import Clip
from bimba.models.kinds import VideoProcessor
from bimba.needles import StreamedVideo
from bimba.text.prompts import Message
from bimba.training.data.example import Example, Failure, count_learned
from bimba.training.data.learned import Labels
from bimba.training.data.sample import Kind, Sample
from bimba.training.data.store import SampleStore
from bimba.training.recipe.data_settings import Frames

BLANK = -1
"""Index of a place that no sample fills."""


@dataclass(frozen=True)
class Description:
    """A sample as the model will see it; no frame is decoded yet.

    Attributes:
        sample: what the file says.
        clips: the chosen frames of each video or image.
        messages: the conversation with one placeholder a video or image.
        ids: [L], of a BIMBA with a placeholder for each video token.
        labels: [L].
        num_video_tokens: of each video or image, among the ids (BIMBA) or beside them (Vamba).
        branches: see `Example`.
        needles: the video of a stream and the numbers of its frames that are seen.
        holds_videos: whether video tokens are among the ids.
    """

    sample: Sample
    clips: tuple[Clip, ...]
    messages: tuple[Message, ...]
    ids: list[int]
    labels: list[int]
    num_video_tokens: tuple[int, ...]
    branches: tuple[int, ...] = ()
    needles: tuple[StreamedVideo, list[int]] | None = None
    holds_videos: bool = True

    @property
    def num_learned(self) -> int:
        """Tokens that are learned."""
        return count_learned(self.labels)


@dataclass(frozen=True)
class Piece:
    """Tokens in a row that are alike: a video's, or text that is learned or is not."""

    text: str
    learned: bool
    num_video_tokens: int = 0


class ExampleDataset(Dataset["Example | Failure | None"]):
    """Examples by the number of their sample.

    It holds a few arrays and the processor, so that worker processes may be forked or spawned with it.

    Args:
        store: the samples.
        processor: the model's.
        frames: which frames of a video are seen.
        labels: "released" or "assistant_only".
        max_tokens: samples with more are failures; None for no limit.
    """

    processor: VideoProcessor

    def __init__(
        self, store: SampleStore, processor: VideoProcessor, frames: Frames, labels: Labels, max_tokens: int | None
    ) -> None:
        self.store, self.processor, self.frames = store, processor, frames
        self.labels, self.max_tokens = labels, max_tokens

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, index: int) -> Example | Failure | None:
        """Example of a sample, or why there is none; None for the index of a blank place, -1.

        Raises:
            IndexError: there is no sample of that number.
        """
        if index == BLANK:
            return None
        try:
            return self._example(index, self._describe(index))
        except BimbaError as error:
            return Failure(self.store.name(index), error.problem)

    @abstractmethod
    def measure(self, index: int) -> int | Failure:
        """How long an example is, without decoding frames; or why there is none, as far as is known then.

        Raises:
            IndexError: there is no sample of that number.
        """

    def describe(self, index: int) -> Description | Failure:
        """What the model will see of a sample, without decoding frames; or why there is nothing.

        Raises:
            IndexError: there is no sample of that number.
        """
        try:
            return self._describe(index)
        except BimbaError as error:
            return Failure(self.store.name(index), error.problem)

    def kind(self, index: int) -> Kind | None:
        """What a sample is about; None if it is damaged."""
        try:
            return self.store[index].kind
        except InputError:
            return None

    @abstractmethod
    def pieces(self, description: Description) -> list[Piece]:
        """The text of a sample, cut where videos stand, and where tokens begin and cease to be learned."""

    @abstractmethod
    def sizes(self) -> dict[str, Any]:
        """What of the processor decides how long examples are, besides its tokenizer."""

    @abstractmethod
    def _describe(self, index: int) -> Description:
        """What the model will see of a sample.

        Raises:
            BimbaError: it cannot be made.
        """

    @abstractmethod
    def _example(self, index: int, description: Description) -> Example:
        """The sample of a number with its frames.

        Raises:
            BimbaError: they cannot be read.
        """

    def _check_length(self, num_tokens: int, num_video_tokens: int) -> None:
        """Refuse what is longer than the model reads, or than the recipe allows."""
        if self.max_tokens is not None and num_tokens > self.max_tokens:
            raise InputError(
                f"the sample has {num_tokens:,} tokens, {num_video_tokens:,} of them of frames; at most "
                f"{self.max_tokens:,} are read.",
                fix="raise data.max_tokens, choose fewer frames (frames.count), or shorten the text.",
            )
