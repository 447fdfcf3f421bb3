"""What a sample becomes for the model, or why it became nothing.

Shapes: L tokens, T frames of a video, S image size, P patches of a frame, Dv width of the vision tower, C tokens of a
question.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Protocol

from torch import Tensor

from bimba.models.vamba.patches import Patches
from bimba.text.labels import IGNORE
from bimba.training.data.streams import StreamPlace


def count_learned(labels: Sequence[int]) -> int:
    """How many of L tokens are learned; nothing comes before the first, so that it cannot be."""
    return sum(label != IGNORE for label in labels[1:])


@dataclass(frozen=True, eq=False)
class Example:
    """A sample, ready for the collator.

    Attributes:
        name: of the sample.
        ids: [L], a placeholder for each video token.
        labels: [L].
        pixels: float32 [T, 3, S, S] of each video or image, in the order of the placeholders; empty with features.
        features: [T, P, Dv] of each video or image, where all of them are known already.
        questions: [C] token ids of what is asked where each video or image stands, without times.
        branches: where questions begin that are asked about the same beginning, each as if it were the only one; empty
            for a conversation.
        words: int64 [T', H', W', K], words of what stands in each place of the video, -1 for none; None if unknown.
        patches: bytes of each video or image of a Vamba, which stand beside the prompt; instead of pixels.
        patch_frames: frames that these are made of, of each video or image.
        kept: number of the sample, where whoever trains keeps the tokens of its needle video; pixels are there the
            first time alone.
    """

    name: str
    ids: list[int]
    labels: list[int]
    pixels: tuple[Tensor, ...] = ()
    features: tuple[Tensor, ...] = ()
    questions: tuple[list[int], ...] = ()
    branches: tuple[int, ...] = ()
    words: Tensor | None = None
    patches: tuple[Patches, ...] = ()
    patch_frames: tuple[int, ...] = ()
    kept: int | None = None

    @property
    def num_frames(self) -> tuple[int, ...]:
        """T of each video or image."""
        return self.patch_frames or tuple(len(video) for video in self.features or self.pixels)

    @property
    def conversations(self) -> list[tuple[list[int], list[int]]]:
        """Ids and labels of each conversation, where nothing stands in front of all of them."""
        bounds = [*(self.branches or (0,)), len(self.ids)]
        return [(self.ids[start:end], self.labels[start:end]) for start, end in pairwise(bounds)]

    @property
    def num_learned(self) -> int:
        """Tokens that are learned."""
        return count_learned(self.labels)


@dataclass(frozen=True)
class Failure:
    """A sample that could not be made, and why."""

    name: str
    reason: str


class FeatureSource(Protocol):
    """Where features of a frozen vision tower may be found instead of decoding frames."""

    def get(self, clip: Path | StreamPlace, indices: Sequence[int]) -> Tensor | None:
        """Features [T, P, Dv] of the frames of a file or needle video, None if they are not known."""
