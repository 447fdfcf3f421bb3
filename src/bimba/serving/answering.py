"""Events of an answer in, the response out, whole or as server-sent events; who goes away gets no more of it."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from transformers import PreTrainedTokenizerBase

from bimba.serving.engine.engine import Engine
from bimba.serving.engine.finding import LATE
from bimba.serving.engine.ticket import Asked, Done, Event, Found, Piece, Ready, Scored, Ticket, Unfound
from bimba.serving.metrics import Metrics
from bimba.serving.outbox import outbox_of
from bimba.serving.protocol.requests import ChatRequest
from bimba.serving.protocol.responses import (
    AnswerMessage,
    ChatCompletion,
    Choice,
    chunk,
    details_of,
    logprobs_of,
    usage_of,
)
from bimba.serving.refusals import RefusedError, unfinished

_PATIENCE_SECONDS = 10.0
"""How long a stream waits for its first event, so that what is wrong has a status of its own; then it begins."""

_SIGN_OF_LIFE_SECONDS = 5.0
"""How often a stream that has nothing to say says how far it is, in a comment that clients skip."""

_GRACE_SECONDS = 5.0
"""In which the engine itself says that the time is over."""


class Answering:
    """One answer on its way to a client.

    Args:
        engine: that answers.
        metrics: told how long the first text took.
        request: of the client.
        body: what it asks.
        name: of the answer.
        seconds: that it may take.
    """

    def __init__(
        self, engine: Engine, metrics: Metrics, request: Request, body: ChatRequest, name: str, seconds: float
    ) -> None:
        self._engine, self._metrics, self._request, self._body = engine, metrics, request, body
        self._name, self._seconds, self._created = name, seconds, int(time.time())
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._ticket: Ticket | None = None
        self._found: Found | Unfound | None = None
        self._watching: asyncio.Task[None] | None = None

    @property
    def _tokenizer(self) -> PreTrainedTokenizerBase:
        tokenizer: PreTrainedTokenizerBase = self._engine.qa.processor.tokenizer
        return tokenizer

    def submit(self, asked: Asked) -> None:
        """Ask.

        Raises:
            RefusedError: there is no room.
        """
        outbox = outbox_of(asyncio.get_running_loop())

        def tell(event: Event) -> None:
            outbox.post(partial(self._events.put_nowait, event))

        self._ticket = Ticket(self._name, asked, tell, self._seconds)
        self._engine.submit(self._ticket)
        self._watching = asyncio.create_task(self._watch())

    async def respond(self) -> Response:
        """The response, once it is known of which kind it is.

        Raises:
            RefusedError: the answer does not come.
        """
        if self._body.stream:
            return await self._stream()
        try:
            return await self._whole()
        finally:
            self._leave()

    async def _watch(self) -> None:
        """Wait for the client to go, and give the answer up then."""
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        self._leave()

    def _leave(self) -> None:
        """Nobody waits for more; what has ended has ended."""
        if self._ticket is not None:
            self._ticket.give_up()
        if self._watching is not None and self._watching is not asyncio.current_task():
            self._watching.cancel()

    async def _next(self, seconds: float) -> Event | None:
        """The next event; None if none comes in time."""
        left = self._seconds + _GRACE_SECONDS - (time.monotonic() - self._own.begun)
        try:
            return await asyncio.wait_for(self._events.get(), min(seconds, max(left, 0)))
        except TimeoutError:
            return self._end_of_time() if left <= seconds else None

    def _end_of_time(self) -> Done | RefusedError:
        """How an answer ends whose time is over and whose engine is too busy to say so; one that is whole is kept."""
        held = self._own.held
        if held is None:
            return unfinished("time")
        self._found = self._found or LATE
        self._own.end(held)
        return held

    @property
    def _own(self) -> Ticket:
        if self._ticket is None:
            raise ValueError("nothing was asked.")
        return self._ticket

    async def _whole(self) -> Response:
        ready, text, scored = None, "", list[Scored]()
        while True:
            event = await self._next(self._seconds + _GRACE_SECONDS)
            if isinstance(event, Ready):
                ready = event
            elif isinstance(event, Piece):
                self._first(is_first=not text)
                text += event.text
                scored += event.scored
            elif isinstance(event, Found | Unfound):
                self._found = event
            elif isinstance(event, Done):
                return self._completion(_known(ready), event, text, scored)
            elif event is not None:
                raise event

    def _completion(self, ready: Ready, done: Done, text: str, scored: list[Scored]) -> Response:
        logprobs = logprobs_of(self._tokenizer, scored) if self._body.logprobs else None
        completion = ChatCompletion(
            id=self._name,
            created=self._created,
            model=self._body.model,
            choices=[Choice(message=AnswerMessage(content=text), logprobs=logprobs, finish_reason=done.reason)],
            usage=usage_of(ready, done),
            bimba=None if self._body.bimba is None else details_of(ready, self._found),
        )
        content = completion.model_dump(exclude={"bimba"} if completion.bimba is None else None)
        return Response(_json(content), media_type="application/json")

    async def _stream(self) -> Response:
        first = await self._next(_PATIENCE_SECONDS)
        if isinstance(first, RefusedError):
            self._leave()
            raise first
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(self._pieces(first), media_type="text/event-stream", headers=headers)

    async def _pieces(self, first: Event | None) -> AsyncIterator[str]:
        """The stream, line by line."""
        ready, event, has_text = None, first, False
        yield self._chunk(delta={"role": "assistant", "content": ""})
        try:
            while True:
                if event is None:
                    yield ": {} {}/{}\n\n".format(*self._own.progress)
                elif isinstance(event, Ready):
                    ready = event
                elif isinstance(event, Piece):
                    self._first(is_first=not has_text)
                    has_text = True
                    yield self._piece(event)
                elif isinstance(event, Found | Unfound):
                    self._found = event
                else:
                    for line in self._end(ready, event):
                        yield line
                    return
                event = await self._next(_SIGN_OF_LIFE_SECONDS)
        finally:
            self._leave()

    def _piece(self, piece: Piece) -> str:
        logprobs = logprobs_of(self._tokenizer, piece.scored).model_dump() if self._body.logprobs else None
        return self._chunk(delta={"content": piece.text}, logprobs=logprobs)

    def _end(self, ready: Ready | None, event: Done | RefusedError) -> list[str]:
        """The last lines: how it ended, and what it took; or what is wrong."""
        if isinstance(event, RefusedError):
            return [f"data: {_json(event.to_dict())}\n\n", "data: [DONE]\n\n"]
        known = _known(ready)
        lines = [self._chunk(delta={}, finish_reason=event.reason)]
        wants_usage = self._body.stream_options is not None and self._body.stream_options.include_usage
        if wants_usage or self._body.bimba is not None:
            usage = usage_of(known, event).model_dump() if wants_usage else None
            bimba = None if self._body.bimba is None else details_of(known, self._found).model_dump()
            lines.append(self._chunk(usage=usage, bimba=bimba))
        return [*lines, "data: [DONE]\n\n"]

    def _chunk(self, **parts: Any) -> str:
        return f"data: {_json(chunk(self._name, self._created, self._body.model, **parts))}\n\n"

    def _first(self, *, is_first: bool) -> None:
        if is_first:
            self._metrics.first_piece_seconds.observe(time.monotonic() - self._own.begun)


def _known(ready: Ready | None) -> Ready:
    if ready is None:
        raise ValueError("an answer came before its prompt was read.")
    return ready


def _json(value: Any) -> str:
    """JSON in ASCII: halves of characters that a caller sent stay what they were, and break nothing."""
    return json.dumps(value, separators=(",", ":"))
