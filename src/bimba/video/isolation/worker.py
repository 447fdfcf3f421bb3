"""The worker's side of isolated decoding: requests come on stdin, messages with frames go to stdout.

Run by `isolation` as a process of its own. It limits itself before it touches the file.
"""

import importlib
import logging
import os
import sys
from dataclasses import fields
from types import ModuleType
from typing import IO, Any

import numpy as np

from bimba.errors import BimbaError
from bimba.video.decode import iter_frames
from bimba.video.info import VideoInfo
from bimba.video.isolation.messages import read_message, write_message
from bimba.video.probe import probe

# Kept by the other side, which needs them not, or sent as bytes.
_NOT_SENT = ("path", "packets", "frame_seconds")
_EXIT_TOLD = 3


class _Forward(logging.Handler):
    """Sends what is logged to the other side."""

    def __init__(self, pipe: IO[bytes]) -> None:
        super().__init__(logging.INFO)
        self._pipe = pipe

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record."""
        write_message(self._pipe, {"log": [record.name, record.levelno, record.getMessage()]})


def main() -> None:
    """Serve one video until the other side is gone."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get between the messages
    first = read_message(requests)
    if first is None:
        return
    request, _ = first
    seconds, memory_bytes = request["limits"]["seconds"], request["limits"]["memory_bytes"]
    _limit_memory(memory_bytes)
    _renew_time(seconds)
    logger = logging.getLogger("bimba")
    logger.addHandler(_Forward(replies))
    logger.setLevel(logging.INFO)
    try:
        _serve(request, requests, replies)
    except BimbaError as error:
        told = {"type": type(error).__name__, "problem": error.problem, "fix": error.fix}
        write_message(replies, {"error": told})
        sys.exit(_EXIT_TOLD)
    except MemoryError:
        write_message(replies, {"error": {"type": "MemoryError"}})
        sys.exit(_EXIT_TOLD)


def _serve(request: dict[str, Any], requests: IO[bytes], replies: IO[bytes]) -> None:
    info = probe(request["path"], **request["options"])
    write_message(replies, {"info": _as_json(info)}, info.frame_seconds.tobytes())
    while (message := read_message(requests)) is not None:
        _renew_time(request["limits"]["seconds"])
        for frame in iter_frames(info, message[0]["frames"], backend=request["backend"]):
            write_message(replies, {"frame": frame.shape}, np.ascontiguousarray(frame).data.cast("B"))
        write_message(replies, {"done": True})  # what is checked behind the last frame has been checked


def _as_json(info: VideoInfo) -> dict[str, Any]:
    values = {field.name: getattr(info, field.name) for field in fields(info) if field.name not in _NOT_SENT}
    return values | {"pictures": [str(picture) for picture in info.pictures]}


def _resource() -> ModuleType | None:
    """Python's module for limits, which Windows lacks."""
    try:
        return importlib.import_module("resource")
    except ImportError:
        return None


def _limit_memory(memory_bytes: int) -> None:
    """Ask the system to give this process no more memory, and to keep no picture of it when it crashes."""
    resource = _resource()
    if resource is None:
        return
    wanted = {resource.RLIMIT_CORE: 0}
    if sys.platform == "linux":
        wanted[resource.RLIMIT_AS] = memory_bytes
    for kind, limit in wanted.items():
        _, most = resource.getrlimit(kind)
        value = limit if most == resource.RLIM_INFINITY else min(limit, most)
        resource.setrlimit(kind, (value, value))


def _renew_time(seconds: float) -> None:
    """Ask the system to end this process when it computes far longer than a request may take.

    The other side ends it by the clock anyway. Should that die while this one is caught in a loop, nobody else would.
    """
    resource = _resource()
    if resource is None:
        return
    usage = resource.getrusage(resource.RUSAGE_SELF)
    allowed = int(usage.ru_utime + usage.ru_stime + seconds * (os.cpu_count() or 1)) + 1
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (allowed if most == resource.RLIM_INFINITY else min(allowed, most), most))


if __name__ == "__main__":
    main()
