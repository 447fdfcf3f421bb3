"""What launched this process in; whether a run can be had here, and how its processes agree, out.

`torchrun` and `accelerate launch` tell a process by environment variables that it is one of several, and how the model
shall be spread over them.
"""

import importlib.util
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import distributed

from bimba.errors import BimbaError, InputError, TrainingError

T = TypeVar("T")

SHARDING = {"ACCELERATE_USE_FSDP": "FSDP", "ACCELERATE_USE_DEEPSPEED": "DeepSpeed"}
"""Variables by which `accelerate launch` asks for sharding, and what it is called."""

_left: list[object] = []
"""Process groups that runs are done with. One that goes away together with the model that used it (after an error, with
the traceback) may wait for ever for its own thread, which waits for Python's lock (torch 2.13, gloo)."""


def sharding() -> str | None:
    """What the launcher was asked to shard the model with, None if every process holds all of it."""
    for variable, name in SHARDING.items():
        if os.environ.get(variable, "false").lower() in ("1", "true", "yes"):
            return name
    return None


def check_environment(*, on_cpu: bool) -> None:
    """Refuse what would be done in another way than was asked for.

    On a CPU accelerate falls back from FSDP to plain data parallelism without a word, and DeepSpeed fails deep inside.

    Raises:
        InputError: sharding is asked for and there is no GPU, or DeepSpeed is not there.
    """
    asked = sharding()
    if asked is None:
        return
    if on_cpu or not torch.cuda.is_available():
        raise InputError(
            f"{asked} is asked for, which shards the model over GPUs, but this run is on a CPU.",
            fix="launch it without that configuration: torchrun --nproc-per-node N -m bimba train RECIPE",
        )
    if asked == "DeepSpeed" and importlib.util.find_spec("deepspeed") is None:
        raise InputError("DeepSpeed is asked for, but it is not installed.", fix="pip install deepspeed")


def check_sharding(accelerator: Any, batch_size: int, kind: str = "bimba") -> None:
    """Refuse batches with which processes would wait for each other for ever.

    ZeRO-3 gathers weights in each call of a layer. BIMBA's compressor is called once for each length of videos in a
    batch, and a Vamba's frozen vision tower once for some frames at a time, which is not the same in all processes.

    Args:
        accelerator: of the trainer.
        batch_size: samples of a process at a time.
        kind: of model.

    Raises:
        InputError: ZeRO-3 with more than one sample at a time, or with a Vamba.
    """
    plugin = getattr(accelerator.state, "deepspeed_plugin", None)
    is_zero3 = plugin is not None and plugin.zero_stage == 3
    if is_zero3 and kind == "vamba":
        raise InputError(
            "DeepSpeed ZeRO-3 cannot train a Vamba: its processes would wait for each other.",
            fix="take ZeRO-2, or FSDP2 with --fsdp_transformer_layer_cls_to_wrap VambaDecoderLayer.",
        )
    if is_zero3 and batch_size > 1:
        raise InputError(
            f"schedule.batch_size is {batch_size}; with DeepSpeed ZeRO-3 it has to be 1.",
            fix=f"set schedule.batch_size=1 and {batch_size} times the accumulation, or take ZeRO-2 or FSDP2.",
        )


def is_first() -> bool:
    """Whether this process writes files and prints."""
    return not distributed.is_initialized() or distributed.get_rank() == 0


def wait_for_all() -> None:
    """Return when all processes are here."""
    if distributed.is_initialized():
        distributed.barrier()


def first_decides(decide: Callable[[], T]) -> T:
    """What the first process finds, told to all; an error there is raised in all."""
    if not distributed.is_initialized():
        return decide()
    told: list[tuple[str, Any]] = [("nothing", None)]
    if is_first():
        try:
            told = [("found", decide())]
        except Exception as error:
            # In words: errors themselves do not all survive the way to another process.
            known = (error.problem, error.fix) if isinstance(error, BimbaError) else (repr(error), "see what it says.")
            told = [("error", known)]
            distributed.broadcast_object_list(told, src=0)
            raise
    distributed.broadcast_object_list(told, src=0)
    kind, found = told[0]
    if kind == "error":
        problem, fix = found
        raise TrainingError(f"the first process stopped: {problem}", fix=fix)
    decided: T = found
    return decided


def gathered(mine: list[T]) -> list[T]:
    """The lists of all processes, one after the other, in each of them."""
    if not distributed.is_initialized():
        return mine
    lists: list[list[T] | None] = [None] * distributed.get_world_size()
    distributed.all_gather_object(lists, mine)
    return [item for one in lists if one is not None for item in one]


def summed(mine: list[int]) -> list[int]:
    """Numbers added up over all processes."""
    if not distributed.is_initialized():
        return mine
    device = torch.device("cuda", torch.cuda.current_device()) if distributed.get_backend() == "nccl" else None
    numbers = torch.tensor(mine, dtype=torch.int64, device=device)
    distributed.all_reduce(numbers)
    return [int(number) for number in numbers]


@contextmanager
def ended_properly() -> Iterator[None]:
    """Leave the process group when the run is over, as torch asks for."""
    was_there = distributed.is_initialized()
    try:
        yield
    finally:
        if not was_there and distributed.is_initialized():
            _left.append(distributed.group.WORLD)
            distributed.destroy_process_group()
