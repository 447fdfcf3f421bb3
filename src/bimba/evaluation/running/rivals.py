"""Any video model of transformers in, an answerer out: the same frames, prompts and scores as for a model of ours.

It is asked through its own processor and chat template, a question at a time: such models cannot read a video once for
several questions. Its processor gets our frames with their true times, and may not choose among them again.
"""

import importlib.util
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    PreTrainedModel,
    ProcessorMixin,
)
from transformers.video_utils import VideoMetadata

from bimba.checkpoints.loading import best_device
from bimba.checkpoints.tensors import read_json
from bimba.errors import CheckpointError, InputError
from bimba.evaluation.answering import Query
from bimba.evaluation.provenance import session
from bimba.inference.clip import Clip
from bimba.inference.encoded import EncodedVideo
from bimba.text.prompts import VIDEO_TOKEN

Inputs = dict[str, torch.Tensor]

_COUNTED = ("qwen2_vl", "qwen2_5_vl")
"""Model types whose image tokens are counted here where torchvision, which their processors need, is not installed."""
_IMAGE_KIND = 1
"""Of a token, as Qwen-VL models want to be told; text is 0."""
_PER_SECOND = 1000
"""Processors count time in frames of the file; ours are told as its milliseconds, whatever its frame rate."""


@dataclass(frozen=True)
class Shown:
    """A frame, and when it stands in its video.

    Attributes:
        pixels: uint8 [H, W, 3].
        seconds: from the file's start; None where the times are unknown.
        duration_seconds: of the file, 0 where it is unknown.
    """

    pixels: NDArray[np.uint8]
    seconds: float | None
    duration_seconds: float


class TransformersAnswerer:
    """A model that is none of ours.

    Args:
        folder: of the model.
        device: as of `bimba.load`.
        dtype: as of `bimba.load`.
        max_new_tokens: of an answer in words.
        frames_as: "video", or "images": each frame is an image.

    Raises:
        CheckpointError: transformers cannot open the folder as such a model.
        InputError: its processor needs a library that is not there, or takes no videos.
    """

    def __init__(self, folder: Path, *, device: str, dtype: str, max_new_tokens: int, frames_as: str) -> None:
        self._max_new_tokens, self._frames_as = max_new_tokens, frames_as
        self._prepare = _processor(folder, frames_as)
        place = best_device() if device == "auto" else torch.device(device)
        try:
            model: Any = AutoModelForImageTextToText.from_pretrained(folder, dtype=dtype, use_safetensors=True)
        except (ValueError, OSError) as error:
            raise CheckpointError(
                f"{folder} is no model that reads pictures and writes text: {error}", fix="name one of transformers."
            ) from error
        self._model: PreTrainedModel = model.eval().to(place)
        settings = self._model.generation_config
        if settings is not None:  # greedily, whatever the checkpoint says of sampling
            settings.do_sample, settings.temperature, settings.top_p, settings.top_k = False, None, None, None

    def check(self, num_frames: int) -> None:
        """Nothing is known beforehand of how many tokens such a model makes of a frame."""

    def accept(self, encoded: EncodedVideo, num_frames: int, sampling: str) -> None:
        """Refuse it: this model reads no tokens of ours.

        Raises:
            InputError: always.
        """
        del num_frames, sampling
        raise InputError(
            f"{encoded.path or 'the video'} is encoded, which only models of ours read.",
            fix="name the folder of the videos themselves (--videos DIR).",
        )

    def chunks(self, clip: Clip) -> Iterator[Shown]:
        """Frames with their times."""
        times: Sequence[float | None] = clip.frame_seconds or (None,) * clip.num_frames
        for pixels, seconds in zip(clip.frames(), times, strict=True):
            yield Shown(pixels, seconds, clip.duration_seconds)

    @torch.no_grad()
    def say(self, chunks: Iterable[Shown], queries: Sequence[Query]) -> list[str]:
        """Answer in words, greedily.

        Raises:
            InputError: the processor drops frames.
        """
        frames = list(chunks)
        said = []
        for query in queries:
            inputs = self._inputs(frames, query)
            output: Any = self._model.generate(**inputs, max_new_tokens=self._max_new_tokens)  # type: ignore[operator] # the base class does not name it
            ids = output[0, inputs["input_ids"].shape[1] :]
            said.append(str(self._prepare.tokenizer.decode(ids, skip_special_tokens=True)))
        return said

    @torch.no_grad()
    def choose(self, chunks: Iterable[Shown], queries: Sequence[Query], letters: Sequence[str]) -> list[list[float]]:
        """Log-probability of each letter as the answer's beginning.

        Raises:
            InputError: a letter is no token, or the processor drops frames.
        """
        frames = list(chunks)
        encoded = [self._prepare.tokenizer(letter, add_special_tokens=False)["input_ids"] for letter in letters]
        if any(len(ids) != 1 for ids in encoded):
            raise InputError(
                "the model's tokenizer has no token for each letter.", fix="let it answer in words (--score generate)."
            )
        ids = torch.tensor([each[0] for each in encoded])
        scores = []
        for query in queries:
            logits = self._model(**self._inputs(frames, query)).logits[0, -1]
            scores.append(logits.float().log_softmax(-1).cpu()[ids].tolist())
        return scores

    def session(self) -> dict[str, Any]:
        """Code, machine, device and dtype."""
        return session(self._model.device, self._model.dtype)

    def _inputs(self, frames: list[Shown], query: Query) -> Inputs:
        words = (query.question if query.turn is None else query.turn).replace(VIDEO_TOKEN, "", 1).lstrip("\n")
        return {name: values.to(self._model.device) for name, values in self._prepare(frames, words).items()}


