"""A function in, what it came to in each of several processes that meet each other out."""

import multiprocessing
import os
import socket
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import distributed

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["bimba.training.run", "peft", "test_distributed", "test_sharding", "test_resume"])

PATIENCE_SECONDS = 120.0
"""Who is not done by then hangs."""

ALONE = {"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}
"""What a launcher tells a process; one that is alone is told nothing."""


@dataclass(frozen=True)
class Ending:
    """How a process ended.

    Attributes:
        found: what the function returned.
        error: what it raised: the name of its class.
        message: of the error.
        trace: where it was raised.
    """

    found: Any = None
    error: str | None = None
    message: str = ""
    trace: str = ""


class Together:
    """Processes that were launched together, as `torchrun` does it; one is told nothing of others.

    Args:
        num_processes: how many.
        function: a function of a module, called in each of them.
        arguments: of the function.
        variables: of the environment, for all of them.
    """

    def __init__(
        self, num_processes: int, function: Callable[..., Any], *arguments: Any, variables: dict[str, str] | None = None
    ) -> None:
        port = free_port()
        self.processes, self.ends = [], []
        for rank in range(num_processes):
            told = {"OMP_NUM_THREADS": "1"} | (variables or {})
            if num_processes > 1:
                told |= {"RANK": str(rank), "WORLD_SIZE": str(num_processes), "LOCAL_RANK": str(rank)}
                told |= {"LOCAL_WORLD_SIZE": str(num_processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            here, there = _CONTEXT.Pipe(duplex=False)
            process = _CONTEXT.Process(target=_work, args=(there, told, function, arguments))
            process.start()
            there.close()
            self.processes.append(process)
            self.ends.append(here)

    def is_running(self) -> bool:
        """Whether any of them has not ended."""
        return any(process.is_alive() for process in self.processes)

    def kill(self) -> None:
        """SIGKILL to all."""
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.join()

    def endings(self) -> list[Ending]:
        """How each of them ended; one that hangs is killed, and fails the test."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        try:
            return [self._ending(rank, deadline) for rank in range(len(self.processes))]
        finally:
            self.kill()

    def _ending(self, rank: int, deadline: float) -> Ending:
        end = self.ends[rank]
        assert end.poll(max(0.0, deadline - time.monotonic())), f"process {rank} hangs"
        try:
            ending: Ending = end.recv()
        except EOFError:
            self.processes[rank].join()
            raise AssertionError(f"process {rank} died: {self.processes[rank].exitcode}") from None
        return ending


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _work(end: Connection, told: dict[str, str], function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    for name in ALONE:
        os.environ.pop(name, None)
    os.environ.update(told)
    torch.set_num_threads(1)
    warnings.simplefilter("error")
    try:
        ending = Ending(found=function(*arguments))
    except Exception as error:  # noqa: BLE001 - whatever it is, the test looks at it
        ending = Ending(error=type(error).__name__, message=str(error), trace=traceback.format_exc())
    end.send(ending)
    end.close()


def outcomes(
    num_processes: int, function: Callable[..., Any], *arguments: Any, variables: dict[str, str] | None = None
) -> list[Any]:
    """What a function returned in each of several processes, where none may fail."""
    endings = Together(num_processes, function, *arguments, variables=variables).endings()
    for ending in endings:
        assert ending.error is None, ending.trace
    return [ending.found for ending in endings]


def in_a_group(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a process group of gloo, without a trainer."""
    distributed.init_process_group("gloo")
    try:
        return function(*arguments)
    finally:
        distributed.destroy_process_group()
