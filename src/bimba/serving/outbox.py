"""What other threads tell in, calls in the event loop out; it is woken once for many that come at once."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from weakref import WeakKeyDictionary


class Outbox:
    """Between other threads and an event loop, which has one; see `outbox_of`.

    A wake-up makes two threads want the interpreter at once; one for each token of each answer costs more than the
    tokens.

    Args:
        loop: that calls.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._calls: deque[Callable[[], object]] = deque()
        self._is_due = False

    def post(self, call: Callable[[], object]) -> None:
        """Let the loop call something, after everything that was posted before; from any thread."""
        self._calls.append(call)
        if not self._is_due:
            self._is_due = True
            with suppress(RuntimeError):  # the loop has ended, and with it everybody who waits
                self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._is_due = False  # before the calls, so that none that comes meanwhile is left
        while self._calls:
            self._loop.call_soon(self._calls.popleft())


_OUTBOXES: WeakKeyDictionary[asyncio.AbstractEventLoop, Outbox] = WeakKeyDictionary()


def outbox_of(loop: asyncio.AbstractEventLoop) -> Outbox:
    """The outbox of a loop, which is the one that runs."""
    return _OUTBOXES.setdefault(loop, Outbox(loop))
