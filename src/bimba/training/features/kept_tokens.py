"""Numbers of samples in; what the frozen parts before the language model make of their videos, made once each, out.

A needle video is drawn when a worker process first meets it, encoded in the training process, and its tokens stay in
memory there: 64 frames of 4 x 4 patches, 16 to a token, in 192 numbers are 49 KB. A run that goes on begins with an
empty memory, and fills it again.

Shapes: V tokens of a video, D width of the language model.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from bimba.errors import BimbaError, InputError, TrainingError
from bimba.models.bimba.modeling import BimbaForConditionalGeneration
from bimba.training.data.dataset import TrainingDataset
from bimba.training.data.streams import StreamPlace
from bimba.training.recipe.settings import Recipe


class KeptTokens:
    """Tokens of the needle videos of a data set.

    Args:
        model: everything before its language model is frozen.
        dataset: draws the videos.
        precision: "bf16" or "float32", as of training.
    """

    def __init__(self, model: BimbaForConditionalGeneration, dataset: TrainingDataset, precision: str) -> None:
        self.model, self.dataset, self.precision = model, dataset, precision
        self._known: dict[tuple[int, int], Tensor] = {}
        dataset.draws_once = True

    def __len__(self) -> int:
        return len(self._known)

    def of(self, videos: Sequence[tuple[int, Tensor | None]]) -> list[Tensor]:
        """Tokens [V, D] of the video of each sample, on the model's device.

        Args:
            videos: numbers of samples, each with the pixels [T, 3, S, S] of its video where it was just drawn.

        Raises:
            TrainingError: a video cannot be drawn.
        """
        return [self._tokens(sample, pixels).to(self.model.input_device) for sample, pixels in videos]

    def _tokens(self, sample: int, pixels: Tensor | None) -> Tensor:
        place = self.dataset.store.place(sample)
        if place is None:
            raise ValueError(f"sample {sample} is no needle video")
        key = (id(place.stream), place.index)
        if key not in self._known:
            self._known[key] = self._encoded(self._drawn(sample, place) if pixels is None else pixels)
            self.dataset.drawn.add(key)
        return self._known[key]

    def _drawn(self, sample: int, place: StreamPlace) -> Tensor:
        try:
            return self.dataset.stream_pixels(place.video())
        except BimbaError as error:
            name = self.dataset.store.name(sample)
            raise TrainingError(f"the video of {name} cannot be drawn: {error.problem}", fix=error.fix) from error

    def _encoded(self, pixels: Tensor) -> Tensor:
        device = self.model.input_device
        is_bf16 = self.precision == "bf16"
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=is_bf16):
            (tokens,) = self.model.get_video_features(pixels.to(device))
        return tokens.float().cpu()


def keep_tokens(
    recipe: Recipe, model: BimbaForConditionalGeneration, dataset: TrainingDataset, num_processes: int
) -> KeptTokens | None:
    """Tokens that a run keeps; None if its recipe does not ask for them.

    Raises:
        InputError: what would be kept depends on more than the video, or there are several processes, each of which
            meets another part of the videos in each epoch.
    """
    if not recipe.data.keep_tokens:
        return None
    if model.config.reads_question:
        raise InputError(
            "data.keep_tokens keeps what is made of a video, but this compressor reads the question, too.",
            fix="leave data.keep_tokens out.",
        )
    if num_processes > 1:
        raise InputError(
            f"data.keep_tokens is for one process, not {num_processes}: each would have to make all videos.",
            fix="leave data.keep_tokens out, or train with one process.",
        )
    return KeptTokens(model, dataset, recipe.compute.precision)
