"""A question on the page in, its answer as it grows out: the turn of a talk in plain values, changed in place."""

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from bimba.errors import BimbaError
from bimba.inference.evidence import Evidence
from bimba.inference.request import checked_turns
from bimba.serving.engine.engine import Engine
from bimba.serving.engine.ticket import Asked, Done, Drawing, Event, Found, Look, Piece, Ready, Ticket, Unfound
from bimba.serving.metrics import Metrics
from bimba.serving.outbox import outbox_of
from bimba.serving.page.knowing import Known
from bimba.serving.page.talks import Talk
from bimba.serving.refusals import RefusedError, refused, unfinished
from bimba.text.prompts import Message

NUM_MOMENTS = 5
WORTH_TELLING = 0.01
"""Share of the evidence below which a moment is not told."""

_SIGN_OF_LIFE_SECONDS = 0.5
_BETWEEN_SECONDS = 0.08
"""From one change that is shown to the next; tokens come faster than anybody reads."""

_GRACE_SECONDS = 5.0
"""In which the engine itself says that the time is over."""

_STAGES = {
    "waiting": "Waiting for its turn",
    "reading": "Opening the video",
    "frames": "Reading frames",
    "vision": "Looking at frames",
    "compress": "Compressing what was seen",
    "answering": "Answering",
    "evidence": "Finding the moments it rests on",
}
_COUNTED = ("frames", "vision", "evidence")
_ADVICE = {
    "timeout": "Try fewer frames, or try again when less is asked of the server.",
    "shutting_down": "Load this page again when it is back.",
    "out_of_memory": "Try fewer frames.",
}


