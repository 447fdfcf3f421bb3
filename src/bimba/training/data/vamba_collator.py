"""Examples for a Vamba in, the tensors of one batch out.

Shapes: B rows, L tokens of the longest, N patches of all videos, P values of a patch, K positions, v videos.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from bimba.models.vamba.packing import Row, Vision, collate
from bimba.models.vamba.patches import Patches
from bimba.models.vamba.processing import VambaProcessor
from bimba.text.labels import IGNORE
from bimba.training.data.collator import BatchInfo
from bimba.training.data.example import Example, Failure
from bimba.training.recipe.data_settings import Packing

_COLOURS = 3


class VambaCollator:
    """Makes batches: `collator(examples)`.

    Args:
        processor: the model's; only some numbers of it are kept.
        packing: how samples share rows; each has its own if None.
    """

    def __init__(self, processor: VambaProcessor, packing: Packing | None = None) -> None:
        tokenizer = processor.tokenizer
        ends = (tokenizer.pad_token_id, tokenizer.eos_token_id, 0)  # any will do, since padding is masked
        self.pad_id = next(int(token) for token in ends if token is not None)
        self.packing = packing
        self.merge_size = processor.merge_size
        size = _COLOURS * processor.temporal_patch_size * processor.patch_size**2
        self._blank = Patches(
            torch.zeros(self.merge_size**2, size, dtype=torch.uint8), (1, self.merge_size, self.merge_size)
        )

    def __call__(self, examples: Sequence[Example | Failure | None]) -> dict[str, Any]:
        """Collate a batch.

        Failures and blank places leave nothing: no sample takes their place. Images stand among the videos, as videos
        of one pair of frames. Where no example has any, a row of one token that is not learned brings a blank video, so
        that every process runs every part of the model in each step, which changes nothing else.

        Args:
            examples: examples, failures or blank places.

        Returns:
            what `bimba.models.vamba.packing.collate` makes of the rows, with `pixel_values_videos` uint8 [N, P] (see
            `bimba.models.vamba.pixels.normalise`);
            `logits_to_keep` int64 [K], ascending: where any row learns its next token, or just 0;
            `info`, a `BatchInfo`.

        Raises:
            ValueError: there is no example.
        """
        if not examples:
            raise ValueError("a batch needs at least one example")
        real = [example for example in examples if isinstance(example, Example)]
        samples = list(self._together(real))
        rows = [_row(together) for together in samples]
        if not any(row.videos for row in rows):
            blank = Vision(self._blank.values, self._blank.grid, conversation=0)
            rows.append(Row([([self.pad_id], [IGNORE])], videos=[blank]))
        batch: dict[str, Any] = dict(collate(rows, self.pad_id))
        if "text_segments" in batch:
            _tell_samples(batch, samples)
        kept = (batch["labels"][:, 1:] != IGNORE).any(dim=0).nonzero().flatten()
        batch["logits_to_keep"] = kept if len(kept) else torch.zeros(1, dtype=torch.long)
        num_video_tokens = sum(_num_tokens(patches, self.merge_size) for one in real for patches in one.patches)
        batch["info"] = BatchInfo(
            names=tuple(example.name for example in real),
            failures=tuple(example for example in examples if isinstance(example, Failure)),
            num_samples=len(real),
            num_tokens=sum(len(example.ids) for example in real) + num_video_tokens,
            num_video_tokens=num_video_tokens,
        )
        return batch

    def _together(self, examples: Sequence[Example]) -> Iterator[list[Example]]:
        """The examples of each row, in their order."""
        row: list[Example] = []
        for example in examples:
            if row and not self._has_room(row, example):
                yield row
                row = []
            row.append(example)
        if row:
            yield row

    def _has_room(self, row: Sequence[Example], example: Example) -> bool:
        if self.packing is None:
            return False
        if self.packing.samples is not None:
            return len(row) < self.packing.samples
        limit = self.packing.tokens or 0
        return sum(len(other.ids) for other in row) + len(example.ids) <= limit


def _row(examples: Sequence[Example]) -> Row:
    """Conversations one behind the other; the first of each sample stands for all that read its videos."""
    conversations: list[tuple[list[int], list[int]]] = []
    videos: list[Vision] = []
    for example in examples:
        videos += [Vision(patches.values, patches.grid, len(conversations)) for patches in example.patches]
        conversations += example.conversations
    return Row(conversations, videos=videos)


def _tell_samples(batch: dict[str, Any], samples: Sequence[Sequence[Example]]) -> None:
    """Number the readers of videos by sample, in place: all conversations of one read its videos.

    Which conversation a token belongs to is told by mask and positions, too, and stays as it is there.
    """
    begin = 0
    for row, (together, num_videos) in enumerate(zip(samples, batch["num_videos"].tolist(), strict=False)):
        numbers = [number for number, one in enumerate(together, start=1) for _ in one.conversations]
        sample_of = torch.tensor([0, *numbers])  # of each conversation, from 1, and of padding
        batch["text_segments"][row] = sample_of[batch["text_segments"][row]]
        videos = slice(begin, begin + num_videos)
        batch["video_segments"][videos] = sample_of[batch["video_segments"][videos]]
        begin += num_videos


def _num_tokens(patches: Patches, merge_size: int) -> int:
    time, height, width = patches.grid
    return time * height * width // merge_size**2
