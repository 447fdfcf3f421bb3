"""Frames in, the tokens [V, D] of each video that the language model reads out: the stages before the language model.

Shapes: F frames of all videos of the batch, N videos, T frames of one, S = H W patches a frame, Dv width of the vision
tower, C words of a question, V tokens of a video in the prompt, D width of the language model.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bimba.compressors.growing import GrowingStream
from bimba.compressors.streams import open_stream
from bimba.models.bimba.configuration import BimbaConfig
from bimba.models.bimba.towers import as_patches
from bimba.models.stages import Stage, no_stage

FRAMES_PER_STEP = 16
"""Frames that go through the vision tower at once when no gradient is asked of it: bounds its memory."""

FRAMES_PER_TRAINING_STEP = 64
"""Likewise in training, where batches are large: small frames are fastest so many at a time."""


class VideoEncoding(nn.Module):
    """The part of `BimbaForConditionalGeneration` that encodes videos, one method a stage."""

    config: BimbaConfig
    vision_tower: Any
    projector: Any
    compressor: Any
    separators: Any

    def get_vision_features(
        self, pixel_values_videos: Tensor, *, on_step: Callable[[int], None] | None = None
    ) -> Tensor:
        """Patch features of each frame: one hidden state of the vision tower, without its final norm.

        Args:
            pixel_values_videos: [F, 3, height, width].
            on_step: called with the number of frames after each step.

        Returns:
            [F, S, Dv].
        """
        weights = self.vision_tower.parameters()
        learns = pixel_values_videos.requires_grad or any(weight.requires_grad for weight in weights)
        learns = learns and torch.is_grad_enabled()
        frames_per_step = FRAMES_PER_TRAINING_STEP if self.training else FRAMES_PER_STEP
        if learns or (self.training and torch.distributed.is_initialized()):
            # Processes that train together must call shared weights equally often: once a batch.
            frames_per_step = len(pixel_values_videos)
        features = []
        with torch.set_grad_enabled(learns):
            for chunk in pixel_values_videos.split(max(frames_per_step, 1)):
                features.append(self._tower_features(chunk))
                if on_step is not None:
                    on_step(len(chunk))
        return torch.cat(features)

    def _tower_features(self, pixels: Tensor) -> Tensor:
        """Pixels of some frames [n, 3, height, width] -> [n, S, Dv]."""
        pixels = pixels.to(self.vision_tower.dtype)
        if self.vision_tower.device.type != "meta":  # offloaded weights have no place yet; hooks bring them
            pixels = pixels.to(self.vision_tower.device)
        hidden_states = self.vision_tower(pixels, output_hidden_states=True).hidden_states
        chosen = as_patches(hidden_states[self.config.vision_feature_layer])
        return chosen[:, 1:] if self.config.vision_feature_select_strategy == "default" else chosen

    def project(self, features: Tensor) -> Tensor:
        """Vision features [F, S, Dv] -> video tokens [F, H, W, D]."""
        side = self.config.patches_per_side
        tokens: Tensor = self.projector(features)
        return tokens.reshape(len(tokens), side, side, -1)

    def compress(self, tokens: Tensor, questions: Tensor | None = None) -> Tensor:
        """Video tokens of videos of one length [N, T, H, W, D] -> [N, T', H', W', D].

        Args:
            tokens: [N, T, H, W, D].
            questions: embedded words [N, C, D], for a compressor that reads them.
        """
        # No gradient checkpointing here: the compressor recomputes its chunks by itself.
        compressed: Tensor = (
            self.compressor(tokens) if questions is None else self.compressor(tokens, question=questions)
        )
        return compressed

    def pack(self, compressed: Tensor) -> Tensor:
        """One compressed video [T', H', W', D] -> what the language model reads of it [V, D]."""
        packed: Tensor = self.separators(compressed)
        return packed

    def get_video_features(
        self,
        pixel_values_videos: Tensor,
        num_video_frames: Tensor | Sequence[int] | None = None,
        questions: Sequence[Tensor] | None = None,
    ) -> list[Tensor]:
        """Everything before the language model: pixels of several videos in, tokens of each out.

        Args:
            pixel_values_videos: frames of all videos, one after the other [F, 3, height, width].
            num_video_frames: frames of each video [num_videos]; one video if not given.
            questions: embedded words [C, D] of each video's question, for a compressor that reads them.

        Returns:
            [V, D] for each video.

        Raises:
            ValueError: the numbers of frames do not add up to F.
        """
        return self.encode_features(self.get_vision_features(pixel_values_videos), num_video_frames, questions)

    @torch.no_grad()
    def encode_stream(
        self, pixels: Iterable[Tensor], num_frames: int, question: Tensor | None = None, *, stage: Stage = no_stage
    ) -> Tensor:
        """Everything before the language model, for a video that comes a few frames at a time.

        As `get_video_features` of the whole video, but nothing of what was seen is kept, for as long as the compressor
        needs nothing of it (see `bimba.compressors.streams`).

        Args:
            pixels: of some frames at a time, in order, each [t, 3, height, width].
            num_frames: of the whole video.
            question: embedded words [C, D], for a compressor that reads them.
            stage: called with a name, "vision", "project" and "compress"; what it gives is held while that is done.

        Returns:
            [V, D].

        Raises:
            ValueError: other than `num_frames` frames come.
        """
        side = self.config.patches_per_side
        words = None if question is None else question[None]
        stream = open_stream(self.compressor, num_frames, side, side, words)
        for some in pixels:
            with stage("vision"):
                features = self.get_vision_features(some)
            with stage("project"):
                tokens = self.project(features)
            with stage("compress"):
                stream.push(tokens[None])
        with stage("compress"):
            return self.pack(stream.finish()[0])

    def grow(self, most_groups: int) -> GrowingStream:
        """What takes projected tokens of a video without a known end, within a budget of groups of frames.

        Raises:
            ValueError: the compressor cannot grow, or the budget is too small.
        """
        side = self.config.patches_per_side
        return GrowingStream(self.compressor, side, side, most_groups)

    def encode_features(
        self,
        vision_features: Tensor,
        num_video_frames: Tensor | Sequence[int] | None = None,
        questions: Sequence[Tensor] | None = None,
    ) -> list[Tensor]:
        """As `get_video_features`, from the vision tower's features of all frames [F, S, Dv]."""
        counts = [len(vision_features)] if num_video_frames is None else [int(n) for n in num_video_frames]
        if sum(counts) != len(vision_features):
            raise ValueError(f"num_video_frames {counts} do not add up to {len(vision_features)} frames of pixels.")
        lengths = [0] * len(counts) if questions is None else [len(question) for question in questions]
        if len(lengths) != len(counts):
            raise ValueError(f"there are {len(lengths)} questions for {len(counts)} videos.")
        tokens = self.project(vision_features).split(counts)
        packed: dict[int, Tensor] = {}
        kinds = list(zip(counts, lengths, strict=True))
        for kind in sorted(set(kinds)):
            alike = [index for index, its_kind in enumerate(kinds) if its_kind == kind]
            asked = None if questions is None else torch.stack([questions[index] for index in alike])
            compressed = self.compress(torch.stack([tokens[index] for index in alike]), asked)
            packed.update((index, self.pack(video)) for index, video in zip(alike, compressed, strict=True))
        return [packed[index] for index in range(len(counts))]
