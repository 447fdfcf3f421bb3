"""A model in, a server that answers on this machine out, in threads of the test; and what tests ask of it."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai

from bimba.inference import VideoQA
from bimba.models.bimba.tiny import tiny_model
from bimba.serving.binding import bind
from bimba.serving.engine.ticket import Asked, Done, Event, Piece, Ticket
from bimba.serving.page.page import PageSettings
from bimba.serving.refusals import RefusedError
from bimba.serving.server import Serving, serving
from bimba.serving.settings import ServeSettings

MODEL = "tiny"
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class Running:
    """A server that answers."""

    serving: Serving
    thread: threading.Thread
    store: Path

    @property
    def address(self) -> str:
        """Of the server, without a path."""
        return self.serving.address

    def client(self, key: str = "none") -> openai.OpenAI:
        """OpenAI's own client, which tries nothing twice."""
        return openai.OpenAI(base_url=f"{self.address}/v1", api_key=key, max_retries=0, timeout=PATIENCE_SECONDS)

    def metric(self, line: str) -> float:
        """A number of /metrics; 0 where it is not told yet."""
        text = httpx.get(f"{self.address}/metrics").text
        values = [row.rsplit(" ", 1)[1] for row in text.splitlines() if row.rsplit(" ", 1)[0] == line]
        return float(values[0]) if values else 0.0


@contextmanager
def running(
    qa: VideoQA, store: Path, *, grace_seconds: float = 10.0, page: PageSettings | None = None, **settings: Any
) -> Iterator[Running]:
    """A server on a free port."""
    store.mkdir(parents=True, exist_ok=True)
    told = ServeSettings(model_name=MODEL, store=store, **settings)
    with serving(qa, told, bind("127.0.0.1", 0), grace_seconds, page) as served:
        thread = threading.Thread(target=served.run, daemon=True)
        thread.start()
        wait_until(lambda: served.server.started)
        try:
            yield Running(served, thread, store)
        finally:
            served.server.should_exit = True
            thread.join(PATIENCE_SECONDS)


def endless() -> VideoQA:
    """The tiny model, with an end that it never says."""
    qa = VideoQA(*tiny_model(seed=0))
    qa.model.generation_config.eos_token_id = qa.model.config.text_config.vocab_size - 1
    return qa


def wait_until(is_so: Callable[[], bool]) -> None:
    """Wait for something that comes in its own time."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        if time.monotonic() > end:
            raise AssertionError("it did not come")
        time.sleep(0.01)


def about(part: dict[str, Any], question: str = "What is there?") -> list[Any]:
    """A conversation about a video or image."""
    return [{"role": "user", "content": [part, {"type": "text", "text": question}]}]


def by_url(url: str) -> dict[str, Any]:
    """A part that names a video by its address."""
    return {"type": "video_url", "video_url": {"url": url}}


class Kept:
    """A ticket, and the events that came to it."""

    def __init__(self, asked: Asked, seconds: float = PATIENCE_SECONDS) -> None:
        self.events: list[Event] = []
        self.ended = threading.Event()
        self.ticket = Ticket(f"ticket-{id(self)}", asked, self._tell, seconds)

    def _tell(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, Done | RefusedError):
            self.ended.set()

    @property
    def text(self) -> str:
        """Of the answer so far."""
        return "".join(event.text for event in self.events if isinstance(event, Piece))

    @property
    def done(self) -> Done:
        """How the answer ended."""
        end = self.events[-1]
        assert isinstance(end, Done), end
        return end

    @property
    def refusal(self) -> RefusedError:
        """Why there is no answer."""
        end = self.events[-1]
        assert isinstance(end, RefusedError), end
        return end
