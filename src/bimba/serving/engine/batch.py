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

from bimba.errors import BimbaError, GenerationError
from bimba.inference.prefix import empty_cache
from bimba.inference.video_qa import VideoQA
from bimba.serving.engine.choosing import NONE, choose
from bimba.serving.engine.prompt import Prompt
from bimba.serving.engine.reading import Reading, Readings
from bimba.serving.engine.rows import Layers, Rows
from bimba.serving.engine.sharing import as_attention_takes_it
from bimba.serving.engine.text import AnswerText
from bimba.serving.engine.ticket import Done, Piece, Scored
from bimba.serving.refusals import RefusedError, refused, unfinished

logger = logging.getLogger(__name__)

_FEW, _MOST_HELD = 4, 4
"""So many prompts are read together sooner than one by one as places get free; held up for so many steps at most."""


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
        self.alike = prepared.alike
        self.chance = torch.Generator(reading.embeds.device)
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
        if not self._criteria:
            return False
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
        prefill_tokens: of prompts that are read between two steps.
        prefix_bytes: of what was read of prompts that are kept for the next ones about the same videos.
        reads_together: whether several prompts may be read at a time.
        on_tokens: told how many tokens have been generated.
    """

    def __init__(
        self,
        qa: VideoQA[Any, Any],
        *,
        most_running: int,
        prefill_tokens: int,
        prefix_bytes: int = 0,
        reads_together: bool = True,
        on_tokens: Callable[[int], None] = lambda _: None,
    ) -> None:
        text_model = qa.model.text_model
        cache = empty_cache(text_model)
        self._qa, self._most, self._told_tokens = qa, most_running, on_tokens
        self._num_layers = 0 if cache is None else len(cache.layers)
        self._rows = Rows(self._num_layers)
        self._readings = Readings(
            qa,
            self._forward,
            num_layers=self._num_layers,
            most_tokens=prefill_tokens,
            together=reads_together,
            prefix_bytes=prefix_bytes,
        )
        self._waiting: deque[Prompt] = deque()
        self._num_held = self._num_single = 0
        self.running: list[Running] = []
        self._takes_places = "position_ids" in inspect.signature(text_model.forward).parameters

    @property
    def num_prompts(self) -> int:
        """That are not read yet."""
        return len(self._waiting) + len(self._readings.running)

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to do."""
        return not self.running and not self.num_prompts

    def add(self, prompt: Prompt) -> None:
        """Let a prompt wait to be read."""
        self._waiting.append(prompt)

    @torch.no_grad()
    def step(self) -> None:
        """Read pieces of prompts, if some wait and there is room, and generate a token of every running answer."""
        self._drop_given_up()
        self._admit()
        if self._readings.running:
            self._read()
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
        for prompt in [*self._readings.clear(), *self._waiting]:
            prompt.ticket.end(refusal)
        self._waiting.clear()
        self._rows = Rows(self._num_layers)

    def _drop_given_up(self) -> None:
        for row in reversed(range(len(self.running))):
            why = self.running[row].ticket.why_over
            if why is not None:
                self._end(row, unfinished(why))
        for row in reversed(range(len(self._readings.running))):
            ticket = self._readings.running[row].prompt.ticket
            if ticket.why_over is not None:
                self._readings.leave(row)
                ticket.end(unfinished(ticket.why_over))
        for prompt in [prompt for prompt in self._waiting if prompt.ticket.why_over is not None]:
            self._waiting.remove(prompt)
            prompt.ticket.end(unfinished(prompt.ticket.why_over or "gone"))

    def _admit(self) -> None:
        """Begin to read prompts that wait, as many as there is room for."""
        free = self._most - len(self.running) - len(self._readings.running)
        is_worth_it = free >= min(len(self._waiting), _FEW) or self._num_held >= _MOST_HELD
        if not self._waiting or not free or not is_worth_it:
            self._num_held += bool(self._waiting and free)
            return
        self._num_held = 0
        for prompt in list(self._waiting):
            is_single = self._num_single > 0
            if self._readings.is_being_read(prompt):
                continue
            # Nobody overtakes a long prompt that waits for room, or it might wait for ever.
            if not free or (is_single and self._readings.running) or not self._readings.has_room(prompt):
                return
            self._waiting.remove(prompt)
            self._num_single -= is_single
            try:
                self._readings.begin(prompt)
                free -= 1
            except Exception as error:  # noqa: BLE001 - it is this prompt's alone
                prompt.ticket.end(why_failed(error))

    def _read(self) -> None:
        """Read a piece of each prompt; answers to those that are at their end begin."""
        first: list[Tensor] = []

        def begin(reading: Reading, layers: Layers, logits: Tensor) -> None:
            try:
                running = Running(reading, self._qa.processor.tokenizer)
            except Exception as error:  # noqa: BLE001 - it is this prompt's alone
                reading.prompt.ticket.end(why_failed(error))
                return
            self._rows.join(layers)
            self.running.append(running)
            first.append(logits)

        try:
            self._readings.read(begin)
        except Exception as error:  # noqa: BLE001 - one prompt's error must not end the answers of others
            prompts = self._readings.clear()
            if len(prompts) == 1:
                prompts[0].ticket.end(why_failed(error))
            else:  # whose error it is shows when each is read by itself
                self._waiting.extendleft(reversed(prompts))
                self._num_single = len(prompts)
        if first:
            self._take(torch.stack(first))

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
        if mask.ndim > 2:
            mask = as_attention_takes_it(mask, self._qa.model)
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
