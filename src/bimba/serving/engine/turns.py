"""Threads that want the device in, one at a time out, in the order in which they came.

Encoding a video takes seconds to minutes, a step of the running answers milliseconds. A plain lock would go to whoever
takes it again first, which is the one that has just let it go.
"""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """Hands out turns, first come, first served."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._line: deque[object] = deque()

    @contextmanager
    def held(self) -> Iterator[None]:
        """A block in which nobody else has a turn."""
        self._take()
        try:
            yield
        finally:
            self._give()

    @contextmanager
    def given_up(self) -> Iterator[None]:
        """A block inside of one's turn in which others have theirs."""
        self._give()
        try:
            yield
        finally:
            self._take()

    def _take(self) -> None:
        me = object()
        with self._changed:
            self._line.append(me)
            self._changed.wait_for(lambda: self._line[0] is me)

    def _give(self) -> None:
        with self._changed:
            self._line.popleft()
            self._changed.notify_all()
