"""Numbers of samples in; what the frozen parts before the language model make of their videos, made once each, out.

A needle video is drawn and encoded when it is first met, in the training process, and its tokens stay in memory: 64
frames of 4 x 4 patches, 16 to a token, in 192 numbers are 49 KB. A run that goes on begins with an empty memory, and
fills it again.

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
        dataset.leaves_frames = True

    def __len__(self) -> int:
        return len(self._known)

    def of(self, samples: Sequence[int]) -> list[Tensor]:
        """Tokens [V, D] of the video of each sample, on the model's device.

        Raises:
            TrainingError: a video cannot be drawn.
        """
        return [self._tokens(sample).to(self.model.input_device) for sample in samples]

    def _tokens(self, sample: int) -> Tensor:
        place = self.dataset.store[sample].place
        if place is None:
            raise ValueError(f"sample {sample} is no needle video")
        key = (id(place.stream), place.index)
        if key not in self._known:
            self._known[key] = self._made(sample, place)
        return self._known[key]

    def _made(self, sample: int, place: StreamPlace) -> Tensor:
        try:
            pixels = self.dataset.stream_pixels(place.video())
        except BimbaError as error:
            name = self.dataset.store.name(sample)
            raise TrainingError(f"the video of {name} cannot be drawn: {error.problem}", fix=error.fix) from error
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
