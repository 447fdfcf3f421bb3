"""A visitor's open page in, what is talked about on it out; forgotten when the page is closed."""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bimba.inference.clip import ClipFile
from bimba.serving.engine.ticket import Media, Ticket
from bimba.text.prompts import Message

logger = logging.getLogger(__name__)

MOST_TALKS = 1000


@dataclass
class Talk:
    """What is talked about on one open page.

    Attributes:
        owner: the visitor.
        file_id: of the video; "" before one is opened.
        media: the video; None while it is looked into.
        file: what it holds.
        questions: about it in particular.
        turns: the conversation as the model reads it.
        shown: its turns as the page shows them, in plain values.
        ticket: of the answer that is under way.
        number: of videos that were opened and closed; what takes its time sees by it whether it comes too late.
    """

    owner: str
    file_id: str = ""
    media: Media | None = None
    file: ClipFile | None = None
    questions: tuple[str, ...] = ()
    turns: list[Message] = field(default_factory=list)
    shown: list[dict[str, Any]] = field(default_factory=list)
    ticket: Ticket | None = None
    number: int = 0

    def stop(self) -> None:
        """Give up the answer that is under way."""
        if self.ticket is not None:
            self.ticket.give_up()


class Talks:
    """All that are open; what was used longest ago goes when there are too many.

    Args:
        on_end: told of each that is forgotten.
    """

    def __init__(self, on_end: Callable[[Talk], None]) -> None:
        self._on_end, self._lock = on_end, threading.Lock()
        self._talks: OrderedDict[tuple[str, str], Talk] = OrderedDict()

    def of(self, owner: str, session: str) -> Talk:
        """The talk on an open page of a visitor; a new one if there is none."""
        with self._lock:
            talk = self._talks.setdefault((owner, session), Talk(owner))
            self._talks.move_to_end((owner, session))
            old = [] if len(self._talks) <= MOST_TALKS else [self._talks.popitem(last=False)[1]]
        for one in old:
            self._end(one)
        return talk

    def is_busy(self, owner: str, session: str) -> bool:
        """Whether an answer is under way on an open page of a visitor."""
        with self._lock:
            talk = self._talks.get((owner, session))
        return talk is not None and talk.ticket is not None

    def forget(self, owner: str, session: str) -> None:
        """A page was closed."""
        with self._lock:
            talk = self._talks.pop((owner, session), None)
        if talk is not None:
            self._end(talk)

    def _end(self, talk: Talk) -> None:
        talk.stop()
        self._on_end(talk)
