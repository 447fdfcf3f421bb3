"""A call and the arguments to make it with in; all of them made, by as many threads as torch uses, out."""

import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVarTuple

import torch

Arguments = TypeVarTuple("Arguments")

_pools: dict[int, ThreadPoolExecutor] = {}
# A forked child has the parent's record of its threads, but not the threads.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pools.clear)


def run_side_by_side(call: Callable[[*Arguments], None], arguments: Sequence[tuple[*Arguments]]) -> None:
    """Make all calls on `torch.get_num_threads()` threads, this one among them, and return when all are done.

    The calls must release the interpreter's lock to gain anything. Threads of our own, not those of a compiler's
    runtime: those forbid being used from two threads at once, or after a fork.

    Raises:
        BaseException: what the first of the calls that failed has raised; those that had not begun then are not made.
    """
    num_threads = min(torch.get_num_threads(), len(arguments))
    pending = deque(enumerate(arguments))
    errors: dict[int, BaseException] = {}

    def work() -> None:
        while pending:
            try:
                number, each = pending.popleft()
            except IndexError:  # another thread was faster
                return
            try:
                call(*each)
            except BaseException as error:  # noqa: BLE001 # raised below, when all threads are done
                errors[number] = error
                pending.clear()

    if num_threads <= 1:
        work()
    else:
        pool = _pools.get(num_threads)
        if pool is None:
            pool = _pools.setdefault(num_threads, ThreadPoolExecutor(num_threads, thread_name_prefix="bimba-scan"))
        helpers = [pool.submit(work) for _ in range(num_threads - 1)]
        work()
        wait(helpers)
    if errors:
        raise errors[min(errors)]
