"""Calls side by side: all of them made, errors raised, after a fork and from several threads too."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from bimba.ops import selective_scan
from bimba.ops.threads import run_side_by_side

PATIENCE_SECONDS = 60


@pytest.fixture
def set_threads() -> Iterator[Callable[[int], None]]:
    """Sets torch's number of threads; what it was before comes back."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


every_number = pytest.mark.parametrize("num_threads", [1, 2, 5])


@every_number
@pytest.mark.parametrize("num_calls", [0, 1, 2, 7, 200])
def test_every_call_is_made_once(num_threads: int, num_calls: int, set_threads: Callable[[int], None]) -> None:
    set_threads(num_threads)
    made: list[tuple[int, str]] = []
    run_side_by_side(lambda number, word: made.append((number, word)), [(i, str(i)) for i in range(num_calls)])
    assert sorted(made) == [(i, str(i)) for i in range(num_calls)]


@every_number
def test_all_calls_are_done_when_it_returns(num_threads: int, set_threads: Callable[[int], None]) -> None:
    set_threads(num_threads)
    done = [False] * 6

    def take_a_while(number: int) -> None:
        time.sleep(0.01 * (number % 3))
        done[number] = True

    run_side_by_side(take_a_while, [(i,) for i in range(6)])
    assert all(done)


def test_one_thread_is_the_callers_own_and_takes_them_in_order(set_threads: Callable[[int], None]) -> None:
    set_threads(1)
    seen: list[tuple[int, int]] = []
    run_side_by_side(lambda number: seen.append((number, threading.get_ident())), [(i,) for i in range(5)])
    assert seen == [(i, threading.get_ident()) for i in range(5)]


def test_one_call_stays_with_the_caller(set_threads: Callable[[int], None]) -> None:
    set_threads(3)
    seen: list[int] = []
    run_side_by_side(lambda: seen.append(threading.get_ident()), [()])
    assert seen == [threading.get_ident()]


def test_as_many_calls_run_at_once_as_there_are_threads(set_threads: Callable[[int], None]) -> None:
    set_threads(3)
    meeting = threading.Barrier(3, timeout=PATIENCE_SECONDS)

    def meet(_: int) -> None:
        meeting.wait()

    run_side_by_side(meet, [(i,) for i in range(3)])
    assert not meeting.broken


@every_number
def test_an_error_in_a_call_is_raised(num_threads: int, set_threads: Callable[[int], None]) -> None:
    set_threads(num_threads)

    def fail_at_three(number: int) -> None:
        if number == 3:
            raise ValueError("three")

    with pytest.raises(ValueError, match="three"):
        run_side_by_side(fail_at_three, [(i,) for i in range(6)])
    run_side_by_side(fail_at_three, [(0,), (1,)])  # and the threads are still there


@every_number
def test_of_several_errors_the_first_is_raised(num_threads: int, set_threads: Callable[[int], None]) -> None:
    set_threads(num_threads)

    def fail(number: int) -> None:
        time.sleep(0.02 * (3 - number))
        raise ValueError(f"number {number}")

    with pytest.raises(ValueError, match="number 0"):
        run_side_by_side(fail, [(0,), (1,), (2,)])


def test_after_an_error_no_call_is_still_at_work(set_threads: Callable[[int], None]) -> None:
    set_threads(2)
    at_work: list[int] = []

    def fail_or_work(number: int) -> None:
        if number == 0:
            raise ValueError("the first")
        at_work.append(number)
        time.sleep(0.2)
        at_work.remove(number)

    with pytest.raises(ValueError, match="the first"):
        run_side_by_side(fail_or_work, [(i,) for i in range(4)])
    assert not at_work


def test_several_threads_may_ask_at_once(set_threads: Callable[[int], None]) -> None:
    set_threads(2)
    made: list[tuple[int, int]] = []
    askers = [
        threading.Thread(target=run_side_by_side, args=(lambda *pair: made.append(pair), [(k, i) for i in range(20)]))
        for k in range(4)
    ]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join(PATIENCE_SECONDS)
    assert sorted(made) == [(k, i) for k in range(4) for i in range(20)]


def some_scan() -> Tensor:
    """A scan with several parts for the threads to share."""
    generator = torch.Generator().manual_seed(0)
    x, dt = (torch.randn(3, 20, 300, generator=generator) for _ in range(2))
    B, C = (torch.randn(3, 20, 4, generator=generator) for _ in range(2))
    A = -torch.rand(300, 4, generator=generator)
    y = selective_scan(x, dt, A, B, C, dt_softplus=True, implementation="cpu")
    assert isinstance(y, Tensor)
    return y


def forked_child_agrees(expected: Tensor) -> bool:
    """Whether a forked child gets the same, before patience is lost."""
    child = os.fork()
    if child == 0:
        os._exit(0 if torch.equal(some_scan(), expected) else 1)
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status) == 0
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


@pytest.mark.parametrize("num_threads", [1, 2])
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system that forks")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # from Python 3.12: a fork beside threads
def test_a_forked_child_scans_after_its_parent_did(num_threads: int, set_threads: Callable[[int], None]) -> None:
    # As the workers of a DataLoader do: the parent's threads do not come along.
    set_threads(num_threads)
    expected = some_scan()
    assert forked_child_agrees(expected)
    assert torch.equal(some_scan(), expected)


def test_scans_from_several_threads_do_not_mix(set_threads: Callable[[int], None]) -> None:
    set_threads(2)
    expected = some_scan()
    outputs: list[Tensor] = []
    scanners = [threading.Thread(target=lambda: outputs.append(some_scan())) for _ in range(4)]
    for scanner in scanners:
        scanner.start()
    for scanner in scanners:
        scanner.join(PATIENCE_SECONDS)
    assert len(outputs) == 4
    assert all(torch.equal(y, expected) for y in outputs)
