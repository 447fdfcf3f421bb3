"""A call and the arguments to make it with in; all of them made, by as many threads as torch uses, out."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVarTuple

import torch

Arguments = TypeVarTuple("Arguments")

_pools: dict[int, ThreadPoolExecutor] = {}
# A forked child has the parent's record of its threads, but not the threads.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pools.clear)


def run_side_by_side(call: Callable[[*Arguments], None], arguments: Sequence[tuple[*Arguments]]) -> None:
    """Make all calls on `torch.get_num_threads()` threads and return when all are done; the first error is raised.

    The calls must release the interpreter's lock to gain anything. Threads of our own, not those of a compiler's
    runtime: those forbid being used from two threads at once, or after a fork.
    """
    num_threads = torch.get_num_threads()
    if num_threads == 1 or len(arguments) == 1:
        for each in arguments:
            call(*each)
        return
    pool = _pools.get(num_threads)
    if pool is None:
        pool = _pools.setdefault(num_threads, ThreadPoolExecutor(num_threads, thread_name_prefix="bimba-scan"))
    for done in [pool.submit(call, *each) for each in arguments]:
        done.result()
