"""Token ids with placeholders and video tokens in, one embedded sequence out.

Shapes: B batch, L prompt with one placeholder a video token, V video tokens, D width.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def splice_videos(
    input_ids: Tensor, videos: Sequence[Tensor], placeholder_id: int, embed: Callable[[Tensor], Tensor]
) -> Tensor:
    """Embed a prompt and put the video tokens where the placeholders stand.

    Args:
        input_ids: [B, L].
        videos: tokens [V, D] of each video, in the order in which their placeholders come, row by row.
        placeholder_id: id that stands for one video token.
        embed: the language model's embedding, [B, L] -> [B, L, D].

    Returns:
        [B, L, D].

    Raises:
        ValueError: the number of placeholders is not the number of video tokens.
    """
    is_video = input_ids == placeholder_id
    # The placeholder needs no row in the embedding table; another id is looked up in its place.
    embeds = embed(input_ids.masked_fill(is_video, 0))
    num_placeholders, num_tokens = int(is_video.sum()), sum(video.shape[0] for video in videos)
    if num_placeholders != num_tokens:
        raise ValueError(f"the prompt has {num_placeholders} video placeholders for {num_tokens} video tokens.")
    if not videos:
        return embeds
    tokens = torch.cat([video.to(embeds.device, embeds.dtype) for video in videos])
    return embeds.masked_scatter(is_video.unsqueeze(-1).expand_as(embeds), tokens)
