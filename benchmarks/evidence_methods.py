"""A needle video and an answer about it in; how much each frame matters, by methods that bimba does not have, out.

They are what evidence was chosen from: the scan's own step sizes, and gradients of the raw tokens.

Shapes: T frames, H x W patches a frame, S = H W, D width of the language model, E inner width of the scan, A tokens of
the answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from bimba.compressors import SelectiveScanCompressor
from bimba.compressors.selective_scan import CompressorLayer
from bimba.inference import VideoQA
from bimba.ops import causal_conv1d, interleave, pool_video, query_positions
from bimba.ops.interleave import token_positions

METHODS = {
    "steps": "the backward scan's step sizes, distance from their mean",
    "tokens": "gradient x token, raw tokens",
    "norm": "norm of the gradient, raw tokens",
    "gated": "gradient x token, raw tokens, times the step sizes",
    "end": "gradient x distance from the average, tokens that are read",
}


@dataclass(frozen=True)
class Watched:
    """A video that bimba-nano has looked at.

    Attributes:
        qa: the model.
        features: of the vision tower [T, S, Dv].
    """

    qa: VideoQA
    features: Tensor

    @cached_property
    def raw(self) -> Tensor:
        """Tokens that the compressor reads [T, H, W, D]."""
        with torch.no_grad():
            return self.qa.model.project(self.features)

    @cached_property
    def read(self) -> Tensor:
        """Tokens that the language model reads [V, D]."""
        with torch.no_grad():
            return self.qa.model.pack(self.qa.model.compress(self.raw[None])[0])

    @cached_property
    def steps(self) -> Tensor:
        """Of each frame, how far the backward direction's step sizes are from their mean [T]; no question counts."""
        compressor = self.qa.model.compressor
        if not isinstance(compressor, SelectiveScanCompressor):
            raise TypeError("step sizes are the selective scan's.")
        layer = compressor.layers[-1]
        if not isinstance(layer, CompressorLayer) or layer.mixer.backward_scan is None:
            raise TypeError("this scan has no backward direction.")
        direction = layer.mixer.backward_scan
        with torch.no_grad():
            queries = pool_video(self.raw[None], compressor.pool, compressor.pool_mode).flatten(1, 3)
            tokens = self.raw[None].flatten(1, 3)
            positions = query_positions(tokens.shape[1], queries.shape[1], compressor.query_position)
            x = layer.mixer.in_proj(layer.norm(interleave(tokens, queries, positions)))
            mixed = causal_conv1d(x, direction.conv_weight, direction.conv_bias, reverse=True)
            low_rank = direction.step_proj(mixed)[..., : direction.dt_rank]
            steps = functional.softplus(direction.dt_proj(low_rank) + direction.dt_bias)
            own = steps[0, token_positions(tokens.shape[1], positions)]
            by_token = (own - own.mean(0)).abs().mean(1)
            return by_token.reshape(len(self.raw), -1).mean(1)

    def scores(self, prompt_ids: Sequence[int], answer_ids: Sequence[int]) -> dict[str, Tensor]:
        """Scores of the frames [T] by each of `METHODS`; gradients are those of the answer's log-likelihood."""
        raw = self.raw.detach().requires_grad_()
        model = self.qa.model
        ids = torch.tensor([[*prompt_ids, *answer_ids]])
        answer = ids[0, len(prompt_ids) :, None]
        with torch.enable_grad():
            read = model.pack(model.compress(raw[None])[0])
            logits = model(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                video_features=[read],
                use_cache=False,
                logits_to_keep=len(answer) + 1,
            ).logits[0, :-1]
            likelihood = logits.log_softmax(-1).gather(1, answer).sum()
            of_raw, of_read = torch.autograd.grad(likelihood, [raw, read])
        moved = self.read.unflatten(0, (len(raw), -1)) - self.read.unflatten(0, (len(raw), -1)).mean(0)
        by_tokens = (of_raw * self.raw).sum(-1).abs().sum((1, 2))
        return {
            "steps": self.steps,
            "tokens": by_tokens,
            "norm": of_raw.norm(dim=-1).sum((1, 2)),
            "gated": by_tokens * self.steps,
            "end": (of_read.unflatten(0, (len(raw), -1)) * moved).abs().sum((1, 2)),
        }
