"""Questions in at any time, events of their answers out.

One thread looks up, one encodes, one generates, and one finds what answers rest on.
"""

import logging
import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from bimba.errors import BimbaError
from bimba.inference.clip import Clip
from bimba.inference.video_qa import VideoQA
from bimba.serving.engine.alone import answer_alone
from bimba.serving.engine.batch import Batch, why_failed
from bimba.serving.engine.cache import EncodedCache
from bimba.serving.engine.encoding import Encoder, keeps_encodings
from bimba.serving.engine.finding import Whole, find_in_turns
from bimba.serving.engine.prompt import Prompt, write_prompt
from bimba.serving.engine.sharing import reads_together, why_alone
from bimba.serving.engine.ticket import Found, Ready, Ticket
from bimba.serving.engine.turns import Turns
from bimba.serving.metrics import Metrics
from bimba.serving.refusals import RefusedError, refused, unfinished
from bimba.serving.settings import ServeSettings

logger = logging.getLogger(__name__)

_LAST = 20
"""Answers by whose time it is guessed when a place will be free."""

_LONGEST_WAIT_SECONDS = 60


class Engine:
    """Answers questions with one model.

    Args:
        qa: the model.
        settings: how many at once, and how long.
        metrics: told of everything.

    Attributes:
        why_alone: why answers are generated one at a time; None if they share steps.
    """

    def __init__(self, qa: VideoQA[Any, Any], settings: ServeSettings, metrics: Metrics) -> None:
        self.qa, self._settings, self._metrics = qa, settings, metrics
        self.why_alone = why_alone(qa)
        if self.why_alone is not None:
            logger.warning("answers are generated one at a time: %s", self.why_alone)
        cache = None
        if keeps_encodings(qa):
            cache = EncodedCache(settings.store / "encoded", settings.cache_bytes, qa.encoder_identity)
            metrics.gauge("bimba_encoded_bytes", "Encoded videos on disk.", lambda: cache.num_bytes)
        self._turns = Turns()
        self._encoder = Encoder(qa, cache, self._turns, settings.limits)
        self._batch = Batch(
            qa,
            most_running=settings.running,
            prefill_tokens=settings.prefill_tokens,
            prefix_bytes=settings.prefix_bytes,
            reads_together=self.why_alone is None and reads_together(qa),
            on_tokens=metrics.generated_tokens.inc,
        )
        self._lookups: queue.SimpleQueue[Ticket | None] = queue.SimpleQueue()
        self._encodings: queue.SimpleQueue[Ticket | None] = queue.SimpleQueue()
        self._findings: queue.SimpleQueue[Whole | None] = queue.SimpleQueue()
        self._prompts: deque[Prompt] = deque()
        self._changed = threading.Condition()
        self._open: dict[str, Ticket] = {}
        self._num_opening = 0
        self._is_leaving = self._is_ended = False
        self._recent_seconds: deque[float] = deque(maxlen=_LAST)
        self._threads = [
            threading.Thread(target=work, name=f"bimba-{name}", daemon=True)
            for name, work in (
                ("lookup", self._look_up),
                ("encode", self._encode),
                ("answer", self._answer),
                ("evidence", self._find),
            )
        ]
        metrics.gauge("bimba_open_requests", "Questions that are waiting or being answered.", lambda: self.num_open)
        metrics.gauge("bimba_running_answers", "Answers that share steps.", lambda: len(self._batch.running))

    @property
    def is_leaving(self) -> bool:
        """Whether nothing new is taken."""
        return self._is_leaving

    @property
    def num_open(self) -> int:
        """Questions that are waiting or being answered."""
        return len(self._open)

    def start(self) -> None:
        """Begin to answer."""
        for thread in self._threads:
            thread.start()

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place for a question whose video is still to be found; in it the question is submitted.

        Raises:
            RefusedError: there is none, or the server is going down.
        """
        with self._changed:
            self._check_room()
            self._num_opening += 1
        try:
            yield
        finally:
            with self._changed:
                self._num_opening -= 1

    def _check_room(self) -> None:
        if self._is_leaving:
            raise unfinished("leaving")
        num_taken = len(self._open) + self._num_opening
        if num_taken >= self._settings.running + self._settings.waiting:
            self._metrics.answers.labels("queue_full").inc()
            raise RefusedError(
                429,
                f"{num_taken} questions are waiting or being answered, which is as many as this server takes.",
                code="queue_full",
                retry_seconds=self._retry_seconds(),
            )

    def submit(self, ticket: Ticket) -> None:
        """Take a question that has a place.

        Raises:
            RefusedError: the server is going down.
        """
        if self._is_leaving:
            raise unfinished("leaving")
        self._open[ticket.name] = ticket
        ticket.on_end(self._ended)
        self._lookups.put(ticket)

    def leave(self) -> None:
        """Take nothing new and refuse what only waits; what has begun goes on."""
        self._is_leaving = True

    def end(self) -> None:
        """End everything, and the threads."""
        self._is_leaving = True
        for ticket in list(self._open.values()):
            if ticket.is_waiting:
                ticket.end(unfinished("leaving"))
            ticket.give_up()
        with self._changed:
            self._is_ended = True
            self._changed.notify_all()
        self._lookups.put(None)
        self._encodings.put(None)
        self._findings.put(None)
        for thread in self._threads:
            if thread.is_alive():
                thread.join()
        for ticket in list(self._open.values()):
            ticket.end(unfinished("leaving"))

    def _retry_seconds(self) -> int:
        """When a place will be free if answers take as long as the last ones did; whole seconds, as HTTP has it."""
        recent = list(self._recent_seconds)
        each = sum(recent) / len(recent) / self._settings.running if recent else 1.0
        return min(max(math.ceil(each), 1), _LONGEST_WAIT_SECONDS)

    def _ended(self, ticket: Ticket) -> None:
        self._open.pop(ticket.name, None)
        seconds = time.monotonic() - ticket.begun
        if ticket.outcome == "done":
            self._recent_seconds.append(seconds)
        self._metrics.answers.labels(str(ticket.outcome)).inc()
        self._metrics.answer_seconds.observe(seconds)
        logger.info("%s %s after %.2f s", ticket.name, ticket.outcome, seconds)

    def _look_up(self) -> None:
        """Questions without a video, and about one that was encoded before, do not wait for those that were not."""
        while (ticket := self._lookups.get()) is not None:
            self._attempt(ticket, self._looked_up)

    def _encode(self) -> None:
        while (ticket := self._encodings.get()) is not None:
            self._attempt(ticket, self._encoded)

    def _attempt(self, ticket: Ticket, work: Callable[[Ticket], None]) -> None:
        """Do something for a ticket; what goes wrong ends the ticket, never the thread."""
        media = ticket.asked.media
        try:
            self._check_worth(ticket)
            work(ticket)
        except RefusedError as refusal:
            ticket.end(refusal)
        except BimbaError as error:
            ticket.end(refused(error, "messages", None if media is None else {media.path: media.name}))
        except Exception as error:  # noqa: BLE001 - all others would wait for ever
            ticket.end(why_failed(error))

    def _check_worth(self, ticket: Ticket) -> None:
        if self._is_leaving:
            raise unfinished("leaving")
        ticket.check()

    def _looked_up(self, ticket: Ticket) -> None:
        media = ticket.asked.media
        clip = self._encoder.known(ticket.asked)
        if media is not None and clip is None:
            self._encodings.put(ticket)
            return
        if clip is not None:
            self._metrics.encodings.labels("disk").inc()
        self._ready(ticket, clip, was_encoded=clip is not None)

    def _encoded(self, ticket: Ticket) -> None:
        media = ticket.asked.media
        if media is None:
            raise ValueError("there is nothing to encode.")
        clip = self._encoder.known(ticket.asked)  # the one before it may have been about the same video
        was_encoded = clip is not None
        if clip is None:
            begun = time.monotonic()
            clip = self._encoder.encode(ticket, media)
            self._metrics.encode_seconds.observe(time.monotonic() - begun)
        self._metrics.encodings.labels("disk" if was_encoded else "video").inc()
        self._ready(ticket, clip, was_encoded=was_encoded)

    def _ready(self, ticket: Ticket, clip: Clip | None, *, was_encoded: bool) -> None:
        prompt = write_prompt(self.qa, ticket, clip, self._settings.max_new_tokens, self._encoder.key(ticket.asked))
        request = prompt.request
        num_video_tokens = 0 if prompt.features is None else len(prompt.features)
        # Vamba's stand beside the prompt, and are read like it.
        num_tokens = len(request.input_ids) + (0 if isinstance(prompt.features, Tensor) else num_video_tokens)
        self._metrics.prompt_tokens.inc(num_tokens)
        self._metrics.video_tokens.inc(num_video_tokens)
        logger.info("%s has %d tokens, %d of a video", ticket.name, num_tokens, num_video_tokens)
        method = ticket.asked.evidence
        if method is not None:
            ticket.on_whole(lambda done: self._findings.put(Whole(prompt, method, done)))
        seconds = () if clip is None else clip.frame_seconds
        ticket.progress = ("answering", 0, 1)
        ticket.tell(Ready(num_tokens, num_video_tokens, seconds, was_encoded))
        with self._changed:
            self._prompts.append(prompt)
            self._changed.notify_all()

    def _answer(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._prompts or not self._batch.is_idle or self._is_ended)
                if self._is_ended:
                    break
                arrived = list(self._prompts) if self.why_alone is None else [self._prompts.popleft()]
                if self.why_alone is None:
                    self._prompts.clear()
            if self.why_alone is not None:
                self._attempt_alone(arrived[0])
                continue
            for prompt in arrived:
                self._batch.add(prompt)
            with self._turns.held():
                self._step()
        self._batch.end_all(unfinished("leaving"))

    def _step(self) -> None:
        try:
            self._batch.step()
        except Exception as error:  # noqa: BLE001 - without this thread nobody would ever be answered again
            self._batch.end_all(why_failed(error))

    def _attempt_alone(self, prompt: Prompt) -> None:
        try:
            prompt.ticket.check()
            with self._turns.held():
                answer_alone(self.qa, prompt)
        except RefusedError as refusal:
            prompt.ticket.end(refusal)
        except Exception as error:  # noqa: BLE001 - all others would wait for ever
            prompt.ticket.end(why_failed(error))

    def _find(self) -> None:
        """What an answer rests on is told before its end; where nobody waits for it any more, that is its end."""
        while (whole := self._findings.get()) is not None:
            ticket = whole.prompt.ticket
            begun = time.monotonic()
            try:
                event = find_in_turns(self.qa, whole, self._turns)
            except RefusedError as refusal:
                ticket.end(refusal)
                continue
            self._metrics.evidence.labels("found" if isinstance(event, Found) else "unfound").inc()
            self._metrics.evidence_seconds.observe(time.monotonic() - begun)
            ticket.tell(event)
            ticket.end(whole.done)
