"""What all prompts about a video begin with in, read once; logits and answers of prompts that go on from there out.

Shapes: B prompts, P tokens of the beginning, W of the longest rest, V tokens of the video, D width, K places.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from bimba.models.kinds import VideoFeatures, VideoModel


class Beginning:
    """The beginning of several prompts, up to the video's end.

    Language models of plain attention read it once and keep what they read; each prompt goes on from a copy, and
    padding stands between the beginning and a shorter rest, where it is masked. Other ones (recurrent, or with a
    sliding window) read each prompt whole, padded on the left.

    Args:
        model: that answers.
        ids: of the beginning [P].
        video: what is read of it; None without one.
    """

    def __init__(self, model: VideoModel, ids: list[int], video: VideoFeatures | None) -> None:
        self._model, self._ids, self._video = model, ids, video
        device = model.input_device
        output = model(
            input_ids=torch.tensor([ids], device=device),
            attention_mask=torch.ones(1, len(ids), dtype=torch.long, device=device),
            video_features=self._videos(1),
            use_cache=True,
            logits_to_keep=1,
        )
        cache = output.get("past_key_values")
        self._cache = cache if _goes_on(cache) else None

    def generate(self, rests: Sequence[list[int]], **options: Any) -> list[list[int]]:
        """Continue each prompt: rests of B prompts in, the new ids of each out, padded behind an end."""
        ids, mask = self._rows(rests)
        more: dict[str, Any] = {} if self._cache is None else {"past_key_values": self._copies(len(rests))}
        output = self._model.generate(
            ids, attention_mask=mask, video_features=self._videos(len(rests)), **more, **options
        )
        new: list[list[int]] = output[:, ids.shape[1] :].tolist()
        return new

    def logits(self, rests: Sequence[list[int]], num_kept: int) -> Tensor:
        """Logits [B, K, vocabulary] at the last K = `num_kept` places of each prompt, in float32."""
        ids, mask = self._rows(rests)
        if self._cache is None:
            videos = self._videos(len(rests))
            output = self._model(
                input_ids=ids, attention_mask=mask, video_features=videos, use_cache=False, logits_to_keep=num_kept
            )
        else:
            width = ids.shape[1] - len(self._ids)
            positions = (mask.cumsum(-1) - 1)[:, -width:]
            output = self._model(
                input_ids=ids[:, -width:],
                attention_mask=mask,
                position_ids=positions,
                past_key_values=self._copies(len(rests)),
                video_features=None if self._model.reads_videos_once else self._videos(len(rests)),
                logits_to_keep=num_kept,
            )
        logits: Tensor = output.logits.float()
        return logits

    def _videos(self, count: int) -> list[Any] | None:
        """The video, once for each prompt."""
        return None if self._video is None else [self._video] * count

    def _rows(self, rests: Sequence[list[int]]) -> tuple[Tensor, Tensor]:
        """Ids and mask of whole prompts, each [B, P + W]."""
        width = max(map(len, rests))
        ids, masks = [], []
        for rest in rests:
            padding = width - len(rest)
            parts = [(self._ids, 1), ([0] * padding, 0), (rest, 1)]
            if self._cache is None:
                parts = [parts[1], parts[0], parts[2]]
            ids.append([token for tokens, _ in parts for token in tokens])
            masks.append([seen for tokens, seen in parts for _ in tokens])
        device = self._model.input_device
        return torch.tensor(ids, device=device), torch.tensor(masks, device=device)

    def _copies(self, count: int) -> DynamicCache:
        """What was read of the beginning, once for each prompt."""
        copied: DynamicCache | None = copy.deepcopy(self._cache)
        if copied is None:
            raise ValueError("this language model does not go on from a beginning.")
        copied.batch_repeat_interleave(count)
        return copied


def _goes_on(cache: object) -> bool:
    """Whether a prompt can go on from a copy of what was read, with padding in between."""
    return isinstance(cache, DynamicCache) and all(type(layer) is DynamicLayer for layer in cache.layers)
