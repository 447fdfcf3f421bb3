"""The loop is woken once for what comes at once; nothing is lost, and nothing overtakes."""

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from bimba.serving.outbox import Outbox, outbox_of


def test_what_comes_at_once_wakes_the_loop_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def told() -> tuple[list[int], int]:
        loop, came, woken = asyncio.get_running_loop(), list[int](), list[Callable[..., Any]]()
        wake = loop.call_soon_threadsafe

        def noted(call: Callable[..., Any], *others: Any) -> asyncio.Handle:
            woken.append(call)
            return wake(call, *others)

        monkeypatch.setattr(loop, "call_soon_threadsafe", noted)
        outbox = Outbox(loop)
        for number in range(5):
            outbox.post(partial(came.append, number))
        await asyncio.sleep(0.01)
        outbox.post(partial(came.append, 5))
        await asyncio.sleep(0.01)
        return came, len(woken)

    assert asyncio.run(told()) == ([0, 1, 2, 3, 4, 5], 2)


def test_threads_lose_nothing_and_each_keeps_its_order() -> None:
    async def told() -> list[tuple[int, int]]:
        came: list[tuple[int, int]] = []
        outbox = outbox_of(asyncio.get_running_loop())
        assert outbox_of(asyncio.get_running_loop()) is outbox

        def tell(thread: int) -> None:
            for number in range(2000):
                outbox.post(partial(came.append, (thread, number)))

        threads = [threading.Thread(target=tell, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        while len(came) < 4 * 2000:
            await asyncio.sleep(0.001)
        return came

    came = asyncio.run(asyncio.wait_for(told(), 60))
    for thread in range(4):
        assert [number for one, number in came if one == thread] == list(range(2000))


def test_a_call_that_fails_keeps_nobody_elses() -> None:
    async def told() -> list[int]:
        loop, came = asyncio.get_running_loop(), list[int]()
        loop.set_exception_handler(lambda *_: None)
        outbox = Outbox(loop)
        outbox.post(lambda: 1 // 0)
        outbox.post(partial(came.append, 1))
        await asyncio.sleep(0.01)
        return came

    assert asyncio.run(told()) == [1]


def test_a_loop_that_has_ended_is_told_nothing() -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    Outbox(loop).post(lambda: None)