class _WithProcessor:
    """Inputs through a model's whole processor."""

    def __init__(self, folder: Path, frames_as: str) -> None:
        self._processor: Any = AutoProcessor.from_pretrained(folder)
        if not isinstance(self._processor, ProcessorMixin):  # a tokenizer alone, of a model that sees nothing
            raise TypeError("it has no processor of pictures")
        self._is_video = frames_as == "video"
        if self._is_video and not hasattr(self._processor, "video_processor"):  # it would pass over the frames
            raise InputError(
                f"the processor of {folder} takes no videos.", fix="show the frames as images (--frames-as images)."
            )
        self.tokenizer: Any = self._processor.tokenizer

    def __call__(self, frames: list[Shown], words: str) -> Inputs:
        pixels = [frame.pixels for frame in frames]
        if not self._is_video:
            prompt = _prompt(self._processor, [{"type": "image"}] * len(frames), words)
            return dict(self._processor(text=[prompt], images=pixels, return_tensors="pt"))
        prompt = _prompt(self._processor, [{"type": "video"}], words)
        given = {"videos": [np.stack(pixels)], "videos_kwargs": _as_they_are(frames)}
        try:
            inputs: Inputs = dict(self._processor(text=[prompt], return_tensors="pt", **given))
        except ValueError as error:  # some take no single frame, say
            raise InputError(
                f"the model's processor does not take a video of so many frames ({len(frames)}): {error}.",
                fix="show the frames as images (--frames-as images).",
            ) from error
        seen = self._num_seen(inputs)
        if seen is not None and seen < len(frames):
            raise InputError(
                f"the model's processor shows it {seen} of {len(frames)} frames.",
                fix="ask for fewer frames (--frames N), or show them as images (--frames-as images).",
            )
        return inputs

    def _num_seen(self, inputs: Inputs) -> int | None:
        """How many frames of a video came through at most; None where the processor does not tell."""
        if "video_grid_thw" in inputs:  # some count groups of frames in time, some frames
            return int(inputs["video_grid_thw"][:, 0].sum()) * int(self._processor.video_processor.temporal_patch_size)
        for name in ("pixel_values_videos", "pixel_values"):
            if name in inputs:  # [1, T, 3, H, W] of most; the others have shapes of their own
                return inputs[name].shape[1] if inputs[name].ndim == 5 else None
        return 0


class _QwenImages:
    """Inputs of a Qwen-VL model whose frames are images, without torchvision, which its whole processor needs."""

    def __init__(self, folder: Path) -> None:
        config: Any = AutoConfig.from_pretrained(folder)
        self._image_token_id: int = config.image_token_id
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self._images: Any = AutoImageProcessor.from_pretrained(folder, backend="pil")

    def __call__(self, frames: list[Shown], words: str) -> Inputs:
        pixels = self._images(images=[frame.pixels for frame in frames], return_tensors="pt")
        counts = iter((pixels["image_grid_thw"].prod(-1) // self._images.merge_size**2).tolist())
        prompt = _prompt(self.tokenizer, [{"type": "image"}] * len(frames), words)
        ids: list[int] = []
        for token in self.tokenizer(prompt, add_special_tokens=False)["input_ids"]:
            ids += [token] * (next(counts) if token == self._image_token_id else 1)
        input_ids = torch.tensor([ids])
        kinds = (input_ids == self._image_token_id).long() * _IMAGE_KIND
        return {
            "input_ids": input_ids,
            "attention_mask": torch.ones_like(input_ids),
            "mm_token_type_ids": kinds,
            **pixels,
        }


def _processor(folder: Path, frames_as: str) -> "_WithProcessor | _QwenImages":
    has_torchvision = importlib.util.find_spec("torchvision") is not None
    try:
        if (
            not has_torchvision
            and frames_as == "images"
            and read_json(folder / "config.json")["model_type"] in _COUNTED
        ):
            return _QwenImages(folder)
        return _WithProcessor(folder, frames_as)
    except ImportError as error:
        raise InputError(
            f"the processor of {folder} needs a library that is not installed: {str(error).strip().splitlines()[0]}",
            fix="install it (pip install torchvision, say), or show the frames as images (--frames-as images).",
        ) from error
    except (TypeError, ValueError, OSError) as error:
        raise CheckpointError(
            f"the processor of {folder} cannot be opened: {error}", fix="name a video model of transformers."
        ) from error


def _as_they_are(frames: Sequence[Shown]) -> dict[str, Any]:
    """Keeps a processor of videos from choosing among the frames, and tells it when they stand.

    Where the times are unknown, a model is told what its processor thinks of a video without a frame rate.
    """
    height, width = frames[0].pixels.shape[:2]
    seconds = [frame.seconds for frame in frames if frame.seconds is not None]
    if len(seconds) < len(frames):
        places = list(range(len(frames)))
        untimed = VideoMetadata(total_num_frames=len(frames), width=width, height=height, frames_indices=places)
        return {"do_sample_frames": False, "video_metadata": untimed}
    indices = [round(each * _PER_SECOND) for each in seconds]
    total = max(round(frames[0].duration_seconds * _PER_SECOND), indices[-1] + 1)
    timed = VideoMetadata(
        total_num_frames=total,
        fps=_PER_SECOND,
        width=width,
        height=height,
        duration=total / _PER_SECOND,
        frames_indices=indices,
    )
    # Qwen-Omni models read how far frames are apart from `fps`, all others from the metadata.
    return {"do_sample_frames": False, "video_metadata": timed, "fps": timed.sampled_fps}


def _prompt(template: Any, kinds: list[dict[str, str]], words: str) -> str:
    messages = [{"role": "user", "content": [*kinds, {"type": "text", "text": words}]}]
    prompt: str = template.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return prompt
