"""Values in, the same values out, made in a thread that is a few of them ahead."""

import queue
import threading
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

_PATIENCE_SECONDS = 0.2


@dataclass(frozen=True)
class _End:
    error: BaseException | None


class Ahead(Generic[T]):
    """Makes values in a thread; a context manager, whose end stops the thread after the value that it is at.

    Args:
        values: made in the thread alone.
        depth: of them wait at most; memory does not grow with how many there are.
    """

    def __init__(self, values: Iterable[T], depth: int) -> None:
        self._values = values
        self._waiting: queue.Queue[T | _End] = queue.Queue(depth)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._make, name="bimba-ahead", daemon=True)

    def __enter__(self) -> "Ahead[T]":
        self._thread.start()
        return self

    def __exit__(self, *reason: object) -> None:
        self._stopped.set()
        self._thread.join()

    def __iter__(self) -> Generator[T]:
        """Values as they come.

        Raises:
            BaseException: what making a value raised, when its turn comes.
        """
        while True:
            item = self._waiting.get()
            if not isinstance(item, _End):
                yield item
                continue
            if item.error is not None:
                raise item.error
            return

    def _make(self) -> None:
        iterator = iter(self._values)
        try:
            for value in iterator:
                if not self._put(value):
                    break
            self._put(_End(None))
        except BaseException as error:  # noqa: BLE001 - it is raised again where the values are used
            self._put(_End(error))
        finally:
            if isinstance(iterator, Generator):  # it may hold a file open
                iterator.close()

    def _put(self, item: T | _End) -> bool:
        """Let something wait for its turn; whether anybody still wants it."""
        while not self._stopped.is_set():
            try:
                self._waiting.put(item, timeout=_PATIENCE_SECONDS)
            except queue.Full:
                continue
            return True
        return False
