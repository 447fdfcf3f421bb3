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
"""Memory of the process over what it was without holes, from which on they are given back.

The next piece fetches the pages anew. That takes a sixth of the time where the model is tiny and its pieces are large,
and nothing where a piece is less than a twentieth of the process.
"""

_STATM = Path("/proc/self/statm")


class FreeMemory:
    """Watches the memory of the process while it works in pieces.

    It is at most a twentieth more than is in use, and what one piece takes.
    """

    def __init__(self) -> None:
        self._least_bytes = _resident_bytes()

    def after_piece(self) -> None:
        """Give holes back if memory has grown; call it after each piece, when what the piece took is free again."""
        resident = _resident_bytes()
        if resident is None or self._least_bytes is None or resident <= MOST_GROWTH * self._least_bytes:
            return
        return_free_memory()
        self._least_bytes = _resident_bytes()


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
