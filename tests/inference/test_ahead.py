"""A thread makes values ahead of whoever uses them."""

import threading
import time
from collections.abc import Iterator

import pytest

from bimba.errors import VideoError
from bimba.inference.ahead import Ahead


def test_values_come_in_order_from_another_thread() -> None:
    makers: set[int] = set()

    def values() -> Iterator[int]:
        for number in range(100):
            makers.add(threading.get_ident())
            yield number

    with Ahead(values(), 3) as ahead:
        assert list(ahead) == list(range(100))
    assert threading.get_ident() not in makers


def test_it_is_only_so_far_ahead() -> None:
    made: list[int] = []

    def values() -> Iterator[int]:
        for number in range(50):
            made.append(number)
            yield number

    with Ahead(values(), 2) as ahead:
        for number in ahead:
            time.sleep(0.001)
            # One that is used, two that wait, one that is made.
            assert len(made) <= number + 4


def test_what_goes_wrong_is_raised_when_its_turn_comes() -> None:
    def values() -> Iterator[int]:
        yield 1
        raise VideoError("frame 2 is damaged.", fix="re-encode it.")

    with Ahead(values(), 5) as ahead:
        iterator = iter(ahead)
        assert next(iterator) == 1
        with pytest.raises(VideoError, match="frame 2"):
            next(iterator)


def test_who_leaves_early_ends_the_thread_and_closes_what_it_reads() -> None:
    closed = threading.Event()

    def values() -> Iterator[int]:
        try:
            yield from range(10**9)
        finally:
            closed.set()

    before = threading.active_count()
    with Ahead(values(), 2) as ahead:
        assert next(iter(ahead)) == 0
    assert closed.is_set()
    assert threading.active_count() == before
