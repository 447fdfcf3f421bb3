"""A connection that each open page holds in, which pages are open out; what a page leaves behind is cleared away.

Nothing else is taken of a visitor: so what visitors can keep busy is bounded, and ends when they go, however they go.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bimba.serving.refusals import RefusedError

MOST_PAGES = 256
"""That are open at once."""

MOST_OF_ONE = 16
"""Of one visitor."""

_PATIENCE_SECONDS, _LOOK_SECONDS = 5.0, 0.05
"""A page asks for two things at once at times, and the second may come first."""


class Pages:
    """Which pages are open.

    Args:
        on_left: told of the owner and the session of each that was closed.
    """

    def __init__(self, on_left: Callable[[str, str], None]) -> None:
        self._on_left = on_left
        self._open: Counter[tuple[str, str]] = Counter()

    @contextmanager
    def opened(self, owner: str, session: str) -> Iterator[None]:
        """A page is open for so long.

        Raises:
            RefusedError: too many are.
        """
        if self._open.total() >= MOST_PAGES:
            raise RefusedError(429, "too many pages of this server are open. Try again later.", code="busy")
        if sum(count for (one, _), count in self._open.items() if one == owner) >= MOST_OF_ONE:
            message = f"{MOST_OF_ONE} of your pages are open. Close some, and load this one again."
            raise RefusedError(429, message, code="busy")
        self._open[owner, session] += 1
        try:
            yield
        finally:
            self._open[owner, session] -= 1
            if not self._open[owner, session]:
                del self._open[owner, session]
                self._on_left(owner, session)

    def is_open(self, owner: str, session: str | None = None) -> bool:
        """Whether a page is open; without a session, whether any of the visitor is."""
        if session is not None:
            return (owner, session) in self._open
        return any(one == owner for one, _ in self._open)

    async def check_open(self, owner: str, session: str | None = None) -> None:
        """Wait a moment for a page that is being opened.

        Raises:
            RefusedError: it is not open.
        """
        end = time.monotonic() + _PATIENCE_SECONDS
        while not self.is_open(owner, session):
            if time.monotonic() > end:
                raise not_open()
            await asyncio.sleep(_LOOK_SECONDS)


def not_open() -> RefusedError:
    """Says that a page is not open as far as the server knows."""
    message = "the connection between this page and the server was cut. Load the page again to go on."
    return RefusedError(409, message, code="page_closed")
