"""What the language model reads of a video in, the same moment by moment out; refused where no token has a moment.

Shapes: V tokens of a video, M moments, n tokens of each, T sampled frames, D width, K key-value heads, P width of a
head.
"""

from dataclasses import dataclass, replace
from typing import cast

from torch import Tensor

from bimba.errors import InputError
from bimba.inference.clip import Clip
from bimba.models.bimba.modeling import BimbaForConditionalGeneration
from bimba.models.bimba.processing import BimbaProcessor
from bimba.models.bimba.separators import num_video_tokens
from bimba.models.kinds import VideoFeatures, VideoModel, VideoProcessor
from bimba.models.vamba.context import KeysValues, VideoContext
from bimba.models.vamba.processing import VambaProcessor


@dataclass(frozen=True)
class Layout:
    """Which tokens of a video belong to which moment: the first n to the first, and so on; the rest to none.

    Attributes:
        num_moments: M.
        num_tokens: n of each.
        frames: first and last sampled frame of each moment.
    """

    num_moments: int
    num_tokens: int
    frames: tuple[tuple[int, int], ...]

    def rows(self, tensor: Tensor, token_dim: int) -> Tensor:
        """A tensor with one row a token along `token_dim` -> [M, n, ...]."""
        own = tensor.movedim(token_dim, 0)[: self.num_moments * self.num_tokens]
        rows: Tensor = own.unflatten(0, (self.num_moments, -1))
        return rows


def layout_of(model: VideoModel, processor: VideoProcessor, clip: Clip, features: VideoFeatures) -> Layout:
    """Where the moments of a video are in what was read of it.

    Args:
        model: that reads.
        processor: its processor.
        clip: the sampled frames.
        features: what was read of them.

    Raises:
        InputError: tokens belong to no moment, there is only one moment, or the video was encoded in another way than
            is known.
    """
    layout = _layout_of_vamba(processor, clip, features) if isinstance(processor, VambaProcessor) else None
    if layout is None:
        layout = _layout_of_bimba(
            cast("BimbaForConditionalGeneration", model), cast("BimbaProcessor", processor), clip, len(features)
        )
    if layout.num_moments < 2:
        raise InputError(
            "the model reads one single moment, which is all that the answer can rest on.",
            fix="take more frames (num_frames, --frames), or ask about a video.",
        )
    return layout


def _layout_of_bimba(
    model: BimbaForConditionalGeneration, processor: BimbaProcessor, clip: Clip, num_tokens: int
) -> Layout:
    """Pooled queries follow each other as their frames do."""
    kind = model.config.compressor["type"]
    if kind == "perceiver" or model.config.compressor.get("queries") == "learned":
        raise InputError(
            f"the tokens of this model's compressor ({kind}) are learned queries: each reads the whole video, and none "
            "stands for a moment of it.",
            fix="take a model whose queries are pooled from the video, as the released one and bimba-nano.",
        )
    pool = processor.pool if clip.pooling is None else (clip.pooling[0], clip.pooling[1], clip.pooling[1])
    num_moments, height, width = processor.grid(clip.num_frames, pool)
    expected = num_video_tokens((num_moments, height, width), processor.newline_position)
    if expected != num_tokens:
        raise InputError(
            f"the video is {num_tokens} tokens, where {clip.num_frames} frames that are pooled {pool[0]} by {pool[1]} "
            f"by {pool[2]} are {expected}: it was encoded in another way.",
            fix="encode it again (bimba encode), or ask about the video itself.",
        )
    size = pool[0]
    frames = tuple((number * size, (number + 1) * size - 1) for number in range(num_moments))
    return Layout(num_moments, num_tokens // num_moments if num_moments > 1 else num_tokens, frames)


def _layout_of_vamba(processor: VambaProcessor, clip: Clip, features: VideoFeatures) -> Layout:
    """Each patch is of a few frames; where frames run out the last one is repeated."""
    size = processor.patch_settings.temporal_patch_size
    num_moments = -(-clip.num_frames // size)
    frames = tuple((number * size, min((number + 1) * size, clip.num_frames) - 1) for number in range(num_moments))
    return Layout(num_moments, len(features) // num_moments, frames)


def parts_of(features: VideoFeatures) -> list[tuple[Tensor, int]]:
    """Every tensor that the language model reads of a video, with the dimension of its tokens.

    BIMBA's tokens [V, D]; of Vamba the keys and values [1, K, V, P] of each layer.
    """
    if isinstance(features, VideoContext):
        return [(tensor, 2) for layer in features.layers for tensor in layer]
    return [(features, 0)]


def with_parts(features: VideoFeatures, tensors: list[Tensor]) -> VideoFeatures:
    """Features made of other tensors, in the order of `parts_of`."""
    if isinstance(features, VideoContext):
        pairs = zip(tensors[::2], tensors[1::2], strict=True)
        return replace(features, layers=[KeysValues(*pair) for pair in pairs])
    return tensors[0]
