"""Units of work in, one at a time out to this process alone, however many processes take from the same folder.

A unit is held by a lock of the operating system on a small file, which is released when its process ends, however it
ends; nothing has to be cleaned up after a crash. On several nodes the folder has to lie on a file system whose locks
reach all of them (NFS 4, Lustre, GPFS with flock).
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from bimba.evaluation.running.units import Unit

CLAIMS_NAME = ".claims"


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


def claims(
    folder: Path, units: Sequence[Unit], is_open: Callable[[Unit], bool], *, wait: bool = False
) -> Iterator[Claim]:
    """Take units one by one, those that nobody holds and that are still open once they are held.

    Args:
        folder: of the run.
        units: in the order in which this process takes them.
        is_open: whether something of it is not answered, as the disk says.
        wait: wait for those that others hold, instead of leaving them out.
    """
    place = folder / CLAIMS_NAME
    place.mkdir(parents=True, exist_ok=True)
    for unit in units:
        if not is_open(unit):
            continue
        # Not shared with other threads: the reading thread takes what the main one releases.
        lock = FileLock(place / f"{unit.number}.lock", thread_local=False)
        try:
            lock.acquire(timeout=-1 if wait else 0)
        except Timeout:
            continue
        if is_open(unit):
            yield Claim(unit, lock)
        else:
            lock.release()
