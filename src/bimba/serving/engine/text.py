"""Token ids of an answer as they come in, text that may be shown out: no half character, nothing of a stop text."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

_HALF = "\ufffd"
"""What a tokenizer makes of the first bytes of a character."""


class AnswerText:
    """Text of an answer that grows token by token.

    Args:
        tokenizer: the language model's.
        stops: texts at which the answer ends.
        is_streamed: whether somebody reads along; else nothing is decoded before it has to be.

    Attributes:
        is_stopped: whether one of them came.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stops: Sequence[str] = (), *, is_streamed: bool) -> None:
        self._tokenizer, self._stops = tokenizer, tuple(stops)
        self._is_needed = is_streamed or bool(self._stops)
        self._shown = ""
        self.is_stopped = False

    def grown(self, token_ids: Sequence[int]) -> str:
        """Text that can be shown since the last call.

        Args:
            token_ids: all so far.
        """
        if not self._is_needed:
            return ""
        text = self._until_stop(self._decoded(token_ids))
        if not self.is_stopped:
            text = text[: len(text) - self._unsure(text)]
        # Where later words change earlier ones, as some decoders have it, nothing is shown until the end.
        return self._show(text) if text.startswith(self._shown) else ""

    def rest(self, token_ids: Sequence[int]) -> str:
        """What was held back, when the last token has come."""
        text = self._until_stop(self._decoded(token_ids))
        return self._show(text)

    def _decoded(self, token_ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(token_ids), skip_special_tokens=True))

    def _until_stop(self, text: str) -> str:
        places = [place for stop in self._stops if (place := text.find(stop)) >= 0]
        self.is_stopped = bool(places)
        return text[: min(places)] if places else text

    def _unsure(self, text: str) -> int:
        """Letters at the end that the next token may change: half a character, or what may become a stop text."""
        held = len(text) - len(text.rstrip(_HALF))
        for stop in self._stops:
            beginnings = (size for size in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:size]))
            held = max(held, next(beginnings, 0))
        return held

    def _show(self, text: str) -> str:
        piece, self._shown = text[len(self._shown) :], text
        return piece
