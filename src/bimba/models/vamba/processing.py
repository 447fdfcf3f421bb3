"""Frames and prompts in, the tensors that Vamba's forward takes out.

Shapes: B prompts, L longest prompt, v videos or images of all prompts, (t, h, w) the grid of patches of each, N patches
of all, P values of a patch.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL.Image import Image, Resampling
from torch import Tensor
from transformers import AutoProcessor, BatchFeature, PreTrainedTokenizerBase, ProcessorMixin

from bimba.errors import CheckpointError
from bimba.models.processor_inputs import batched, checked_prompts, frame_array, listed, padding_id
from bimba.models.vamba.configuration import VambaConfig
from bimba.models.vamba.patches import Patches
from bimba.models.vamba.pixels import PatchSettings, make_patches, normalise
from bimba.models.vamba.qwen_settings import read_qwen_settings
from bimba.text.labels import vamba_ids_and_labels
from bimba.text.prompts import VIDEO_TOKEN, VISION_MARKS, Message, chatml, vamba_prompt, with_vision_marks
from bimba.video.interval_sampling import IntervalSamplingOrRate, Seed, choose_in_intervals
from bimba.video.sampling import FrameChoice

CHATML_TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{% endif %}"
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}{% else %}{{ '<|vision_start|><|vision_end|>' }}{% endif %}"
    "{% endfor %}{% endif %}{{ '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""`text.prompts.vamba_prompt` as a chat template of transformers, for conversations with parts that are no text."""

IMAGE_MEAN, IMAGE_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""CLIP's normalisation, which Qwen2-VL has."""

_VISION_END = "<|vision_end|>"
_SPECIAL = ("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>")


