"""Prompts in, tokens of their answers out: all running answers take a step together, and a prompt is read in pieces.

Each row is what `VideoQA.ask` would answer: the same processors of scores, the same choice, the same end.

Shapes: R running answers, L tokens of a prompt, D width, N words of the vocabulary.
"""

import inspect
import logging
from collections import deque
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from bimba.errors import BimbaError, GenerationError
from bimba.inference.prefix import empty_cache
from bimba.inference.video_qa import VideoQA
from bimba.serving.engine.choosing import NONE, alike, choose
from bimba.serving.engine.prefixes import Prefixes
from bimba.serving.engine.prompt import Prepared, Prompt, prepare
from bimba.serving.engine.rows import Rows
from bimba.serving.engine.text import AnswerText
from bimba.serving.engine.ticket import Done, Piece, Scored
from bimba.serving.refusals import RefusedError, refused, unfinished

logger = logging.getLogger(__name__)


class Reading:
    """A prompt that is being read.

    Args:
        prompt: it.
        prepared: what transformers makes of it.
        cache: that holds what is known of it.

    Attributes:
        num_known: tokens that need not be read.
        num_read: tokens that are in the cache.
    """

    def __init__(self, prompt: Prompt, prepared: Prepared, cache: DynamicCache) -> None:
        self.prompt, self.prepared, self.cache = prompt, prepared, cache
        self.num_read = self.num_known = cache.get_seq_length()


class Running:
    """An answer that is being generated.

    Args:
        reading: the prompt, read.
        tokenizer: the language model's.
    """

    def __init__(self, reading: Reading, tokenizer: Any) -> None:
        self.ticket, prepared = reading.prompt.ticket, reading.prepared
        drawing = self.ticket.asked.drawing
        self._text = AnswerText(tokenizer, drawing.stops, is_streamed=self.ticket.asked.is_streamed)
        self._num_alternatives = drawing.num_alternatives
        self._most = int(reading.prompt.settings.max_new_tokens or 1)
        self._num_known, self._end_ids, self._criteria = reading.num_known, prepared.end_ids, prepared.criteria
        self._scored: list[Scored] = []
        self.token_ids: list[int] = []
        self.processors, self.do_sample = prepared.processors, bool(prepared.settings.do_sample)
        self.alike = alike(prepared.settings, prepared.processors)
        self.chance = torch.Generator(prepared.embeds.device)
        self.chance.manual_seed(self.chance.seed() if drawing.seed is None else drawing.seed)

    def score(self, token_id: int, logits: Tensor) -> None:
        """Note the log-probabilities of a token that was chosen by logits [N], if they are wanted."""
        if self._num_alternatives is not None:
            self._scored.append(_score(logits, token_id, self._num_alternatives))

    def take(self, token_id: int) -> Done | None:
        """Note the token that was chosen, send what can be shown; the end, if this is it."""
        self.token_ids.append(token_id)
        piece = self._text.grown(self.token_ids)
        is_end = token_id in self._end_ids
        if is_end and self._scored:
            self._scored.pop()  # the mark of the end is no part of what is said
        is_over = is_end or self._text.is_stopped or self._is_stopped_otherwise()
        if is_over or len(self.token_ids) >= self._most:
            piece += self._text.rest(self.token_ids)
            self._send(piece)
            return Done("stop" if is_over else "length", tuple(self.token_ids), self._num_known)
        self._send(piece)
        return None

    def _is_stopped_otherwise(self) -> bool:
        """Whether a criterion of the checkpoint's own settings ends the answer."""
        ids, none = torch.tensor([self.token_ids]), torch.empty(0)
        calls: tuple[Any, ...] = self._criteria
        return any(bool(criterion(ids, none).any()) for criterion in calls)

    def _send(self, piece: str) -> None:
        if piece:
            self.ticket.tell(Piece(piece, tuple(self._scored)))
            self._scored.clear()


