"""Frames and prompts in, the tensors that the model's forward takes out.

Shapes: B prompts, L longest prompt, F frames of all videos, S image size.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from transformers import AutoProcessor, BatchFeature, PreTrainedTokenizerBase, ProcessorMixin

from bimba.errors import InputError
from bimba.models.bimba.configuration import BimbaConfig, NewlinePosition
from bimba.models.bimba.separators import num_video_tokens
from bimba.models.processor_inputs import batched, checked_prompts, frame_array, listed, padding_id
from bimba.ops.pool import PoolMode, pooled_shape
from bimba.text.labels import expand_placeholders, template_ids_and_labels, training_ids_and_labels
from bimba.text.prompts import VIDEO_TOKEN, Message, chatml
from bimba.video.pixels import make_pixels, normalise, resize_frames

CHATML_TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{% endif %}"
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}{% else %}{{ '<image>' }}{% endif %}"
    "{% endfor %}{% endif %}{{ '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""`text.prompts.chatml` as a chat template of transformers, for conversations with {"type": "video"} parts."""

IMAGE_MEAN = IMAGE_STD = (0.5, 0.5, 0.5)
"""SigLIP's normalisation; CLIP's differs and comes from its preprocessor_config.json."""


class BimbaProcessor(ProcessorMixin):
    """Tokenizer and pixels of a BIMBA model, and the number of placeholders that a video needs.

    Args:
        tokenizer: the language model's; the video placeholder `<image>` is added as a special token if it is missing.
        image_size: frames become image_size x image_size pixels.
        patches_per_side: H = W, patches along a side of a frame.
        image_mean: mean of each colour, of values between 0 and 1.
        image_std: standard deviation of each colour.
        spatial_pooling: as in `BimbaConfig`.
        temporal_pooling: as in `BimbaConfig`.
        pool_mode: as in `BimbaConfig`.
        newline_position: as in `BimbaConfig`.
        prompt_style: as in `BimbaConfig`.
        time_sentence: as in `BimbaConfig`.
        chat_template: Jinja template for `apply_chat_template`; ChatML as released, or the tokenizer's own.
    """

    temporal_patch_size = 1
    """Frames that the vision tower looks at as one."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        image_size: int = 384,
        patches_per_side: int = 27,
        image_mean: Sequence[float] = IMAGE_MEAN,
        image_std: Sequence[float] = IMAGE_STD,
        spatial_pooling: int = 2,
        temporal_pooling: int = 1,
        pool_mode: PoolMode = "bilinear",
        newline_position: NewlinePosition = "grid",
        prompt_style: Literal["chatml", "template"] = "chatml",
        time_sentence: bool = True,
        chat_template: str | None = None,
    ) -> None:
        if VIDEO_TOKEN not in tokenizer.get_vocab():
            tokenizer.add_special_tokens(
                {"additional_special_tokens": [VIDEO_TOKEN]}, replace_extra_special_tokens=False
            )
        self.image_size, self.patches_per_side = image_size, patches_per_side
        self.image_mean, self.image_std = list(image_mean), list(image_std)
        self.spatial_pooling, self.temporal_pooling = spatial_pooling, temporal_pooling
        self.pool_mode, self.newline_position = pool_mode, newline_position
        self.prompt_style, self.time_sentence = prompt_style, time_sentence
        self.video_token = VIDEO_TOKEN
        self.video_token_id: int = tokenizer.get_vocab()[VIDEO_TOKEN]
        if chat_template is None:
            chat_template = CHATML_TEMPLATE if prompt_style == "chatml" else tokenizer.chat_template
        super().__init__(tokenizer, chat_template=chat_template)  # type: ignore[no-untyped-call] # untyped there

    @classmethod
    def from_config(cls, config: BimbaConfig, tokenizer: PreTrainedTokenizerBase, **pixels: Any) -> "BimbaProcessor":
        """Processor that fits a model, whose config is told the tokenizer's size and the placeholder.

        Args:
            config: `tokenizer_size` and `video_token_id` are set if they are not yet.
            tokenizer: the language model's.
            pixels: `image_mean` and `image_std` where they are not SigLIP's.

        Raises:
            InputError: the tokenizer has more ids than the language model has rows.
        """
        tokenizer_size = len(tokenizer)
        needed = 1 + max(index for token, index in tokenizer.get_vocab().items() if token != VIDEO_TOKEN)
        if needed > config.text_config.vocab_size:
            raise InputError(
                f"the tokenizer has {needed} ids, the language model {config.text_config.vocab_size} rows for them.",
                fix="set vocab_size of text_config to at least the tokenizer's size, or take the model's tokenizer.",
            )
        processor = cls(
            tokenizer,
            image_size=config.vision_config.image_size,
            patches_per_side=config.patches_per_side,
            spatial_pooling=config.spatial_pooling,
            temporal_pooling=config.temporal_pooling,
            pool_mode=config.pool_mode,
            newline_position=config.newline_position,
            prompt_style=config.prompt_style,
            time_sentence=config.time_sentence,
            **pixels,
        )
        if config.tokenizer_size is None:
            config.tokenizer_size = tokenizer_size
        config.video_token_id = processor.video_token_id
        return processor

    def num_video_tokens(self, num_frames: int) -> int:
        """Tokens that a video of so many frames takes in the prompt.

        Raises:
            InputError: fewer frames than are pooled together.
        """
        if num_frames < self.temporal_pooling:
            raise InputError(
                f"{num_frames} frames are fewer than the {self.temporal_pooling} that temporal pooling averages.",
                fix=f"take at least {self.temporal_pooling} frames (--frames), or load the model with a smaller one "
                "(--temporal-pooling 1, config_overrides={'temporal_pooling': 1}).",
            )
        return num_video_tokens(self.grid(num_frames), self.newline_position)

    def tokens_of(self, num_frames: int, frame_size: tuple[int, int] | None = None) -> int:
        """As `num_video_tokens`, whatever the height and width of the frames."""
        del frame_size
        return self.num_video_tokens(num_frames)

    @property
    def least_frames(self) -> int:
        """Frames that a video must have."""
        return self.temporal_pooling

    @property
    def pool(self) -> tuple[int, int, int]:
        """Pooling factors (pt, ph, pw) of the queries."""
        return self.temporal_pooling, self.spatial_pooling, self.spatial_pooling

    def grid(self, num_frames: int, pool: tuple[int, int, int] | None = None) -> tuple[int, int, int]:
        """Queries (T', H', W') of a video of so many frames; of other pooling factors if they are given."""
        side = self.patches_per_side
        return pooled_shape(num_frames, side, side, self.pool if pool is None else pool, self.pool_mode)

    def render(self, messages: Sequence[Message], *, add_generation_prompt: bool = True) -> str:
        """Conversation -> prompt text with one placeholder a video: ChatML as released, or the tokenizer's template.

        Raises:
            InputError: the tokenizer has no chat template of its own.
        """
        if self.prompt_style == "chatml":
            return chatml(messages, add_generation_prompt=add_generation_prompt)
        if not self.tokenizer.chat_template:
            raise InputError(
                "the language model's tokenizer has no chat template.",
                fix="set processor.tokenizer.chat_template, or prompt_style='chatml' in the model's config.",
            )
        turns = [{"role": message.role, "content": message.content} for message in messages]
        text: str = self.tokenizer.apply_chat_template(
            turns, tokenize=False, add_generation_prompt=add_generation_prompt
        )
        return text

    def write(
        self, messages: Sequence[Message], num_video_tokens: Sequence[int] = (), *, add_generation_prompt: bool = True
    ) -> tuple[str, list[int]]:
        """Conversation -> prompt text, and its ids [L] with a placeholder for each token of its videos.

        Args:
            messages: the conversation, one placeholder a video.
            num_video_tokens: of each video.
            add_generation_prompt: end with the beginning of an answer.

        Raises:
            InputError: the tokenizer has no chat template of its own.
        """
        text = self.render(messages, add_generation_prompt=add_generation_prompt)
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return text, expand_placeholders(ids, ids, self.video_token_id, list(num_video_tokens))[0]

    def end_of_video(self, ids: Sequence[int]) -> int:
        """Place behind the last token of the video in a prompt."""
        return len(ids) - list(reversed(ids)).index(self.video_token_id)

    def training_ids_and_labels(self, messages: Sequence[Message]) -> tuple[list[int], list[int]]:
        """Ids [L] and labels [L] of a conversation, one placeholder a video: as released, or by the own template."""

        def tokenize(text: str) -> list[int]:
            ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
            return ids

        if self.prompt_style == "chatml":
            return training_ids_and_labels(messages, tokenize, self.video_token_id)
        return template_ids_and_labels(messages, self.render, tokenize, self.video_token_id)

    def question_ids(self, question: str) -> list[int]:
        """Ids of a question's own words [C], for a compressor that reads them: no placeholder, no times, no marks."""
        words = question.replace(VIDEO_TOKEN, "").strip()
        ids: list[int] = self.tokenizer(words, add_special_tokens=False)["input_ids"]
        return ids

    def make_pixels(self, frames: Iterable[np.ndarray]) -> Tensor:
        """Frames, each uint8 [height, width, 3] -> float32 [T, 3, S, S]."""
        return make_pixels(frames, size=self.image_size, mean=self.image_mean, std=self.image_std)

    def video_inputs(self, frames: Iterable[np.ndarray]) -> dict[str, Tensor]:
        """Frames of a video, each uint8 [height, width, 3] -> what the model's forward takes of it.

        Returns:
            `pixel_values_videos` float32 [T, 3, S, S] and `num_video_frames` [1].
        """
        pixels = self.make_pixels(frames)
        return {"pixel_values_videos": pixels, "num_video_frames": torch.tensor([len(pixels)])}

    def resize_frames(self, frames: Iterable[np.ndarray]) -> Tensor:
        """Frames, each uint8 [height, width, 3] -> uint8 [T, S, S, 3]."""
        return resize_frames(frames, size=self.image_size)

    def normalise(self, resized: Tensor) -> Tensor:
        """Resized frames uint8 [T, S, S, 3] -> float32 [T, 3, S, S] on the same device."""
        return normalise(resized, mean=self.image_mean, std=self.image_std)

    def __call__(
        self,
        text: str | Sequence[str] | None = None,
        videos: Sequence[Any] | None = None,
        images: Sequence[Any] | None = None,
        *,
        pixel_values_videos: Sequence[Tensor] | None = None,
        return_tensors: str | None = "pt",
        padding: bool | str = True,
        padding_side: str = "left",
        **others: Any,
    ) -> BatchFeature:
        """Prompts and their videos -> keyword arguments of the model's forward.

        Args:
            text: prompts, each with one `<image>` for each of its videos.
            videos: frames of each video, in the order of the placeholders: uint8 [T, height, width, 3] or a list of
                frames. One array stands for one video.
            images: images, each uint8 [height, width, 3] or a PIL image: videos of one frame.
            pixel_values_videos: pixels of each video [T, 3, S, S], instead of its frames.
            return_tensors: "pt" (there is nothing else).
            padding: pad shorter prompts to the longest: True or "longest"; without it all must be of one length.
            padding_side: where they are padded: "left", so that generation goes on at the end, or "right".
            others: arguments that transformers hands over without a value.

        Returns:
            `input_ids` and `attention_mask` [B, L], and with videos `pixel_values_videos` [F, 3, S, S] and
            `num_video_frames` [num_videos].

        Raises:
            ValueError: no prompt, more than one kind of video input, an argument that means something and is not
                known here, or placeholders and videos differ in number.
            InputError: a video has fewer frames than are pooled together.
        """
        prompts = checked_prompts(text, return_tensors, padding, others, "BimbaProcessor")
        pixels = self._pixels(videos, images, pixel_values_videos)
        counts = [len(video) for video in pixels]
        encoded: list[list[int]] = self.tokenizer(prompts, add_special_tokens=False)["input_ids"]
        ids = self._expand(encoded, [self.num_video_tokens(count) for count in counts])
        batch = BatchFeature(batched(ids, padding_id(self.tokenizer), padding=padding, side=padding_side))
        if pixels:
            batch["pixel_values_videos"] = torch.cat(pixels)
            batch["num_video_frames"] = torch.tensor(counts)
        return batch

    def _pixels(
        self,
        videos: Sequence[Any] | None,
        images: Sequence[Any] | None,
        ready: Sequence[Tensor] | None,
    ) -> list[Tensor]:
        """Pixels [T, 3, S, S] of each video, whichever way it was given."""
        given = [kind for kind in (videos, images, ready) if kind is not None]
        if len(given) > 1:
            raise ValueError("give one of videos, images and pixel_values_videos.")
        if ready is not None:
            return list(ready)
        return [self.make_pixels(map(frame_array, video)) for video in listed(videos, images)]

    def _expand(self, prompts: Sequence[list[int]], num_tokens: list[int]) -> list[list[int]]:
        """One placeholder for each video token, the videos dealt to the prompts in order."""
        expanded = []
        for ids in prompts:
            here = sum(token == self.video_token_id for token in ids)
            mine, num_tokens = num_tokens[:here], num_tokens[here:]
            expanded.append(expand_placeholders(ids, ids, self.video_token_id, mine)[0])
        if num_tokens:
            raise ValueError(f"the prompts hold too few {VIDEO_TOKEN}: {len(num_tokens)} more videos are given.")
        return expanded

    @property
    def model_input_names(self) -> list[str]:
        """Keys of the result."""
        return ["input_ids", "attention_mask", "pixel_values_videos", "num_video_frames"]


AutoProcessor.register(BimbaConfig, BimbaProcessor, exist_ok=True)