class Wishes(BaseModel):
    """What a visitor sets.

    Attributes:
        frames: to look at, at most; None for as many as fit.
        sampling: how they are chosen.
        video_tokens: of the video, at most, for which fewer frames are taken; None for what the model can read.
        new_tokens: of the answer, at most; None for as many as the server gives.
        temperature: 0 for the likeliest token each time.
        seed: of what is drawn by chance; None for any.
        evidence: whether to find the moments that the answer rests on.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    frames: Annotated[int, Field(ge=1)] | None
    sampling: Literal["uniform", "middle", "fps"]
    video_tokens: Annotated[int, Field(ge=1)] | None
    new_tokens: Annotated[int, Field(ge=1)] | None
    temperature: Annotated[float, Field(ge=0, le=2)]
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None
    evidence: bool

    @property
    def look(self) -> Look:
        """How the video is looked at."""
        frames: int | Literal["auto"] = "auto" if self.frames is None else self.frames
        return Look(frames, self.sampling, max_video_tokens=self.video_tokens)

    @property
    def drawing(self) -> Drawing:
        """How the answer is generated."""
        return Drawing(self.new_tokens, {"temperature": self.temperature}, self.seed)


class Asking:
    """Asks questions of visitors.

    Args:
        engine: that answers.
        metrics: told how long the first text took.
        seconds: that an answer may take.
        known: what is known of the model.
    """

    def __init__(self, engine: Engine, metrics: Metrics, seconds: float, known: Known) -> None:
        self._engine, self._metrics, self._seconds, self._known = engine, metrics, seconds, known

    async def ask(self, talk: Talk, question: str, wishes: Wishes) -> AsyncGenerator[None]:
        """Ask, and yield whenever the last turn of `talk.shown` has changed.

        Args:
            talk: about a video that is open.
            question: the next one.
            wishes: how to answer it.
        """
        turn: dict[str, Any] = {"question": question, "text": "", "state": "busy", "stage": _STAGES["waiting"]}
        turns = talk.turns  # which another video replaces
        talk.shown.append(turn)
        events: asyncio.Queue[Event] = asyncio.Queue()
        try:
            ticket = self._submitted(talk, question, wishes, events)
        except RefusedError as refusal:
            _refuse(turn, refusal)
            yield
            return
        talk.ticket = ticket
        try:
            async for event in self._events(ticket, events):
                if event is None:
                    turn["stage"] = _stage(ticket)
                else:
                    self._take(turn, event, ticket)
                yield
        finally:
            ticket.give_up()
            if talk.ticket is ticket:
                talk.ticket = None
        if turn["text"]:
            turns += [Message("user", question), Message("assistant", turn["text"])]

    def _submitted(self, talk: Talk, question: str, wishes: Wishes, events: asyncio.Queue[Event]) -> Ticket:
        if talk.media is None or talk.file is None:
            raise RefusedError(400, "there is no video yet. Open one first.", code="no_video")
        outbox = outbox_of(asyncio.get_running_loop())

        def tell(event: Event) -> None:
            outbox.post(partial(events.put_nowait, event))

        try:
            turns = checked_turns([*talk.turns, Message("user", question)], has_video=True)
        except BimbaError as error:
            raise refused(error, "messages") from error
        asked = Asked(
            turns,
            talk.media,
            wishes.look,
            wishes.drawing,
            is_streamed=True,
            evidence="gradient" if wishes.evidence and not talk.file.info.is_image else None,
        )
        ticket = Ticket(f"page-{secrets.token_hex(12)}", asked, tell, self._seconds)
        with self._engine.place():
            self._engine.submit(ticket)
        return ticket

    async def _events(self, ticket: Ticket, events: asyncio.Queue[Event]) -> AsyncIterator[Event | None]:
        """What comes, the end last; None where nothing came for a while."""
        last = 0.0
        while True:
            try:
                event = await asyncio.wait_for(events.get(), _SIGN_OF_LIFE_SECONDS)
            except TimeoutError:
                if time.monotonic() > ticket.begun + self._seconds + _GRACE_SECONDS:
                    yield unfinished("time")
                    return
                yield None
                continue
            if isinstance(event, Piece):
                await asyncio.sleep(max(0.0, last + _BETWEEN_SECONDS - time.monotonic()))
                event, after = _together(event, events)
                last = time.monotonic()
            else:
                after = None
            yield event
            if after is not None:
                yield after
            if isinstance(after or event, Done | RefusedError):
                return

    def _take(self, turn: dict[str, Any], event: Event, ticket: Ticket) -> None:
        """Change a turn by what came."""
        if isinstance(event, Ready):
            turn["tokens"], turn["was_encoded"] = event.num_video_tokens, event.was_encoded
        elif isinstance(event, Piece):
            if not turn["text"]:
                self._metrics.first_piece_seconds.observe(time.monotonic() - ticket.begun)
            turn["text"] += event.text
        elif isinstance(event, Found):
            turn["evidence"] = _shown(event.evidence)
        elif isinstance(event, Unfound):
            turn["note"] = event.message
        elif isinstance(event, Done):
            turn["state"] = "done"
            turn["is_cut"] = event.reason == "length"
            turn["seconds"] = round(time.monotonic() - ticket.begun, 1)
            turn["remark"] = self._known.remark_on(turn["text"])
        else:
            _refuse(turn, event)
        turn["stage"] = _stage(ticket)


def _together(piece: Piece, events: asyncio.Queue[Event]) -> tuple[Piece, Event | None]:
    """All pieces that have come, as one, and what came behind them."""
    text = piece.text
    while not events.empty():
        event = events.get_nowait()
        if not isinstance(event, Piece):
            return Piece(text), event
        text += event.text
    return Piece(text), None


def _stage(ticket: Ticket) -> str:
    """What is being done, in words."""
    stage, done, total = ticket.progress
    counted = f", {done} of {total}" if stage in _COUNTED and total > 1 else ""
    return _STAGES.get(stage, stage) + counted


def _refuse(turn: dict[str, Any], refusal: RefusedError) -> None:
    """Say in a turn why its answer does not come, or ends."""
    if refusal.code == "cancelled":
        turn["state"] = "stopped"
        return
    advice = _ADVICE.get(refusal.code, "")
    if not advice and refusal.retry_seconds is not None:
        advice = f"Try again in {refusal.retry_seconds} seconds."
    message = refusal.message[:1].upper() + refusal.message[1:]
    turn |= {"state": "failed", "error": f"{message} {advice}".strip()}


def _shown(evidence: Evidence) -> dict[str, Any]:
    """Evidence in the plain values that the page draws."""
    moments = [
        {"start": moment.start_seconds, "end": moment.end_seconds, "share": round(moment.share, 4)}
        for moment in evidence.moments
        if moment.start_seconds is not None
    ]
    ranked = sorted(range(len(moments)), key=lambda number: -float(moments[number]["share"] or 0))
    top = [number for number in ranked[:NUM_MOMENTS] if float(moments[number]["share"] or 0) >= WORTH_TELLING]
    return {"moments": moments, "top": top}
