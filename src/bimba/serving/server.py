"""A model and settings in, a server that answers until it is told to end out."""

import logging
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

import numpy as np
import uvicorn

from bimba.files import alone
from bimba.inference.video_qa import VideoQA
from bimba.serving.app import build_app
from bimba.serving.engine.engine import Engine
from bimba.serving.gate import Gate
from bimba.serving.media.fetching import Fetcher
from bimba.serving.media.files import FileStore
from bimba.serving.media.opening import MediaOpener
from bimba.serving.metrics import Metrics
from bimba.serving.page.page import PageSettings, open_page
from bimba.serving.settings import ServeSettings, is_loopback

_MOST_OPENING = 128
"""Videos that are fetched or written at once."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Serving:
    """A server that is ready to run.

    Attributes:
        engine: that answers.
        address: under which it is reached.
        server: of HTTP.
        bound: the socket.
    """

    engine: Engine
    address: str
    server: uvicorn.Server
    bound: socket.socket

    def run(self) -> None:
        """Answer until the server is told to end; then end what has begun."""
        self.server.run(sockets=[self.bound])


class _Server(uvicorn.Server):
    """Told to end, it takes nothing new at once, and ends when what has begun is done; told again, it ends at once."""

    def __init__(self, config: uvicorn.Config, on_leaving: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_leaving = on_leaving

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        del frame
        logger.info("signal %d: no new questions are taken", sig)
        self._on_leaving()
        self.force_exit = self.should_exit
        self.should_exit = True


@contextmanager
def serving(
    qa: VideoQA[Any, Any],
    settings: ServeSettings,
    bound: socket.socket,
    grace_seconds: float,
    page: PageSettings | None = None,
) -> Iterator[Serving]:
    """A server with its threads and folders, all gone at the end.

    Args:
        qa: the model.
        settings: how it answers.
        bound: the socket that it listens on, see `bind`.
        grace_seconds: in which answers that have begun are ended when the server is told to end.
        page: what is on the page for browsers; None for no page.

    Raises:
        InputError: another server uses the store, or the media root is no folder.
    """
    host, port = bound.getsockname()[:2]
    store = settings.store
    taken, fix = f"another server uses {store}.", "name another folder (--store), or end it."
    with alone(store, taken, fix=fix):
        metrics = Metrics()
        engine = Engine(qa, settings, metrics)
        files = FileStore(settings.store / "files", settings.limits)
        metrics.gauge("bimba_stored_bytes", "Uploaded files on disk.", lambda: files.num_bytes)
        fetcher = Fetcher(settings.url_hosts, settings.limits.upload_bytes, settings.limits.fetch_seconds)
        opener = MediaOpener(files, fetcher, settings.media_root, settings.store / "passing", settings.limits)
        threads = min(settings.running + settings.waiting, _MOST_OPENING)
        opening = ThreadPoolExecutor(threads, thread_name_prefix="bimba-open")
        app = build_app(engine, settings, metrics, files, opener, opening)
        door = None if page is None else open_page(app, page, settings, engine, metrics, files)
        config = uvicorn.Config(
            Gate(app, settings, metrics, only_here=is_loopback(host), door=door),
            http="h11",  # the strict one: what two programs could read in two ways is refused
            ws="none",
            loop="asyncio",
            lifespan="off" if door is None else "on",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=round(grace_seconds),
        )
        engine.start()
        try:
            shown = f"[{host}]" if ":" in host else host
            yield Serving(engine, f"http://{shown}:{port}", _Server(config, engine.leave), bound)
        finally:
            engine.end()
            opening.shutdown(cancel_futures=True)
            bound.close()


def warm_up(qa: VideoQA[Any, Any]) -> None:
    """Let a model look at blank frames once, so that no first question waits until its kernels are compiled."""
    frames = np.zeros((max(qa.processor.least_frames, 2), 64, 64, 3), dtype=np.uint8)
    qa.ask(frames, "?", max_new_tokens=1)
