"""What the text reads of videos: their keys and values in each layer, computed once and kept for every question.

Shapes: B samples of a batch, V tokens of the longest video stream, K key-value heads, P width of a head, L text tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn


class KeysValues(NamedTuple):
    """Keys and values [B, K, V, P] of one layer."""

    keys: Tensor
    values: Tensor


@dataclass
class VideoContext:
    """Keys and values of the videos of a batch, layer by layer.

    Args:
        layers: keys and values of each layer, wherever they are kept; they are brought to the text when it reads them.
        lengths: how many of the V tokens each sample has [B]; the others are padding.
        segments: which conversation of a packed row each video token is for [B, V], from 1, 0 for all of them; None
            where rows are not packed.
    """

    layers: list[KeysValues]
    lengths: Tensor
    segments: Tensor | None = None
    _num_tokens: tuple[int, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.lengths = self.lengths.cpu()
        self._num_tokens = tuple(int(length) for length in self.lengths)

    def __len__(self) -> int:
        """V: of one sample, how many tokens its videos have."""
        return self.size

    @property
    def size(self) -> int:
        """V."""
        return int(self.layers[0].keys.shape[2])

    @property
    def num_tokens(self) -> tuple[int, ...]:
        """Video tokens of each sample."""
        return self._num_tokens

    @property
    def num_bytes(self) -> int:
        """Memory of keys and values."""
        return sum(tensor.numel() * tensor.element_size() for layer in self.layers for tensor in layer)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "VideoContext":
        """The same, kept somewhere else or in another precision."""
        layers = [KeysValues(*(tensor.to(device=device, dtype=dtype) for tensor in layer)) for layer in self.layers]
        return replace(self, layers=layers)


class Readable(NamedTuple):
    """How text reads a context.

    Args:
        rows_per_sample: that many rows of text read the videos of one sample.
        mask: which video tokens a text token sees, bool [B, 1, 1 or L, V]; None for all.
        some: whether there is any, bool [B, 1 or L, 1]; None if so everywhere.
    """

    rows_per_sample: int
    mask: Tensor | None
    some: Tensor | None


def readable_videos(
    lengths: Tensor, size: int, segments: Tensor | None, text_segments: Tensor, device: torch.device
) -> Readable:
    """Which video tokens each text token sees.

    Args:
        lengths: video tokens of each sample [B].
        size: V, the longest of them.
        segments: which conversation of a packed row each video token is for [B, V], from 1, 0 for all; None for all.
        text_segments: conversation of each text token [B n, L], from 1.
        device: where the masks are needed.

    Raises:
        ValueError: the rows are no multiple of the samples, or packed and other than the samples.
    """
    rows_per_sample, left = divmod(len(text_segments), len(lengths))
    if left:
        raise ValueError(f"there are {len(text_segments)} rows of text for the videos of {len(lengths)} samples.")
    is_token = torch.arange(size, device=device) < lengths.to(device)[:, None]
    if segments is not None:
        if rows_per_sample > 1:
            raise ValueError("packed rows cannot be read several times.")
        ours = segments.to(device)[:, None, :]
        mask = is_token[:, None, :] & ((ours == 0) | (ours == text_segments.to(device)[:, :, None]))
    elif bool(is_token.all()):
        return Readable(rows_per_sample, None, None)
    else:
        mask = is_token[:, None, :]
    some = mask.any(-1, keepdim=True)
    # Where there is nothing to see, attention would divide by zero; what comes out there gets no weight.
    return Readable(rows_per_sample, (mask | ~some)[:, None], None if bool(some.all()) else some)


def joined(contexts: VideoContext | Sequence[VideoContext | None] | None, num_rows: int) -> VideoContext | None:
    """Contexts of several samples as that of a batch, the shorter ones padded.

    One context for all rows, given as often as there are rows, is not copied.

    Args:
        contexts: of a batch; or of samples, one by one, None for one without a video.
        num_rows: samples, if they come one by one.

    Raises:
        ValueError: other than one a row, of packed rows, or of other models.
    """
    if contexts is None or isinstance(contexts, VideoContext):
        return contexts
    if not all(context is None or isinstance(context, VideoContext) for context in contexts):
        raise ValueError("video_features are contexts of a Vamba (VideoContext); something else is among them.")
    if len(contexts) != num_rows and num_rows:
        raise ValueError(f"there are {len(contexts)} contexts of videos for {num_rows} rows.")
    some = [context for context in contexts if context is not None]
    if not some:
        return None
    first = some[0]
    if len(some) == len(contexts) and all(other is first for other in some):
        return first
    if any(other.segments is not None or len(other.lengths) > 1 for other in some):
        raise ValueError("contexts of packed rows, or of several rows, cannot be joined.")
    if len({len(other.layers) for other in some}) > 1:
        raise ValueError("contexts of other models are among them: they have other numbers of layers.")
    size = max(map(len, some))
    layers = []
    for index, layer in enumerate(first.layers):
        empty = KeysValues(*(part[:, :, :0] for part in layer))
        rows = [empty if context is None else context.layers[index] for context in contexts]
        columns = [[_padded(part, size, layer.keys) for part in column] for column in zip(*rows, strict=True)]
        layers.append(KeysValues(*map(torch.cat, columns)))
    lengths = [torch.zeros(1, dtype=torch.long) if context is None else context.lengths for context in contexts]
    return VideoContext(layers, torch.cat(lengths))


def _padded(part: Tensor, size: int, like: Tensor) -> Tensor:
    """Keys or values [1, K, V, P] of so many tokens, where and how another one is kept."""
    return nn.functional.pad(part.to(like), (0, 0, 0, size - part.shape[2]))
