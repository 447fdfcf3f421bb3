"""Examples in, the tensors of one batch out.

Shapes: B rows, L tokens of the longest, F frames of all videos, n videos, S image size, P patches of a frame, Dv width
of the vision tower, C tokens of the longest question, K positions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bimba.models.bimba.processing import BimbaProcessor
from bimba.text.labels import IGNORE
from bimba.training.data.branches import positions_and_mask
from bimba.training.data.example import Example, Failure
from bimba.training.data.streams import MOST_WORDS

NO_WORD = -1
"""Fills up the rows of shorter questions."""


@dataclass(frozen=True)
class BatchInfo:
    """What a batch is made of, for logs.

    Attributes:
        names: of the samples in it.
        failures: samples that are not in it, and why.
        num_samples: samples in it.
        num_tokens: of those, without padding.
        num_video_tokens: among them.
    """

    names: tuple[str, ...]
    failures: tuple[Failure, ...]
    num_samples: int
    num_tokens: int
    num_video_tokens: int


class Collator:
    """Makes batches: `collator(examples)`.

    Args:
        processor: the model's; only some numbers of it are kept.
        with_questions: batches tell each video's question, for a compressor that reads it.
        feature_shape: (P, Dv) if videos come as features of a vision tower; a blank video is then one of features, so
            that no process runs the tower alone.
    """

    def __init__(
        self,
        processor: BimbaProcessor,
        *,
        with_questions: bool = False,
        feature_shape: tuple[int, int] | None = None,
    ) -> None:
        tokenizer = processor.tokenizer
        ends = (tokenizer.pad_token_id, tokenizer.eos_token_id, 0)  # any will do, since padding is masked
        self.pad_id = next(int(token) for token in ends if token is not None)
        self.video_token_id = processor.video_token_id
        self.image_size = processor.image_size
        self.num_blank_frames = max(1, processor.temporal_pooling)
        self.with_questions, self.feature_shape = with_questions, feature_shape

    def __call__(self, examples: Sequence[Example | Failure | None]) -> dict[str, Any]:
        """Collate a batch.

        Failures and blank places are rows of one token that is not learned: no sample takes their place, and all
        processes stay in step.

        Args:
            examples: B examples, failures or blank places.

        Returns:
            `input_ids`, `attention_mask` and `labels`, int64 [B, L], padded on the right;
            `logits_to_keep` int64 [K], ascending: where any row learns its next token, or just 0;
            `num_video_frames` int64 [n], and either `pixel_values_videos` [F, 3, S, S] or `vision_features` [F, P, Dv],
            or `kept_videos` instead of all three: numbers of the samples whose tokens are kept, each with its pixels
            [T, 3, S, S], or None where these were there before;
            `spare_videos`: 1 if no example has a video and a blank one is there, which no placeholder stands for, so
            that every process runs every part of the model in each step; else 0;
            with questions `question_ids` int64 [n, C], padded with -1, and `question_lengths` int64 [n];
            with branches in any example `position_ids` int64 [B, L], and `attention_mask` is bool [B, 1, L, L];
            with words in all examples `words`, int64 [P, K], of all places of all videos, one after the other;
            `info`, a `BatchInfo`.

        Raises:
            ValueError: there is no example, or some have pixels and others features.
        """
        if not examples:
            raise ValueError("a batch needs at least one example")
        real = [example for example in examples if isinstance(example, Example)]
        batch: dict[str, Any] = self._text(examples)
        questions = [question for example in real for question in example.questions]
        batch |= self._videos(real)
        if batch["spare_videos"]:
            questions = [[]]
        if self.with_questions:
            batch |= _questions(questions)
        if any(example.words is not None for example in real):
            batch["words"] = () if batch["spare_videos"] else _words(real)
        batch["info"] = BatchInfo(
            names=tuple(example.name for example in real),
            failures=tuple(example for example in examples if isinstance(example, Failure)),
            num_samples=len(real),
            num_tokens=sum(len(example.ids) for example in real),
            num_video_tokens=sum(example.ids.count(self.video_token_id) for example in real),
        )
        return batch

    def _text(self, examples: Sequence[Example | Failure | None]) -> dict[str, Tensor]:
        rows = [
            (example.ids, example.labels) if isinstance(example, Example) else ([self.pad_id], [IGNORE])
            for example in examples
        ]
        longest = max(len(ids) for ids, _ in rows)
        input_ids = torch.full((len(rows), longest), self.pad_id)
        labels = torch.full((len(rows), longest), IGNORE)
        attention_mask = torch.zeros(len(rows), longest, dtype=torch.long)
        for row, (ids, learned) in enumerate(rows):
            input_ids[row, : len(ids)] = torch.tensor(ids)
            labels[row, : len(ids)] = torch.tensor(learned)
            attention_mask[row, : len(ids)] = 1
        kept = (labels[:, 1:] != IGNORE).any(dim=0).nonzero().flatten()
        batch = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "labels": labels,
            "logits_to_keep": kept if len(kept) else torch.zeros(1, dtype=torch.long),
        }
        branches = [example.branches if isinstance(example, Example) else () for example in examples]
        if any(branches):
            lengths = [len(ids) for ids, _ in rows]
            batch["position_ids"], batch["attention_mask"] = positions_and_mask(lengths, branches, longest)
        return batch

    def _videos(self, examples: Sequence[Example]) -> dict[str, Any]:
        kept = [(e.kept, e.pixels[0] if e.pixels else None) for e in examples if e.kept is not None]
        if kept:
            if len(kept) < len(examples):
                raise ValueError(f"a batch has {len(kept)} videos whose tokens are kept among {len(examples)}.")
            return {"kept_videos": kept, "spare_videos": 0}
        pixels = [video for example in examples for video in example.pixels]
        features = [video for example in examples for video in example.features]
        if pixels and features:
            raise ValueError(f"a batch has {len(pixels)} videos of pixels and {len(features)} of features, not of one.")
        spare = not pixels and not features
        if spare and self.feature_shape is not None:
            features = [torch.zeros(self.num_blank_frames, *self.feature_shape)]
        elif spare:
            pixels = [torch.zeros(self.num_blank_frames, 3, self.image_size, self.image_size)]
        name, videos = ("vision_features", features) if features else ("pixel_values_videos", pixels)
        return {
            name: torch.cat(videos),
            "num_video_frames": torch.tensor([len(video) for video in videos]),
            "spare_videos": int(spare),
        }


def _words(examples: Sequence[Example]) -> tuple[Tensor, ...]:
    """Words of the places of each video [P, K]; no places of a video whose words are unknown."""
    words: list[Tensor] = []
    for example in examples:
        known = example.words
        unknown = torch.zeros(0, MOST_WORDS, dtype=torch.long)
        words += [unknown] * len(example.num_frames) if known is None else [known.flatten(0, -2)]
    return tuple(words)


def _questions(questions: Sequence[list[int]]) -> dict[str, Tensor]:
    lengths = torch.tensor([len(question) for question in questions])
    ids = torch.full((len(questions), int(lengths.max())), NO_WORD)
    for row, question in enumerate(questions):
        ids[row, : len(question)] = torch.tensor(question, dtype=torch.long)
    return {"question_ids": ids, "question_lengths": lengths}
