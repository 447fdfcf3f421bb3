"""Units of work in, one at a time out to this process alone, however many processes take from the same folder.

A unit is held by a lock of the operating system on a small file, which is released when its process ends, however it
ends; nothing has to be cleaned up after a crash. On several nodes the folder has to lie on a file system whose locks
reach all of them (NFS 4, Lustre, GPFS with flock).
"""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from bimba.evaluation.running.units import Unit

CLAIMS_NAME = ".claims"
_PATIENCE_SECONDS = 0.5


class Claim:
    """A unit that is this process's until it is released.

    Args:
        unit: which.
        lock: that is held.
    """

    def __init__(self, unit: Unit, lock: FileLock) -> None:
        self.unit, self._lock = unit, lock

    def release(self) -> None:
        """Let others look at the unit; done after its answers are written."""
        self._lock.release()


def claims(folder: Path, units: Sequence[Unit], is_open: Callable[[Unit], bool]) -> Iterator[Claim | None]:
    """Take units one by one that nobody holds and that are still open once they are held.

    When only those are left that others hold, wait for them: whoever holds one may be killed.

    Args:
        folder: of the run.
        units: in the order in which this process takes them.
        is_open: whether something of it is not answered, as the disk says.

    Yields:
        a claim; or None now and then while waiting, so that the caller may give up.
    """
    place = folder / CLAIMS_NAME
    place.mkdir(parents=True, exist_ok=True)
    held = list(units)
    while held:
        waiting_for, held = held, []
        for unit in waiting_for:
            if not is_open(unit):
                continue
            # Not shared with other threads: the reading thread takes what the main one releases.
            lock = FileLock(place / f"{unit.number}.lock", thread_local=False)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                held.append(unit)
                continue
            if is_open(unit):
                yield Claim(unit, lock)
            else:
                lock.release()
        if held:
            yield None
            time.sleep(_PATIENCE_SECONDS)
