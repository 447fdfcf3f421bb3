"""Lines that somebody types or sends in, read in a thread; each out when it is asked for, if it is there."""

import queue
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

GLANCE_SECONDS = 0.1
"""How often one who waits looks whether it is worth while."""


class Lines:
    """Lines that a thread reads, so that nobody has to wait for them.

    Args:
        lines: as they come.
        one_by_one: read a line only when it is asked for, so that its prompt comes behind the last answer.
    """

    def __init__(self, lines: Iterator[str], *, one_by_one: bool) -> None:
        self._lines, self._one_by_one = lines, one_by_one
        self._waiting: queue.Queue[str | None] = queue.Queue()
        self._wanted = threading.Semaphore(0)
        threading.Thread(target=self._read, name="bimba-lines", daemon=True).start()

    def next(self, give_up: Callable[[], bool]) -> str | None:
        """The next line; None at their end, or if nobody is waited for and none is there."""
        self._wanted.release()
        while True:
            gives_up = give_up()
            try:
                return self._waiting.get(timeout=GLANCE_SECONDS)
            except queue.Empty:
                if gives_up:
                    return None

    def _read(self) -> None:
        while True:
            if self._one_by_one:
                self._wanted.acquire()
            line = next(self._lines, None)
            self._waiting.put(line)
            if line is None:
                return


@contextmanager
def terminal_kept() -> Iterator[None]:
    """Leave a terminal as it was: a line that is being typed in another thread has it in a mode of its own."""
    try:
        import termios
    except ImportError:  # Windows
        yield
        return
    if sys.stdin is None or not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
