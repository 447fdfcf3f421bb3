"""Pixels of videos in, their keys and values in each layer out: whole batches, or one video a few frames at a time.

Shapes: N videos of the batch, p patches of all of them, B samples, V tokens of a sample's videos, D width, t frame
pairs, h x w patches of a frame pair; four patches become one token.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bimba.models.stages import Stage, no_stage
from bimba.models.vamba.configuration import VambaConfig
from bimba.models.vamba.context import KeysValues, VideoContext
from bimba.models.vamba.layer import VideoStep
from bimba.models.vamba.mixer import MixerState
from bimba.models.vamba.patches import Patches

PATCHES_PER_STEP = 16_384
"""That go through the vision tower at once when no gradient is asked of it: bounds its memory."""


Given = tuple[Tensor | None, Tensor | None, Tensor | Sequence[int] | None, Tensor | None]
"""Patches, grids, how many a row has, and conversations of videos, or of images."""


class Pictures(NamedTuple):
    """Videos of a batch, or images, which are videos of one frame pair.

    Args:
        patches: of all of them, one after the other [p, values].
        grid_thw: (t, h, w) of each [N, 3].
        counts: how many of them each row has [B]; None for one each, or all if there is one row.
        segments: which conversation of its packed row reads each [N], from 1, 0 for all; None where rows are not
            packed.
    """

    patches: Tensor
    grid_thw: Tensor
    counts: Tensor | Sequence[int] | None = None
    segments: Tensor | None = None

    @classmethod
    def of(cls, videos: Given, images: Given) -> "Pictures | None":
        """What is given of the two.

        Raises:
            ValueError: both are, or there are pixels without their grids.
        """
        if videos[0] is not None and images[0] is not None:
            raise ValueError("give images or videos, not both; an image is a video of one frame pair.")
        given, other = (videos, images) if images[0] is None else (images, videos)
        patches, grid, counts, segments = given
        if any(part is not None for part in (other if patches is not None else (*given, *other))):
            raise ValueError("there are grids, numbers or segments of videos or images whose pixels are not given.")
        if patches is None:
            return None
        if grid is None:
            raise ValueError("pixels need their grids (video_grid_thw, image_grid_thw).")
        return cls(patches, grid, counts, segments)


class VideoBatch(NamedTuple):
    """Video tokens of a batch, padded on the right.

    Args:
        tokens: [B, V, D].
        lengths: how many of them each sample has [B].
        positions: in time, height and width, int [3, B, V].
        seq_idx: which sequence each token belongs to, int [B, V]; None where each sample is one.
        segments: which conversation of a packed row each is for [B, V], from 1, 0 for all; None where rows are not
            packed.
    """

    tokens: Tensor
    lengths: Tensor
    positions: Tensor
    seq_idx: Tensor | None = None
    segments: Tensor | None = None

    @property
    def size(self) -> int:
        """V."""
        return self.tokens.shape[1]


def grid_positions(grid: Sequence[int], merge: int, first: int = 0) -> Tensor:
    """Place of each token of a grid in time, height and width: int [3, t h w / merge^2].

    Args:
        grid: (t, h, w), in patches.
        merge: patches along a side of a token.
        first: place in time of the first frame pair.
    """
    time, height, width = int(grid[0]), int(grid[1]) // merge, int(grid[2]) // merge
    sides = (torch.arange(first, first + time), torch.arange(height), torch.arange(width))
    return torch.stack(torch.meshgrid(*sides, indexing="ij")).flatten(1)


class VideoReading(nn.Module):
    """The part of `VambaForConditionalGeneration` that reads videos."""

    config: VambaConfig
    visual: Any
    model: Any

    keep_on: torch.device | str | None = None
    """Device for keys and values of videos; None for where they are made. "cpu" spares the GPU's memory."""

    keep_as: torch.dtype | None = None
    """Precision that they are kept in; None for that of the model."""

    def get_vision_tokens(self, pixel_values: Tensor, grid_thw: Tensor) -> Tensor:
        """Pixels of several videos or images -> their tokens, one after the other.

        Without gradients it goes frame by frame, a bounded number of patches at a time.

        Args:
            pixel_values: patches [p, channels x frames x height x width of one].
            grid_thw: (t, h, w) of each [N, 3].

        Returns:
            [p / 4, D].

        Raises:
            ValueError: the grids are not those of the patches, or the patches are bytes.
        """
        if not pixel_values.is_floating_point():
            raise ValueError("pixel_values are bytes; normalise them first (VambaProcessor.normalise).")
        merge = self.config.vision_config.spatial_merge_size
        if int(grid_thw.min()) < 1 or bool((grid_thw[:, 1:] % merge).any()):
            raise ValueError(f"the grids {grid_thw.tolist()} are not of whole squares of {merge} x {merge} patches.")
        wanted = int(grid_thw.prod(-1).sum())
        if wanted != len(pixel_values):
            raise ValueError(
                f"the grids {grid_thw.tolist()} have {wanted} patches, pixel_values has {len(pixel_values)}."
            )
        pixel_values = pixel_values.to(self.visual.dtype)
        if self.visual.device.type != "meta":  # offloaded weights have no place yet; hooks bring them
            pixel_values = pixel_values.to(self.visual.device)
        learns = pixel_values.requires_grad or any(weight.requires_grad for weight in self.visual.parameters())
        if learns and torch.is_grad_enabled():
            tokens: Tensor = self.visual(pixel_values, grid_thw=grid_thw).pooler_output
            return tokens
        with torch.no_grad():
            pieces = [
                self.visual(some, grid_thw=grid).pooler_output for some, grid in _in_steps(pixel_values, grid_thw)
            ]
        return torch.cat(pieces)

    def gather(self, pictures: Pictures, num_rows: int) -> VideoBatch:
        """Pixels of all videos, in order, -> the video tokens of each row.

        Args:
            pictures: the videos.
            num_rows: B.

        Raises:
            ValueError: the rows have other videos than are given, or the grids are not those of the patches.
        """
        grids, counts = pictures.grid_thw.tolist(), pictures.counts
        if counts is None:
            counts = [len(grids)] if num_rows == 1 else [1] * num_rows
        counts = [int(count) for count in counts]
        if sum(counts) != len(grids) or len(counts) != num_rows:
            raise ValueError(f"{num_rows} rows with {counts} videos are told of, but {len(grids)} are given.")
        tokens = self.get_vision_tokens(pictures.patches, pictures.grid_thw)
        merge = self.config.vision_config.spatial_merge_size
        places = [grid_positions(grid, merge) for grid in grids]
        sizes = [place.shape[1] for place in places]
        ends = list(accumulate(counts))
        lengths = [sum(sizes[end - count : end]) for end, count in zip(ends, counts, strict=True)]

        def padded(whole: Tensor) -> Tensor:
            rows: Tensor = nn.utils.rnn.pad_sequence(whole.to(tokens.device).split(lengths), batch_first=True)
            return rows

        seq_idx, segments = None, None
        if pictures.segments is not None:
            # Videos of one conversation are one sequence; conversations are not.
            told = pictures.segments.tolist()
            segments = padded(torch.cat([torch.full((n,), told[index]) for index, n in enumerate(sizes)]))
            seq_idx = segments.int()
        return VideoBatch(
            tokens=padded(tokens),
            lengths=torch.tensor(lengths),
            positions=padded(torch.cat(places, dim=1).T).permute(2, 0, 1),
            seq_idx=seq_idx,
            segments=segments,
        )

    @torch.no_grad()
    def read_videos(self, batch: VideoBatch) -> VideoContext:
        """Videos of a batch -> their keys and values in each layer."""
        step = self.model.video_step(batch)
        layers, video = [], batch.tokens
        for layer in self.model.layers:
            _, video, kept, _ = layer(None, video, video_step=step)
            layers.append(self.kept(kept))
        return VideoContext(layers, batch.lengths, batch.segments)

    def kept(self, made: KeysValues) -> KeysValues:
        """Keys and values where and how they are kept."""
        return KeysValues(*(part.to(self.keep_on, self.keep_as) for part in made))

    @torch.no_grad()
    def encode_stream(
        self, pixels: Iterable[Patches], num_frames: int, question: Tensor | None = None, *, stage: Stage = no_stage
    ) -> VideoContext:
        """One video that comes a few frames at a time -> its keys and values in each layer.

        As `read_videos` of the whole video; of what was seen only keys and values are kept, where and how `keep_on` and
        `keep_as` say, and a state per layer.

        Args:
            pixels: of some frames at a time, in order.
            num_frames: of the whole video, for which room is made; as many come as come.
            question: words of a question, of which nothing here depends.
            stage: called with a name, "vision" and "mix"; what it gives is held while that is done.

        Returns:
            the context of one sample.

        Raises:
            ValueError: no frame comes.
        """
        del question
        stream = _Stream(self, num_frames)
        for patches, grid in pixels:
            with stage("vision"):
                tokens = self.get_vision_tokens(patches, torch.tensor([list(grid)], device=patches.device))
            with stage("mix"):
                stream.push(tokens[None], grid)
        with stage("mix"):
            return stream.finish()


