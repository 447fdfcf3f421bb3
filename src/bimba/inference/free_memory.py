"""Nothing in; memory that was freed, and that the C library keeps for later, goes back to the system when it piles up.

Encoding a long video takes large pieces of memory again and again, and small ones that stay (what is kept for each
query). The C library puts the small ones between the large ones; the holes that are left fit the next large ones less
and less, so that more is taken of the system although nothing more is used: six times as much was measured for 3,600
frames as for 64.
"""

import ctypes
import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

MOST_GROWTH = 1.05
"""Memory of the process over what it was, from which on holes are given back. Doing so each time would cost a sixth of
the time, since the next piece fetches the same pages anew."""

_STATM = Path("/proc/self/statm")


class FreeMemory:
    """Watches the memory of the process between pieces of work that are alike."""

    def __init__(self) -> None:
        self._usual_bytes: int | None = None

    def after_piece(self) -> None:
        """Give holes back if memory has grown; call it after each piece, when what the piece took is free again."""
        resident = _resident_bytes()
        if resident is None:
            return
        if self._usual_bytes is None:
            self._usual_bytes = resident
        elif resident > MOST_GROWTH * self._usual_bytes:
            return_free_memory()
            # The next piece fetches what it needs; what there is then is usual.
            self._usual_bytes = None


def return_free_memory() -> None:
    """Give the pages in the holes back; does nothing where the C library has no way to (it is glibc that needs it)."""
    trim = _trim()
    if trim is not None:
        trim(0)


def _resident_bytes() -> int | None:
    """Memory of the process; None where holes cannot be given back, and it does not matter."""
    if _trim() is None or not _STATM.exists():
        return None
    return int(_STATM.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


@cache
def _trim() -> Callable[[int], int] | None:
    """The C library's `malloc_trim`."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except AttributeError:  # another C library, such as musl
        return None
    return trim
