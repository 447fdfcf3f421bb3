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

    def next(self, give_up: Callable[[bool], bool]) -> str | None:
        """The next line; None at their end, or if nobody is waited for and none is there.

        Args:
            give_up: whether nobody is waited for; called with whether a prompt may have been shown by now. The first
                time is before that: what it says then cannot get into the middle of the prompt of another thread.
        """
        gives_up = give_up(False)
        self._wanted.release()
        while True:
            try:
                return self._waiting.get(timeout=GLANCE_SECONDS)
            except queue.Empty:
                if gives_up:
                    return None
            gives_up = give_up(True)

    def _read(self) -> None:
        while True:
            if self._one_by_one:
                self._wanted.acquire()
            line = next(self._lines, None)
            self._waiting.put(line)
            if line is None:
                return


def typed_so_far() -> str:
    """What somebody has typed of a line that another thread reads."""
    editor = sys.modules.get("readline")  # not on every system
    return "" if editor is None else str(editor.get_line_buffer())


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
