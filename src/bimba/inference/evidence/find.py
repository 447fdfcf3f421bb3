"""A question, what was read of its video and the answer in; how much each moment of the video mattered out.

Shapes: L tokens of the prompt, A tokens of the answer, V tokens of the video, M moments, n tokens of each.
"""

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from bimba.errors import InputError
from bimba.inference.evidence.less_memory import recomputed_layers
from bimba.inference.evidence.moments import Layout, layout_of, parts_of, with_parts
from bimba.inference.evidence.result import Evidence, Method, moments_of
from bimba.inference.request import Request
from bimba.models.kinds import VideoFeatures, VideoModel, VideoProcessor

Reports = Callable[[int, int], None]
"""Told how many passes are done, and how many there are."""

NUM_PLACES = 4
"""Places between the average and the video at which the gradient is taken (Gauss and Legendre's)."""


def _untold(done: int, total: int) -> None:
    """Nobody wants to know."""


def find_evidence(
    model: VideoModel,
    processor: VideoProcessor,
    request: Request,
    features: VideoFeatures | None,
    answer_ids: Sequence[int],
    *,
    method: Method = "gradient",
    report: Reports = _untold,
) -> Evidence:
    """Find what an answer rests on.

    Args:
        model: that answered.
        processor: its processor.
        request: what it was asked.
        features: what it read of the video.
        answer_ids: what it answered [A].
        method: see `Evidence.method`.
        report: told after each pass.

    Raises:
        InputError: there is no video or no answer, the video's tokens belong to no moments, the method is unknown, or
            the numbers leave the range of the model's dtype.
    """
    begun = time.perf_counter()
    if method not in _METHODS:
        raise InputError(f"the method is {method!r}.", fix=f"take one of {', '.join(_METHODS)}.")
    if features is None or request.clip is None:
        raise InputError("the answer rests on no video: none was given.", fix="ask about a video.")
    if not answer_ids:
        raise InputError("there is no answer to find evidence for.", fix="give an answer with at least one token.")
    layout = layout_of(model, processor, request.clip, features)
    answered = _Answered(model, request.input_ids, list(answer_ids))
    with torch.no_grad():
        (odds, with_video), (_, without) = (
            answered.likelihood(read) for read in (features, _averaged(features, layout, range(layout.num_moments)))
        )
    scores = _METHODS[method](answered, features, layout, float(odds), report)
    if not torch.tensor([*scores, float(with_video), float(without)]).isfinite().all():
        raise InputError(
            f"the scores of the moments, or the answer's probabilities, leave the range of {model.dtype}.",
            fix="load the model in bfloat16 or float32 (dtype=, --dtype).",
        )
    return Evidence(
        method=method,
        answer=processor.tokenizer.decode(list(answer_ids), skip_special_tokens=True),
        log_probability=float(with_video),
        log_probability_without=float(without),
        moments=moments_of(scores, layout.frames, request.clip.frame_seconds),
        seconds=time.perf_counter() - begun,
    )


class _Answered:
    """A prompt with its answer, to be read with one video or another.

    Args:
        model: that reads.
        prompt_ids: [L].
        answer_ids: [A].
    """

    def __init__(self, model: VideoModel, prompt_ids: list[int], answer_ids: list[int]) -> None:
        self.model = model
        self._ids = torch.tensor([prompt_ids + answer_ids], device=model.input_device)
        self._answer = self._ids[0, len(prompt_ids) :, None]

    def likelihood(self, features: VideoFeatures) -> tuple[Tensor, Tensor]:
        """Log-odds of the answer's tokens, each against all others, summed; and their log-probability.

        Odds, since a probability near one hardly changes, whatever one takes away.
        """
        output = self.model(
            input_ids=self._ids,
            attention_mask=torch.ones_like(self._ids),
            video_features=[features],
            use_cache=False,
            logits_to_keep=len(self._answer) + 1,
        )
        logits = output.logits[0, :-1].float()
        answer = self._answer.to(logits.device)
        chosen = logits.gather(1, answer)[:, 0]
        others = logits.scatter(1, answer, -torch.inf).logsumexp(-1)
        log_probabilities = chosen - logits.logsumexp(-1)
        return (chosen - others).sum(), log_probabilities.sum()


def _by_gradient(
    answered: _Answered, features: VideoFeatures, layout: Layout, odds: float, report: Reports
) -> list[float]:
    """Integrated gradients (M. Sundararajan et al., arXiv 1703.01365) from the average of all moments to the video.

    The gradient at the video alone would miss what an answer rests on twice: taking one of two reasons away changes
    nothing. On the way from the average each moment's part is seen, and the parts add up to what the video as a whole
    does to the log-odds, but for the error of the quadrature.
    """
    del odds
    parts = parts_of(features)
    averages = [tensor for tensor, _ in parts_of(_averaged(features, layout, range(layout.num_moments)))]
    scores = torch.zeros(layout.num_moments)
    places, weights = np.polynomial.legendre.leggauss(NUM_PLACES)
    for done, (place, weight) in enumerate(zip((places + 1) / 2, weights / 2, strict=True), start=1):
        between = [average.lerp(tensor, place) for (tensor, _), average in zip(parts, averages, strict=True)]
        leaves = [tensor.detach().requires_grad_() for tensor in between]
        with torch.enable_grad(), recomputed_layers(answered.model):
            log_odds, _ = answered.likelihood(with_parts(features, leaves))
            gradients = torch.autograd.grad(log_odds, leaves)
        for (tensor, token_dim), average, gradient in zip(parts, averages, gradients, strict=True):
            moved = (tensor - average).float() * gradient.float()
            scores += weight * layout.rows(moved, token_dim).flatten(1).sum(1).cpu()
        report(done, NUM_PLACES)
    return scores.tolist()


@torch.no_grad()
def _by_occlusion(
    answered: _Answered, features: VideoFeatures, layout: Layout, odds: float, report: Reports
) -> list[float]:
    """One pass for each moment, with the average of all moments in its place."""
    scores = []
    for number in range(layout.num_moments):
        without, _ = answered.likelihood(_averaged(features, layout, range(number, number + 1)))
        scores.append(odds - float(without))
        report(number + 1, layout.num_moments)
    return scores


def _averaged(features: VideoFeatures, layout: Layout, moments: range) -> VideoFeatures:
    """Features with the average of all moments in the place of some."""
    changed = []
    for tensor, token_dim in parts_of(features):
        copy = tensor.detach().clone()
        rows = layout.rows(copy, token_dim)  # a view: what is written to it is written to the copy
        rows[moments.start : moments.stop] = rows.float().mean(0).to(rows)
        changed.append(copy)
    return with_parts(features, changed)


_METHODS: dict[str, Callable[[_Answered, VideoFeatures, Layout, float, Reports], list[float]]] = {
    "gradient": _by_gradient,
    "occlusion": _by_occlusion,
}
