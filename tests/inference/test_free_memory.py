"""Memory in the holes between what stays goes back to the system, where the C library can do that."""

import sys

import numpy as np
import pytest

from bimba.cli.bench.peak import status_bytes
from bimba.inference import free_memory
from bimba.inference.free_memory import MOST_GROWTH, FreeMemory, return_free_memory

HOLE_BYTES, NUM_HOLES = 2**16, 1024


def anonymous() -> int:
    size = status_bytes("RssAnon")
    assert size is not None
    return size


@pytest.mark.skipif(free_memory._trim() is None, reason="this C library keeps no memory that can be asked back")
def test_holes_between_what_stays_go_back_to_the_system() -> None:
    large, small = [], []
    for _ in range(NUM_HOLES):
        large.append(np.ones(HOLE_BYTES, dtype=np.uint8))
        small.append(np.ones(4096, dtype=np.uint8))
    del large
    before = anonymous()
    return_free_memory()
    # Not all of them: some fill places that were free before, and pages lie across their borders.
    assert before - anonymous() > NUM_HOLES * HOLE_BYTES / 2
    assert all(array.all() for array in small)


def test_holes_are_given_back_when_memory_has_grown_and_not_before(monkeypatch: pytest.MonkeyPatch) -> None:
    # At the beginning, after three pieces, after holes were given back, after two pieces, after giving back again.
    sizes = [1000.0, 1010.0, 1000 * MOST_GROWTH, 1000 * MOST_GROWTH + 1, 1020.0, 1020 * MOST_GROWTH, 2000.0, 1020.0]
    seen: list[float] = []
    given_back: list[int] = []

    def resident() -> float:
        seen.append(sizes[len(seen)])
        return seen[-1]

    monkeypatch.setattr(free_memory, "_resident_bytes", resident)
    monkeypatch.setattr(free_memory, "return_free_memory", lambda: given_back.append(len(seen)))
    memory = FreeMemory()
    for _ in range(5):
        memory.after_piece()
    assert given_back == [4, 7]


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    free_memory._trim.cache_clear()
    monkeypatch.setattr(sys, "platform", "darwin")
    try:
        return_free_memory()
        FreeMemory().after_piece()
        assert free_memory._trim() is None
    finally:
        free_memory._trim.cache_clear()
