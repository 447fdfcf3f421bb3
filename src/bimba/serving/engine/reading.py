"""Prompts in, their keys and values and the logits behind them out: several are read together, a piece of each a time.

Shapes: R prompts, L tokens of a prompt, n of a piece, D width, N words of the vocabulary.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bimba.inference.video_qa import VideoQA
from bimba.serving.engine.prefixes import Prefixes
from bimba.serving.engine.prompt import Prepared, Preparing, Prompt, embed_from
from bimba.serving.engine.rows import Layers, Rows

MOST_TOGETHER = 8
"""Prompts that are read at a time."""

_MOST_STEPS_OF_TOKENS = 32
"""Times the tokens of one step that the prompts which are read at a time may have: those of long videos come alone."""

Forward = Callable[[Tensor, Tensor, Tensor, Any], Tensor]
"""Embeddings [R, n, D], mask, places [R, n] and cache in, logits [R, 1, N] of the last place out."""


class Reading:
    """A prompt that is being read.

    Args:
        prompt: it.
        prepared: what transformers makes of its settings.
        embeds: what is to be read [1, n, D].

    Attributes:
        num_known: tokens that need not be read.
        num_read: tokens that were read.
    """

    def __init__(self, prompt: Prompt, prepared: Prepared, embeds: Tensor) -> None:
        self.prompt, self.prepared, self.embeds = prompt, prepared, embeds
        self.num_known = len(prompt.request.input_ids) - embeds.shape[1]
        self.num_read = 0

    @property
    def num_left(self) -> int:
        """Tokens that are still to be read."""
        return self.embeds.shape[1] - self.num_read


class Readings:
    """Prompts that are being read.

    Args:
        qa: a model whose language model has plain keys and values.
        forward: of it.
        num_layers: of it.
        most_tokens: that are read at a time, of all prompts together.
        together: whether several may be read at a time.
        prefix_bytes: of what was read of prompts that are kept for the next ones about the same videos.
    """

    def __init__(
        self,
        qa: VideoQA[Any, Any],
        forward: Forward,
        *,
        num_layers: int,
        most_tokens: int,
        together: bool,
        prefix_bytes: int,
    ) -> None:
        self._qa, self._forward, self._most_tokens = qa, forward, most_tokens
        self._most = max(1, min(MOST_TOGETHER, most_tokens)) if together else 1
        self._preparing, self._prefixes = Preparing(qa), Prefixes(prefix_bytes)
        self._rows, self._num_layers = Rows(num_layers), num_layers
        self.running: list[Reading] = []

    def has_room(self, prompt: Prompt) -> bool:
        """Whether a prompt may begin now."""
        num_tokens = sum(len(one.prompt.request.input_ids) for one in self.running)
        fits = num_tokens + len(prompt.request.input_ids) <= _MOST_STEPS_OF_TOKENS * self._most_tokens
        return not self.running or (len(self.running) < self._most and fits)

    def is_being_read(self, prompt: Prompt) -> bool:
        """Whether a prompt's video is read for another one, and will be known then."""
        reading = [one for one in self.running if one.prompt.video == prompt.video and not one.num_known]
        return prompt.video is not None and bool(reading)

    def begin(self, prompt: Prompt) -> None:
        """Read a prompt, too.

        Raises:
            Exception: whatever makes it of no use; nothing has begun then.
        """
        known = self._prefixes.known(prompt.video, prompt.request.input_ids)
        embeds = embed_from(self._qa, prompt, known[0][0].shape[2] if known else 0)
        reading = Reading(prompt, self._preparing.prepare(prompt), embeds)
        self._rows.join(known)
        self.running.append(reading)

    def read(self, on_end: Callable[[Reading, Layers, Tensor], None]) -> None:
        """Read a piece of each.

        Args:
            on_end: given each that has been read to its end, with its keys and values, which are there until it
                returns, and logits [N].
        """
        share = max(1, self._most_tokens // len(self.running))
        counts = [min(one.num_left, share) for one in self.running]
        cache, mask, places = self._rows.step(self._qa.model.input_device, counts)
        logits = self._forward(self._pieces(counts), mask, places, cache)
        self._rows.stepped(counts)
        for one, count in zip(self.running, counts, strict=True):
            one.num_read += count
        for row in reversed(range(len(self.running))):
            one = self.running[row]
            if not one.num_left:
                layers = self._rows.row(row)
                self._prefixes.keep(one.prompt.video, one.prompt.request.input_ids, layers)
                on_end(one, layers, logits[row, -1])
                self.leave(row)

    def leave(self, row: int) -> None:
        """Give a prompt up, or be done with it."""
        self._rows.leave(row)
        last = self.running.pop()
        if row < len(self.running):
            self.running[row] = last

    def clear(self) -> list[Prompt]:
        """Give all up, whatever became of their rows; the prompts."""
        prompts = [one.prompt for one in self.running]
        self.running.clear()
        self._rows = Rows(self._num_layers)
        return prompts

    def _pieces(self, counts: list[int]) -> Tensor:
        """The next tokens of each prompt [R, n, D], those of shorter pieces at the end of n."""
        pieces = [one.embeds[:, one.num_read : one.num_read + n] for one, n in zip(self.running, counts, strict=True)]
        if len(pieces) == 1:
            return pieces[0]
        longest = max(counts)
        # What fills up is seen by nobody; the first token of the piece is as good as any.
        return torch.cat([torch.cat([one[:, :1].expand(-1, longest - one.shape[1], -1), one], dim=1) for one in pieces])
