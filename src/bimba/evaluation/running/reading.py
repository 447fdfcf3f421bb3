"""Claimed units in; their videos' frames, read and resized in a thread while the model thinks, out.

What was read waits in a queue of a few chunks, so that memory does not grow with the video, and neither side waits for
the other for longer than it has to.
"""

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from bimba.errors import VideoError
from bimba.evaluation.benchmarks import Footage, open_footage
from bimba.evaluation.running.claims import Claim
from bimba.inference.clip import Clip
from bimba.inference.opening import Opened
from bimba.video.info import FileStamp

P = TypeVar("P")

NUM_CHUNKS = 8
"""That wait at most, of a video or of several."""
_PATIENCE_SECONDS = 0.2


@dataclass(frozen=True)
class Reading(Generic[P]):
    """A video on its way.

    Attributes:
        claim: of its unit.
        clip: the frames that are read, with their times; None if the video cannot be opened.
        stamp: of the file.
        chunks: what the answerer makes of the frames; raises VideoError where one cannot be decoded.
        problem: why the video cannot be opened.
    """

    claim: Claim
    clip: Clip | None
    stamp: str
    chunks: Iterator[P]
    problem: str | None = None


@dataclass(frozen=True)
class _Opened:
    claim: Claim
    clip: Clip | None
    stamp: str
    problem: str | None


@dataclass(frozen=True)
class _Ended:
    error: VideoError | None


@dataclass(frozen=True)
class _Crashed:
    error: BaseException


@dataclass(frozen=True)
class _Done:
    pass


class Reader(Generic[P]):
    """Reads videos ahead; a context manager, whose end stops the thread and releases what it holds.

    Args:
        claims: units, taken as their turn comes; None while there is nothing to do but wait.
        find: the file of a unit's video.
        choose: the frames of a video.
        make: what the answerer makes of a clip's frames, without its model.
        on_start: called once in the thread (to pin it to a core, say).
    """

    def __init__(
        self,
        claims: Iterator[Claim | None],
        *,
        find: Callable[[Footage], Path],
        choose: Callable[[Opened], Clip],
        make: Callable[[Clip], Iterator[P]],
        on_start: Callable[[], None] | None = None,
    ) -> None:
        self._claims, self._find, self._choose, self._make = claims, find, choose, make
        self._on_start = on_start
        self._queue: queue.Queue[_Opened | _Ended | _Crashed | _Done | P] = queue.Queue(NUM_CHUNKS)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._read_all, name="bimba-reader", daemon=True)
        self._held: list[Claim] = []

    def __enter__(self) -> "Reader[P]":
        self._thread.start()
        return self

    def __exit__(self, *reason: object) -> None:
        self._stopped.set()
        self._thread.join()
        for claim in self._held:
            claim.release()

    def __iter__(self) -> Iterator[Reading[P]]:
        """Videos in the order of their claims; each is to be used up before the next is taken."""
        while True:
            item = self._queue.get()
            if isinstance(item, _Done):
                return
            if isinstance(item, _Crashed):
                raise item.error
            if not isinstance(item, _Opened):
                raise TypeError(f"a chunk of the last video is left: {item!r}")
            chunks = self._chunks()
            yield Reading(item.claim, item.clip, item.stamp, chunks, item.problem)
            for _ in chunks:  # what a failed answer did not take
                pass
            self._held.remove(item.claim)

    def _chunks(self) -> Iterator[P]:
        while True:
            item = self._queue.get()
            if isinstance(item, _Crashed):
                raise item.error
            if isinstance(item, _Ended):
                if item.error is not None:
                    raise item.error
                return
            if isinstance(item, _Opened | _Done):
                raise TypeError("a video did not end")
            yield item

    def _read_all(self) -> None:
        try:
            if self._on_start is not None:
                self._on_start()
            for claim in self._claims:
                if self._stopped.is_set():
                    return
                if claim is None:  # others hold what is left
                    continue
                self._held.append(claim)
                if not self._read(claim):
                    return
            self._put(_Done())
        except BaseException as error:  # noqa: BLE001 - it is raised again where the videos are used
            self._put(_Crashed(error))

    def _read(self, claim: Claim) -> bool:
        """Read a video; whether to go on with the next."""
        stamp = ""
        try:
            path = self._find(claim.unit.footage)
            stamp = "{}-{}".format(*FileStamp.of(path))
            clip = self._choose(open_footage(path, claim.unit.footage))
        except VideoError as error:
            return self._put(_Opened(claim, None, stamp, error.problem)) and self._put(_Ended(None))
        if not self._put(_Opened(claim, clip, stamp, None)):
            return False
        try:
            for chunk in self._make(clip):
                if not self._put(chunk):
                    return False
        except VideoError as error:
            return self._put(_Ended(error))
        return self._put(_Ended(None))

    def _put(self, item: _Opened | _Ended | _Crashed | _Done | P) -> bool:
        """Queue something; whether somebody still wants it."""
        while not self._stopped.is_set():
            try:
                self._queue.put(item, timeout=_PATIENCE_SECONDS)
            except queue.Full:
                continue
            return True
        return False