class _Stream:
    """Keys and values so far, and the states of the mixers."""

    def __init__(self, reader: VideoReading, num_frames: int) -> None:
        self._reader = reader
        self._states: list[MixerState | None] = [None] * len(reader.model.layers)
        self._kept = [_Room() for _ in reader.model.layers]
        self._expected_pairs = -(-num_frames // reader.config.vision_config.temporal_patch_size)
        self._num_pairs = 0

    def push(self, video: Tensor, grid: Sequence[int]) -> None:
        """Take the tokens [1, v, D] of some frame pairs through all layers."""
        reader = self._reader
        merge = reader.config.vision_config.spatial_merge_size
        places = grid_positions(grid, merge, self._num_pairs).to(video.device)
        rotation = reader.model.rotation(video, places[:, None])
        expected = self._expected_pairs * video.shape[1] // int(grid[0])
        for index, layer in enumerate(reader.model.layers):
            step = VideoStep(rotation, state=self._states[index], keep_state=True)
            _, video, kept, self._states[index] = layer(None, video, video_step=step)
            self._kept[index].add(kept, expected, reader)
        self._num_pairs += int(grid[0])

    def finish(self) -> VideoContext:
        """What is kept of the whole video."""
        if not self._num_pairs:
            raise ValueError("no frame came.")
        layers = [room.taken() for room in self._kept]
        return VideoContext(layers, torch.tensor([layers[0].keys.shape[2]]))


class _Room:
    """Keys and values of a layer, in room for those of the whole video.

    Pieces that are put together in the end would be there twice: what is between them in memory, pieces of other
    layers, keeps their place from being used again.
    """

    def __init__(self) -> None:
        self._parts: KeysValues | None = None
        self._length = 0

    def add(self, piece: KeysValues, expected: int, reader: VideoReading) -> None:
        """Take those [1, K, v, P] of a piece, where and how the reader keeps them; so many are expected in all."""
        end = self._length + piece.keys.shape[2]
        if self._parts is None or end > self._parts.keys.shape[2]:
            size = expected if end <= expected else end * 5 // 4
            self._parts = KeysValues(*(self._larger(index, part, size, reader) for index, part in enumerate(piece)))
        for room, part in zip(self._parts, piece, strict=True):
            room[:, :, self._length : end] = part
        self._length = end

    def _larger(self, index: int, like: Tensor, size: int, reader: VideoReading) -> Tensor:
        """Room for so many tokens, with the keys (0) or values (1) so far."""
        device = like.device if reader.keep_on is None else reader.keep_on
        shape = (*like.shape[:2], size, like.shape[3])
        room = torch.empty(shape, dtype=reader.keep_as or like.dtype, device=device)
        if self._parts is not None:
            room[:, :, : self._length] = self._parts[index][:, :, : self._length]
        return room

    def taken(self) -> KeysValues:
        """Those that came; what is too much of the room is given back."""
        if self._parts is None:
            raise ValueError("no piece came.")
        if self._length < self._parts.keys.shape[2]:
            self._parts = KeysValues(*(part[:, :, : self._length].clone() for part in self._parts))
        return self._parts


def _in_steps(pixel_values: Tensor, grid_thw: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Patches of some frame pairs at a time, with their grid: frames do not look at each other in the tower."""
    begin = 0
    for time, height, width in grid_thw.tolist():
        frame = height * width
        left = time
        while left:
            some = min(left, max(PATCHES_PER_STEP // frame, 1))
            yield pixel_values[begin : begin + some * frame], grid_thw.new_tensor([[some, height, width]])
            begin, left = begin + some * frame, left - some