class VambaProcessor(ProcessorMixin):
    """Tokenizer and patches of a Vamba model.

    No token of a prompt stands for a video: its patches go to the model beside the prompt, and `num_videos` tells how
    many of the videos belong to each prompt. `from_pretrained` reads our folders, the released one, and Qwen2-VL's.

    Args:
        tokenizer: the language model's, with Qwen2-VL's special tokens.
        longest_edge: frames whose longer side has more pixels are reduced to so many first.
        shortest_edge: sides with fewer pixels are then stretched to so many.
        min_pixels: pixels of a frame, at least, after Qwen2-VL's own resize.
        max_pixels: at most.
        patch_size: rows and columns of a patch.
        temporal_patch_size: frames of a patch.
        merge_size: rows and columns of patches that the vision tower makes one token of.
        image_mean: mean of each colour, of values between 0 and 1.
        image_std: standard deviation of each colour.
        num_frames: frames that `choose_frames` takes unless it is told otherwise, as many as in training.
        sampling: how they are chosen unless it says otherwise, as in `choose_frames`.
        chat_template: Jinja template for `apply_chat_template`; ChatML as released.

    Raises:
        CheckpointError: the tokenizer lacks special tokens of Qwen2-VL.
        InputError: a setting is out of range or unknown.
    """

    time_sentence = False
    """Vamba was not told when its frames are."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        longest_edge: int = 640,
        shortest_edge: int = 256,
        min_pixels: int = 56 * 56,
        max_pixels: int = 28 * 28 * 16384,
        patch_size: int = 14,
        temporal_patch_size: int = 2,
        merge_size: int = 2,
        image_mean: Sequence[float] = IMAGE_MEAN,
        image_std: Sequence[float] = IMAGE_STD,
        num_frames: int = 512,
        sampling: IntervalSamplingOrRate = "middle",
        chat_template: str | None = None,
    ) -> None:
        missing = sorted(set(_SPECIAL) - set(tokenizer.get_vocab()))
        if missing:
            raise CheckpointError(
                f"the tokenizer has no {', '.join(missing)}.", fix="take the tokenizer of a Vamba or of a Qwen2-VL."
            )
        self.longest_edge, self.shortest_edge = longest_edge, shortest_edge
        self.min_pixels, self.max_pixels = min_pixels, max_pixels
        self.patch_size, self.temporal_patch_size, self.merge_size = patch_size, temporal_patch_size, merge_size
        self.image_mean, self.image_std = list(image_mean), list(image_std)
        self.num_frames, self.sampling = num_frames, sampling
        template = CHATML_TEMPLATE if chat_template is None else chat_template
        # Settings that no video can be read with are refused now, and not with the first video.
        self.num_video_tokens(1, 1, 1)
        self.choose_frames(1, 1.0, seed=0)
        super().__init__(tokenizer, chat_template=template)  # type: ignore[no-untyped-call] # untyped there

    @classmethod
    def get_processor_dict(
        cls, pretrained_model_name_or_path: Any, **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Settings of a folder: our own, or read from the image processor of a released Vamba or a Qwen2-VL.

        Args:
            pretrained_model_name_or_path: a folder, or a hub id.
            kwargs: as `from_pretrained` takes them.

        Returns:
            settings, and what of `kwargs` does not tell where files are.

        Raises:
            CheckpointError: it has no image processor of Qwen2-VL's type.
        """
        settings, rest = super().get_processor_dict(pretrained_model_name_or_path, **kwargs)
        if settings.get("processor_class") != cls.__name__:
            # A chat template that is found there would put tokens where Vamba has none.
            settings = read_qwen_settings(str(pretrained_model_name_or_path), **kwargs)
        return settings, rest

    @property
    def patch_settings(self) -> PatchSettings:
        """How frames become patches.

        Raises:
            InputError: a number is out of range.
        """
        return PatchSettings(
            longest_edge=self.longest_edge,
            shortest_edge=self.shortest_edge,
            min_pixels=self.min_pixels,
            max_pixels=self.max_pixels,
            patch_size=self.patch_size,
            temporal_patch_size=self.temporal_patch_size,
            merge_size=self.merge_size,
            image_mean=self.image_mean,
            image_std=self.image_std,
        )

    def qwen_settings(self) -> dict[str, Any]:
        """How frames become patches, as the preprocessor_config.json of a Qwen2-VL says it."""
        return {
            "image_processor_type": "Qwen2VLImageProcessor",
            "do_convert_rgb": True,
            "do_resize": True,
            "do_rescale": True,
            "do_normalize": True,
            "resample": int(Resampling.BICUBIC),
            "rescale_factor": 1 / 255,
            "image_mean": self.image_mean,
            "image_std": self.image_std,
            "min_pixels": self.min_pixels,
            "max_pixels": self.max_pixels,
            "patch_size": self.patch_size,
            "temporal_patch_size": self.temporal_patch_size,
            "merge_size": self.merge_size,
        }

    def choose_frames(
        self,
        num_available: int,
        average_fps: float,
        num_frames: int | None = None,
        *,
        sampling: IntervalSamplingOrRate | None = None,
        seed: Seed | None = None,
    ) -> FrameChoice:
        """Choose frames of a video; see `bimba.video.interval_sampling`.

        Args:
            num_available: how many frames the file has.
            average_fps: the file's frames a second.
            num_frames: the most frames to choose; None for as many as the processor says.
            sampling: "middle", "random", "fps", "uniform" or a number; None for what the processor says.
            seed: of "random".

        Raises:
            InputError: one of them is out of range or unknown.
        """
        return choose_in_intervals(
            num_available,
            average_fps,
            self.num_frames if num_frames is None else num_frames,
            sampling=self.sampling if sampling is None else sampling,
            seed=seed,
        )

    @property
    def least_frames(self) -> int:
        """Frames that a video must have."""
        return 1

    def tokens_of(self, num_frames: int, frame_size: tuple[int, int] | None) -> int:
        """Tokens of a video of so many frames of a height and width.

        Raises:
            ValueError: the size is not known.
        """
        if frame_size is None:
            raise ValueError("tokens depend on the size of the frames, which is not known.")
        return self.num_video_tokens(num_frames, *frame_size)

    def num_video_tokens(self, num_frames: int, height: int, width: int) -> int:
        """Tokens of a video of so many frames of a size (of an image: 1), none of which is in the prompt."""
        t, h, w = self.patch_settings.grid(num_frames, height, width)
        return t * h * w // self.merge_size**2

    def render(self, messages: Sequence[Message], *, add_generation_prompt: bool = True) -> str:
        """Conversation -> prompt text, with vision marks for each `<image>` or `<video>` in a user's turn."""
        return vamba_prompt(messages, add_generation_prompt=add_generation_prompt)

    def write(
        self, messages: Sequence[Message], num_video_tokens: Sequence[int] = (), *, add_generation_prompt: bool = True
    ) -> tuple[str, list[int]]:
        """Conversation -> prompt text, and its ids [L]; no token of a video is among them.

        Args:
            messages: the conversation, one placeholder a video.
            num_video_tokens: of each video.
            add_generation_prompt: end with the beginning of an answer.

        Raises:
            ValueError: the conversation has places for more or fewer videos.
        """
        places = sum(message.content.count(VIDEO_TOKEN) for message in messages if message.role == "user")
        if places != len(num_video_tokens):
            raise ValueError(f"the conversation has {places} places for {len(num_video_tokens)} videos.")
        # Whatever else looks like a placeholder are somebody's words.
        marked = [
            replace(turn, content=with_vision_marks(turn.content, VIDEO_TOKEN)) if turn.role == "user" else turn
            for turn in messages
        ]
        text = chatml(marked, add_generation_prompt=add_generation_prompt)
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return text, ids

    def end_of_video(self, ids: Sequence[int]) -> int:
        """Place behind the marks of the video in a prompt, which are the first ones."""
        return list(ids).index(self.tokenizer.convert_tokens_to_ids(_VISION_END)) + 1

    def question_ids(self, question: str) -> list[int]:
        """Ids of a question's own words [C]."""
        words = question.replace(VIDEO_TOKEN, "").strip()
        ids: list[int] = self.tokenizer(words, add_special_tokens=False)["input_ids"]
        return ids

    def training_ids_and_labels(
        self, messages: Sequence[Message], *, learn_headers: bool = True
    ) -> tuple[list[int], list[int]]:
        """Ids [L] and labels [L] of a conversation, as released, or without the headers of answers in the labels."""

        def tokenize(text: str) -> list[int]:
            ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
            return ids

        return vamba_ids_and_labels(messages, tokenize, learn_headers=learn_headers)

    def video_inputs(self, frames: Iterable[np.ndarray]) -> dict[str, Tensor]:
        """Frames of a video, each uint8 [height, width, 3] -> what the model's forward takes of it.

        Returns:
            `pixel_values_videos` float32 [n, P], `video_grid_thw` [1, 3] and `num_videos` [1].
        """
        pixels, grids = self._pixels([frames])
        return {"pixel_values_videos": pixels, "video_grid_thw": grids, "num_videos": torch.tensor([1])}

    def resize_frames(self, frames: Iterable[np.ndarray]) -> Patches:
        """Frames of a video, or the one of an image, each uint8 [height, width, 3] -> patches in bytes."""
        return Patches(*make_patches(frames, self.patch_settings))

    def normalise(self, patches: Patches) -> Patches:
        """Patches in bytes -> float32 on the same device."""
        return patches._replace(values=normalise([patches.values], self.patch_settings))

    def __call__(
        self,
        text: str | Sequence[str] | None = None,
        videos: Sequence[Any] | np.ndarray | Tensor | None = None,
        images: Sequence[Any] | np.ndarray | Tensor | Image | None = None,
        *,
        return_tensors: str | None = "pt",
        padding: bool | str = True,
        padding_side: str = "left",
        **others: Any,
    ) -> BatchFeature:
        """Prompts and their videos or images -> keyword arguments of the model's forward.

        Args:
            text: prompts, each with `<video>`, `<image>` or `<|vision_start|><|vision_end|>` for each of its videos or
                images.
            videos: frames of each video, in the order of the prompts: uint8 [T, height, width, 3] or a list of frames.
                One array stands for one video.
            images: images, each uint8 [height, width, 3] or a PIL image.
            return_tensors: "pt" (there is nothing else).
            padding: pad shorter prompts to the longest: True or "longest"; without it all must be of one length.
            padding_side: where they are padded: "left", so that generation goes on at the end, or "right".
            others: arguments that transformers hands over without a value.

        Returns:
            `input_ids` and `attention_mask` [B, L]; with videos `pixel_values_videos` float32 [N, P], `video_grid_thw`
            [v, 3] and `num_videos` [B]: how many of the videos, one after the other, belong to each prompt; with images
            `pixel_values`, `image_grid_thw` and `num_images` likewise.

        Raises:
            ValueError: no prompt, videos and images at once, an argument that means something and is not known here,
                or places in the prompts and videos or images differ in number.
            InputError: the frames of a video differ in size.
        """
        prompts = checked_prompts(text, return_tensors, padding, others, "VambaProcessor")
        if videos is not None and images is not None:
            raise ValueError("give videos or images, not both in one call.")
        kind = "videos" if images is None else "images"
        media = listed(videos, images)
        prompts = [with_vision_marks(prompt) for prompt in prompts]
        counts = [prompt.count(VISION_MARKS) for prompt in prompts]
        if sum(counts) != len(media):
            places = f"places (<video>, <image> or {VISION_MARKS})"
            raise ValueError(f"the prompts hold {sum(counts)} {places} for {len(media)} {kind}.")
        ids: list[list[int]] = self.tokenizer(prompts, add_special_tokens=False)["input_ids"]
        batch = BatchFeature(batched(ids, padding_id(self.tokenizer), padding=padding, side=padding_side))
        if media:
            pixels, grid = self._pixels(media)
            names = ("pixel_values_videos", "video_grid_thw") if images is None else ("pixel_values", "image_grid_thw")
            batch.update(zip((*names, f"num_{kind}"), (pixels, grid, torch.tensor(counts)), strict=True))
        return batch

    def _pixels(self, media: Sequence[Any]) -> tuple[Tensor, Tensor]:
        """Pixels [N, P] and grids [v, 3] of videos, each a sequence of frames."""
        made = [self.resize_frames(map(frame_array, frames)) for frames in media]
        pixels = normalise([patches.values for patches in made], self.patch_settings)
        return pixels, torch.tensor([patches.grid for patches in made])

    @property
    def model_input_names(self) -> list[str]:
        """Keys of the result."""
        videos = ["pixel_values_videos", "video_grid_thw", "num_videos"]
        return ["input_ids", "attention_mask", *videos, "pixel_values", "image_grid_thw", "num_images"]


AutoProcessor.register(VambaConfig, VambaProcessor, exist_ok=True)