class Batch:
    """Answers that are generated together.

    Args:
        qa: a model whose language model has plain keys and values.
        most_running: answers at once.
        prefill_tokens: of a prompt that are read between two steps.
        prefix_bytes: of what was read of prompts that are kept for the next ones about the same videos.
        on_tokens: told how many tokens have been generated.
    """

    def __init__(
        self,
        qa: VideoQA[Any, Any],
        *,
        most_running: int,
        prefill_tokens: int,
        prefix_bytes: int = 0,
        on_tokens: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._qa, self._most, self._prefill_tokens = qa, most_running, prefill_tokens
        self._told_tokens = on_tokens
        self._rows, self._prefixes = Rows(), Prefixes(prefix_bytes)
        self._waiting: deque[Prompt] = deque()
        self._reading: Reading | None = None
        self.running: list[Running] = []
        self._takes_places = "position_ids" in inspect.signature(qa.model.text_model.forward).parameters

    @property
    def num_prompts(self) -> int:
        """That are not read yet."""
        return len(self._waiting) + (self._reading is not None)

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to do."""
        return not self.running and not self.num_prompts

    def add(self, prompt: Prompt) -> None:
        """Let a prompt wait to be read."""
        self._waiting.append(prompt)

    @torch.no_grad()
    def step(self) -> None:
        """Read a piece of a prompt, if one waits and there is room, and generate a token of every running answer."""
        self._drop_given_up()
        try:
            self._prefill()
        except Exception as error:  # noqa: BLE001 - one prompt's error must not end the answers of others
            self._fail_reading(error)
        if not self.running:
            return
        try:
            self._decode()
        except Exception as error:  # noqa: BLE001 - later answers may have the memory that these had not
            refusal = why_failed(error)
            for row in reversed(range(len(self.running))):
                self._end(row, refusal)

    def end_all(self, refusal: RefusedError) -> None:
        """End all that run, are read, or wait, and forget their rows, whatever became of them."""
        for answer in self.running:
            answer.ticket.end(refusal)
        self.running.clear()
        reading = [] if self._reading is None else [self._reading.prompt]
        for prompt in [*reading, *self._waiting]:
            prompt.ticket.end(refusal)
        self._reading = None
        self._waiting.clear()
        self._rows = Rows()

    def _drop_given_up(self) -> None:
        for row in reversed(range(len(self.running))):
            why = self.running[row].ticket.why_over
            if why is not None:
                self._end(row, unfinished(why))
        for prompt in [prompt for prompt in self._waiting if prompt.ticket.why_over is not None]:
            self._waiting.remove(prompt)
            prompt.ticket.end(unfinished(prompt.ticket.why_over or "gone"))

    def _prefill(self) -> None:
        """Read a piece of the prompt whose turn it is."""
        if self._reading is None and self._waiting and len(self.running) < self._most:
            self._begin(self._waiting.popleft())
        reading = self._reading
        if reading is None:
            return
        why = reading.prompt.ticket.why_over
        if why is not None:
            self._reading = None
            reading.prompt.ticket.end(unfinished(why))
            return
        logits = self._read_piece(reading)
        if logits is not None:
            running = Running(reading, self._qa.processor.tokenizer)
            self._prefixes.keep(reading.cache, reading.prompt.video, reading.prompt.request.input_ids)
            self._rows.join(reading.cache)
            self.running.append(running)
            self._reading = None
            self._take(logits[None])

    def _begin(self, prompt: Prompt) -> None:
        cache = empty_cache(self._qa.model.text_model)
        if cache is None:
            raise ValueError("this language model has no plain keys and values.")
        try:
            self._prefixes.fill(cache, prompt.video, prompt.request.input_ids)
            self._reading = Reading(prompt, prepare(self._qa, prompt), cache)
        except Exception as error:  # noqa: BLE001 - it is this prompt's alone
            prompt.ticket.end(why_failed(error))

    def _read_piece(self, reading: Reading) -> Tensor | None:
        """Logits [N] behind the last token, when it has been read."""
        embeds = reading.prepared.embeds
        start = reading.num_read
        end = min(start + self._prefill_tokens, embeds.shape[1])
        places = torch.arange(start, end, device=embeds.device)[None]
        mask = torch.ones((1, end), dtype=torch.long, device=embeds.device)
        logits = self._forward(embeds[:, start:end], mask, places, reading.cache)
        reading.num_read = end
        return logits[0, -1] if end == embeds.shape[1] else None

    def _decode(self) -> None:
        device = self._qa.model.input_device
        cache, mask, places = self._rows.step(device)
        ids = torch.tensor([[row.token_ids[-1]] for row in self.running], device=device)
        logits = self._forward(self._qa.model.get_input_embeddings()(ids), mask, places, cache)
        self._rows.stepped()
        self._take(logits[:, -1])

    def _take(self, logits: Tensor) -> None:
        """Give the newest rows their next tokens by their logits [R, N]; the device is waited for once."""
        first = len(self.running) - len(logits)
        answers, raw = self.running[first:], logits.float()
        picked = choose(answers, raw)
        none = torch.zeros(1, dtype=torch.long, device=raw.device)
        chosen = torch.cat([none if isinstance(one, Exception) else one for one in picked]).tolist()
        self._told_tokens(len(chosen))
        ends: list[Done | RefusedError | None] = []
        for answer, one, token, its in zip(answers, picked, chosen, raw, strict=True):
            if isinstance(one, Exception):
                ends.append(why_failed(one))
                continue
            ends.append(_taken(answer, token, its))
        for index in reversed(range(len(ends))):
            end = ends[index]
            if end is not None:
                self._end(first + index, end)

    def _forward(self, embeds: Tensor, mask: Tensor, places: Tensor, cache: Any) -> Tensor:
        """Logits of the last place [R, 1, N]."""
        known = {"position_ids": places} if self._takes_places else {}
        output = self._qa.model.text_model(
            inputs_embeds=embeds, attention_mask=mask, past_key_values=cache, use_cache=True, logits_to_keep=1, **known
        )
        logits: Tensor = output.logits
        return logits

    def _end(self, row: int, end: Done | RefusedError) -> None:
        self._rows.leave(row)
        gone, last = self.running[row], self.running.pop()
        if gone is not last:
            self.running[row] = last
        gone.ticket.end(end)

    def _fail_reading(self, error: Exception) -> None:
        """End the prompt that could not be read."""
        reading, self._reading = self._reading, None
        if reading is None:
            raise error
        reading.prompt.ticket.end(why_failed(error))


def _taken(answer: Running, token: int, logits: Tensor) -> Done | RefusedError | None:
    """The end of an answer that is given a token by logits [N], if this is it."""
    if token == NONE:
        return why_failed(ValueError("the scores of the next token are no numbers."))
    try:
        answer.score(token, logits)
        return answer.take(token)
    except Exception as error:  # noqa: BLE001 - what one answer cannot be told must not end the others
        return why_failed(error)


def why_failed(error: Exception) -> RefusedError:
    """What a caller is told of an error; the log has those whole that are not his."""
    if isinstance(error, BimbaError) and not isinstance(error, GenerationError):
        return refused(error, None)
    logger.error("an answer failed", exc_info=error)
    is_memory = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return unfinished("memory" if is_memory else "failed")


def _score(logits: Tensor, token: int, num_alternatives: int) -> Scored:
    """Log-probabilities of a token and of the likeliest, as the model itself gives them [N]."""
    logprobs = logits.log_softmax(-1)
    values, ids = logprobs.topk(min(num_alternatives, len(logprobs)))
    pairs = zip(ids.tolist(), values.tolist(), strict=True)
    return Scored(token, float(logprobs[token]), tuple(pairs))
