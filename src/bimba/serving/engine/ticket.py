"""What is asked in; what becomes of it, event by event, out."""

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bimba.errors import InputError
from bimba.inference.evidence import Evidence, Method
from bimba.serving.refusals import RefusedError, unfinished
from bimba.text.prompts import Message
from bimba.video.sampling import SamplingOrRate

logger = logging.getLogger(__name__)


def identity_of(status: os.stat_result) -> tuple[int, ...]:
    """What tells a file from another one, and from itself when it was written to."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


@dataclass(frozen=True)
class Media:
    """A video or image that may be read.

    Attributes:
        path: where it is; looked at in a process of its own only.
        name: what the caller calls it.
        sha256: of its contents.
        is_temporary: whether it goes when the answer is there.
        identity: what tells the file from another one that takes its place; None for files that nobody else reaches.
    """

    path: Path
    name: str
    sha256: str
    is_temporary: bool = False
    identity: tuple[int, ...] | None = None

    def remove(self) -> None:
        """Delete it, if it is temporary."""
        if self.is_temporary:
            try:
                self.path.unlink(missing_ok=True)
            except OSError:
                logger.exception("a video that came along could not be removed")

    def check_unchanged(self) -> None:
        """Do nothing while the file is the one whose contents were hashed.

        Raises:
            InputError: it is another one, or was written to.
        """
        if self.identity is None:
            return
        try:
            is_same = identity_of(self.path.lstat()) == self.identity
        except OSError:
            is_same = False
        if not is_same:
            raise InputError(f"{self.path} changed while it was read.", fix="ask again when it is whole.")


@dataclass(frozen=True)
class Look:
    """How a video is looked at; as `VideoQA.ask` takes it, and no more frames than have so many tokens."""

    num_frames: int | Literal["auto"] = 64
    sampling: SamplingOrRate = "uniform"
    start: str | float | None = None
    end: str | float | None = None
    time_sentence: bool = True
    max_video_tokens: int | None = None


@dataclass(frozen=True)
class Drawing:
    """How an answer is generated.

    Attributes:
        max_new_tokens: at most; None for as many as the server gives.
        options: of transformers' GenerationConfig.
        seed: of what is drawn by chance; None for any.
        stops: texts at which the answer ends; they are not part of it.
        num_alternatives: whose log-probabilities are told beside each token's; None for no log-probabilities at all.
    """

    max_new_tokens: int | None = None
    options: dict[str, Any] = field(default_factory=dict)
    seed: int | None = None
    stops: tuple[str, ...] = ()
    num_alternatives: int | None = None


@dataclass(frozen=True)
class Asked:
    """A question.

    Attributes:
        turns: the conversation.
        media: the video it is about; None without one.
        look: how that is looked at.
        drawing: how the answer is generated.
        is_streamed: whether somebody reads along.
        evidence: how to find which moments of the video the answer rests on; None if nobody wants to know.
    """

    turns: tuple[Message, ...]
    media: Media | None = None
    look: Look = Look()
    drawing: Drawing = Drawing()
    is_streamed: bool = False
    evidence: Method | None = None


@dataclass(frozen=True)
class Scored:
    """A token with the log-probabilities that the model gave it and the likeliest others."""

    token_id: int
    logprob: float
    alternatives: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Ready:
    """The video is encoded, and the prompt is written.

    Attributes:
        num_prompt_tokens: all of them.
        num_video_tokens: of the video, in the prompt or beside it.
        frame_seconds: times of the frames that were looked at.
        was_encoded: whether the video was encoded before.
    """

    num_prompt_tokens: int
    num_video_tokens: int
    frame_seconds: tuple[float, ...]
    was_encoded: bool


@dataclass(frozen=True)
class Piece:
    """Text of the answer, and the tokens generated since the last piece, if they are scored."""

    text: str
    scored: tuple[Scored, ...] = ()


@dataclass(frozen=True)
class Found:
    """Which moments of the video the answer rests on; it comes between the last piece and the end."""

    evidence: Evidence


@dataclass(frozen=True)
class Unfound:
    """Why nothing is known of what the answer rests on; it comes in the place of `Found`, and the answer stands."""

    message: str


@dataclass(frozen=True)
class Done:
    """The answer is whole.

    Attributes:
        reason: "stop" (the model ended its turn, or a stop text came) or "length".
        token_ids: that were generated.
        num_known: tokens of the prompt that had been read for an earlier question.
    """

    reason: Literal["stop", "length"]
    token_ids: tuple[int, ...]
    num_known: int = 0


Event = Ready | Piece | Found | Unfound | Done | RefusedError


_WAITING: tuple[str, int, int] = ("waiting", 0, 1)


class Ticket:
    """A question on its way; events go to whoever holds it.

    Args:
        name: tells it apart, in logs and answers.
        asked: the question.
        tell: takes events, in the threads of the engine.
        seconds: that it may take.

    Attributes:
        progress: the stage it is in, how much of that is done and how much there is.
        outcome: "done", or the code of the refusal; None while it is under way.
        held: the end of an answer that is whole, while something is still to be found of it.
    """

    def __init__(self, name: str, asked: Asked, tell: Callable[[Event], None], seconds: float) -> None:
        self.name, self.asked = name, asked
        self.progress = _WAITING
        self.outcome: str | None = None
        self.held: Done | None = None
        self.begun = time.monotonic()
        self._deadline = self.begun + seconds
        self._tell = tell
        self._is_gone = threading.Event()
        self._ended = threading.Lock()
        self._on_end: list[Callable[[Ticket], None]] = []
        self._on_whole: Callable[[Done], None] | None = None

    def on_end(self, call: Callable[["Ticket"], None]) -> None:
        """Have something done once, when the ticket has come to its end, however."""
        self._on_end.append(call)

    def on_whole(self, call: Callable[[Done], None]) -> None:
        """Have something done when the answer is whole; its end is held until `end` is called once more."""
        self._on_whole = call

    def give_up(self) -> None:
        """Nobody waits for the answer any more; it ends after the step in hand, or now, where it only waits."""
        self._is_gone.set()
        if self.is_waiting:
            self.end(unfinished("gone"))

    @property
    def is_waiting(self) -> bool:
        """Whether nothing was done for it yet."""
        return self.progress is _WAITING

    @property
    def why_over(self) -> str | None:
        """Why it is not worth while to go on; None while it is."""
        if self._is_gone.is_set():
            return "gone"
        return "time" if time.monotonic() > self._deadline else None

    def check(self) -> None:
        """Do nothing while it is worth while to go on.

        Raises:
            RefusedError: it is not.
        """
        why = self.why_over
        if why is not None:
            raise unfinished(why)

    def tell(self, event: Ready | Piece | Found | Unfound) -> None:
        """Send what is not the end; nothing after it."""
        if self.outcome is None:
            self._tell(event)

    def end(self, event: Done | RefusedError) -> None:
        """Send the end, or hold it while something is still to be found; what comes after the end is not sent."""
        if isinstance(event, Done):
            find = self._hold(event)
            if find is not None:
                find(event)
                return
        with self._ended:
            if self.outcome is not None:
                return
            self.outcome = event.code if isinstance(event, RefusedError) else "done"
            self._on_whole = None
        if self.asked.media is not None:
            self.asked.media.remove()
        for call in self._on_end:
            call(self)
        self._tell(event)

    def _hold(self, done: Done) -> Callable[[Done], None] | None:
        """What is still to be done about an answer that is whole; the first time only."""
        with self._ended:
            find, self._on_whole = self._on_whole, None
            if find is not None:
                self.held = done
            return find
