"""A thin model and the length of a prompt in, the seconds until its first token and from one to the next out.

Shapes: L tokens of a prompt.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig
from transformers.generation.streamers import BaseStreamer

from bimba.inference.calibration.measuring import Timed
from bimba.models.kinds import VideoModel

FEWEST_TOKENS = 128
"""Of a prompt, that are measured first."""

_STEPS = 4


def time_answer(thin: VideoModel, num_tokens: int, timed: Timed, **given: Any) -> dict[str, float]:
    """Read a prompt and say a few words.

    Args:
        thin: says them.
        num_tokens: L.
        timed: takes the time.
        given: more for `generate`.

    Returns:
        seconds "first" (until the first token) and "next" (from one to the next), and of each of the timed layers in
        both ("first NAME", "next NAME").
    """
    ids = torch.zeros(1, num_tokens, dtype=torch.int64, device=thin.input_device)
    marks = _Marks(timed)
    steps = GenerationConfig(max_new_tokens=1 + _STEPS, do_sample=False, pad_token_id=0)
    thin.generate(ids, attention_mask=torch.ones_like(ids), generation_config=steps, streamer=marks, **given)
    begun, _, first, *_, last = marks.moments
    seconds = {}
    for name, moment in first.items():
        end = f" {name}" if name else ""
        seconds["first" + end] = moment - begun[name]
        seconds["next" + end] = (last[name] - moment) / _STEPS
    return seconds


class _Marks(BaseStreamer):
    """Notes when the prompt was taken and when each token came, and how long the layers had been at work by then."""

    def __init__(self, timed: Timed) -> None:
        self._timed = timed
        self.moments = [self._moment()]

    def put(self, value: Tensor) -> None:
        """Take the prompt (first) or a token."""
        del value
        self.moments.append(self._moment())

    def end(self) -> None:
        """Nothing is left to do."""

    def _moment(self) -> dict[str, float]:
        """The time, under no name, and that of each layer."""
        return {"": self._timed.now()} | self._timed.seconds


def read_work(text: Any, num_tokens: int, num_parameters: int) -> float:
    """Floating point operations of a layer that reads a prompt: products with weights, and attention among tokens.

    Args:
        text: the language model's config.
        num_tokens: L.
        num_parameters: of the layer.
    """
    width = 0
    if isinstance(getattr(text, "num_attention_heads", None), int):
        head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        width = text.num_attention_heads * head_dim
    # Half of the pairs of tokens: each sees those before it.
    return 2.0 * num_parameters * num_tokens + 2.0 * width * num_tokens**2


def head_seconds(text: Any, vocabulary: int, layer_seconds: float, num_parameters: int) -> float:
    """Seconds of the words that a thin model lacks: the head reads its weights for each token, as a layer does.

    Args:
        text: the language model's config.
        vocabulary: words of the thin model.
        layer_seconds: that a layer takes for a token.
        num_parameters: of the layer.
    """
    return float(layer_seconds * max(text.vocab_size - vocabulary, 0) * text.hidden_size / max(num_parameters, 1))
