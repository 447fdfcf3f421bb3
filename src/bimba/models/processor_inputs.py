"""What people hand to a processor in; videos as lists of frames, frames as arrays, and batches of ids out.

Shapes: B prompts, L longest prompt.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor
from transformers import PreTrainedTokenizerBase

_NO_FILES = "the processor takes frames; VideoQA.prepare reads files."


def listed(videos: Any, images: Any) -> list[Any]:
    """Videos as a list, each a sequence of frames; one array stands for one video, one image for itself.

    Raises:
        ValueError: a video is a path.
    """
    if images is not None:
        return [[image] for image in ([images] if _is_image(images) else _flat(images, _is_image))]
    if isinstance(videos, np.ndarray | Tensor) and videos.ndim == 4:
        return [videos]
    given = [] if videos is None else _flat(videos, _is_video)
    if any(isinstance(video, str | Path) for video in given):
        raise ValueError(_NO_FILES)
    return given


def _is_image(value: Any) -> bool:
    return isinstance(value, Image) or (isinstance(value, np.ndarray | Tensor) and value.ndim <= 3)


def _is_video(value: Any) -> bool:
    """Whether it is frames, and not several videos of one prompt."""
    if isinstance(value, list | tuple):
        return all(_is_image(frame) or isinstance(frame, str | Path) for frame in value)
    return True


def _flat(values: Any, is_one: Callable[[Any], bool]) -> list[Any]:
    """Videos or images in order, whether they come one by one or as a list for each prompt (as transformers does)."""
    flat: list[Any] = []
    for value in values:
        flat += [value] if is_one(value) or not isinstance(value, list | tuple) else list(value)
    return flat


def frame_array(frame: Any) -> np.ndarray:
    """A frame, an array or a PIL image of any mode, as an array [height, width, 3].

    Raises:
        ValueError: it is a path.
    """
    if isinstance(frame, Image):
        return np.asarray(frame.convert("RGB"))
    array: np.ndarray = frame.numpy(force=True) if isinstance(frame, Tensor) else np.asarray(frame)
    if array.ndim == 2 and array.dtype == np.uint8:  # gray
        array = np.repeat(array[:, :, None], 3, axis=2)
    if array.dtype.kind in "UO":
        raise ValueError(_NO_FILES)
    return array


def padding_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """Any id will do, since padding is masked; tokenizers without one are padded with their end."""
    for token_id in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if token_id is not None:
            return int(token_id)
    return 0


def checked_prompts(
    text: str | Sequence[str] | None, return_tensors: str | None, padding: bool | str, others: dict[str, Any], who: str
) -> list[str]:
    """The prompts, once the arguments beside them mean nothing that is not known.

    Raises:
        ValueError: there is no prompt, or an argument means something and is not known.
    """
    if text is None or return_tensors not in (None, "pt"):
        raise ValueError(f"{who} needs text and return_tensors='pt'.")
    unknown = [name for name, value in others.items() if value not in (None, False)]
    if unknown or padding not in (True, False, "longest"):
        # Handed on, they would pad or cut ids before the videos are counted.
        raise ValueError(f"{who} knows no {', '.join(unknown) or f'padding={padding!r}'}.")
    prompts = [text] if isinstance(text, str) else list(text)
    if not prompts:
        raise ValueError(f"{who} needs at least one prompt.")
    return prompts


def batched(prompts: Sequence[list[int]], pad_id: int, *, padding: bool | str, side: str) -> dict[str, Tensor]:
    """Ids of prompts as one tensor, `input_ids` int64 [B, L], with their `attention_mask`.

    Args:
        prompts: ids of each of B prompts, at least one.
        pad_id: fills up shorter ones.
        padding: whether they may be filled up.
        side: where: "left" or "right".

    Raises:
        ValueError: the side is none, or prompts of different lengths may not be padded.
    """
    if side not in ("left", "right"):
        raise ValueError(f"padding_side is {side!r}, neither 'left' nor 'right'.")
    if not padding and len({len(ids) for ids in prompts}) > 1:
        raise ValueError("prompts of different lengths need padding=True.")
    longest = max(map(len, prompts))
    rows, masks = [], []
    for ids in prompts:
        missing = longest - len(ids)
        rows.append([pad_id] * missing + ids if side == "left" else ids + [pad_id] * missing)
        masks.append([0] * missing + [1] * len(ids) if side == "left" else [1] * len(ids) + [0] * missing)
    return {"input_ids": torch.tensor(rows), "attention_mask": torch.tensor(masks)}
