"""Conversations with their videos and images in, the tensors of one batch to train Vamba on out.

Several conversations may share a row: each sees itself alone, at the positions that it has alone. Since no token of the
text stands for a video, it is told beside the text which conversation reads which.

Shapes: B rows, L tokens of the longest, v videos or images of all rows, N patches of them, P values of a patch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bimba.models.vamba.pixels import Grid
from bimba.text.labels import IGNORE

PADDING = 0
"""Segment of a token that belongs to no conversation."""

EVERY = 0
"""Segment of a video or an image that all conversations of its row read."""


@dataclass(frozen=True)
class Vision:
    """A video or an image.

    Args:
        patches: [n, P], bytes or floats.
        grid: patches (t, h, w).
        conversation: which conversation of the row reads it, from 0; None for all of them.
    """

    patches: Tensor
    grid: Grid
    conversation: int | None = None


@dataclass(frozen=True)
class Row:
    """What stands in one row of a batch.

    Args:
        conversations: ids and labels of each, at least one.
        videos: in the order in which they are read.
        images: likewise.
    """

    conversations: Sequence[tuple[list[int], list[int]]]
    videos: Sequence[Vision] = ()
    images: Sequence[Vision] = ()


def collate(rows: Sequence[Row], pad_id: int) -> dict[str, Tensor]:
    """Make a batch; rows are padded on the right.

    Args:
        rows: B rows.
        pad_id: fills up shorter rows.

    Returns:
        `input_ids` and `labels` int64 [B, L];
        `attention_mask` int64 [B, L], which is 0 for padding, if each row is one conversation; otherwise
        `attention_mask` bool [B, 1, L, L], which tokens (columns) each token (row) sees, `position_ids` int64 [B, L],
        counted from 0 in each conversation, and `text_segments` int64 [B, L]: the conversation of each token, from 1,
        and 0 for padding;
        with videos in any row `pixel_values_videos` [N, P], `video_grid_thw` int64 [v, 3], `num_videos` int64 [B], how
        many of the videos, one after the other, belong to each row, and, if rows are packed, `video_segments` int64
        [v]: the conversation of its row that reads each, from 1, and 0 for all of them;
        with images `pixel_values`, `image_grid_thw`, `num_images` and `image_segments` likewise.

    Raises:
        ValueError: there is no row, a row has no token, ids and labels differ in number, patches are not those of their
            grid, or a video names a conversation that its row does not have.
    """
    for row in rows:
        _check(row)
    if not rows:
        raise ValueError("a batch needs at least one row")
    segments = text_segments([[len(ids) for ids, _ in row.conversations] for row in rows])
    is_real = segments != PADDING
    batch = {"input_ids": torch.full(segments.shape, pad_id), "labels": torch.full(segments.shape, IGNORE)}
    conversations = [conversation for row in rows for conversation in row.conversations]
    batch["input_ids"][is_real] = torch.tensor([token for ids, _ in conversations for token in ids])
    batch["labels"][is_real] = torch.tensor([label for _, labels in conversations for label in labels])
    is_packed = any(len(row.conversations) > 1 for row in rows)
    if is_packed:
        positions, sees = positions_and_mask(segments)
        batch |= {"position_ids": positions, "attention_mask": sees, "text_segments": segments}
    else:
        batch["attention_mask"] = is_real.long()
    videos = _vision([row.videos for row in rows], ("pixel_values_videos", "video"), is_packed=is_packed)
    return batch | videos | _vision([row.images for row in rows], ("pixel_values", "image"), is_packed=is_packed)


def text_segments(lengths: Sequence[Sequence[int]]) -> Tensor:
    """Which conversation each token belongs to.

    Args:
        lengths: tokens of each conversation of each of B rows.

    Returns:
        int64 [B, L]: from 1 in each row, 0 for padding.
    """
    segments = torch.full((len(lengths), max(map(sum, lengths))), PADDING)
    for row, counts in enumerate(lengths):
        numbers = torch.arange(1, len(counts) + 1)
        segments[row, : sum(counts)] = numbers.repeat_interleave(torch.tensor(counts))
    return segments


def positions_and_mask(segments: Tensor) -> tuple[Tensor, Tensor]:
    """Positions and attention of conversations that share rows.

    Args:
        segments: int64 [B, L], as of `text_segments`.

    Returns:
        int64 [B, L], counted from 0 in each conversation, 0 for padding; and bool [B, 1, L, L]: which tokens (columns)
        each token (row) sees, those of its conversation up to itself; padding sees padding, so that no row is empty.
    """
    length = segments.shape[1]
    places = torch.arange(length).expand_as(segments)
    begins = torch.ones_like(segments, dtype=torch.bool)
    begins[:, 1:] = segments[:, 1:] != segments[:, :-1]
    starts = torch.where(begins, places, 0).cummax(dim=1).values
    sees = (segments[:, :, None] == segments[:, None, :]) & torch.ones(length, length, dtype=torch.bool).tril()
    return (places - starts).masked_fill(segments == PADDING, 0), sees[:, None]


def _vision(seen: Sequence[Sequence[Vision]], names: tuple[str, str], *, is_packed: bool) -> dict[str, Tensor]:
    """Videos or images of each row, by the names of their pixels and of one of them."""
    flat = [vision for row in seen for vision in row]
    if not flat:
        return {}
    pixels, kind = names
    batch = {
        pixels: torch.cat([vision.patches for vision in flat]),
        f"{kind}_grid_thw": torch.tensor([vision.grid for vision in flat]),
        f"num_{kind}s": torch.tensor([len(row) for row in seen]),
    }
    if is_packed:
        readers = [EVERY if vision.conversation is None else vision.conversation + 1 for vision in flat]
        batch[f"{kind}_segments"] = torch.tensor(readers)
    return batch


def _check(row: Row) -> None:
    num_conversations = len(row.conversations)
    for ids, labels in row.conversations:
        if len(ids) != len(labels):
            raise ValueError(f"a conversation has {len(ids)} ids and {len(labels)} labels")
    if not any(ids for ids, _ in row.conversations):
        raise ValueError(f"a row of {num_conversations} conversations has no token")
    for vision in (*row.videos, *row.images):
        t, h, w = vision.grid
        if len(vision.patches) != t * h * w:
            raise ValueError(f"{len(vision.patches)} patches are not those of the grid {vision.grid}")
        if vision.conversation is not None and not 0 <= vision.conversation < num_conversations:
            raise ValueError(f"conversation {vision.conversation} is not one of the row's {num_conversations}")
