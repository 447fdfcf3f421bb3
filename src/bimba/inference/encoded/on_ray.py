"""The videos of a library in, each encoded by one of several workers of a Ray cluster out (extra `ray`).

Each worker holds a model and writes what it encodes itself, so that nothing large travels; the videos and the library
have to be where all machines of the cluster see them. What a worker that is lost was at, another one does again: a file
is there whole or not at all.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bimba.errors import BimbaError, InputError
from bimba.inference.encoded.encoding import Encoding
from bimba.inference.encoded.library import Entry, Outcome, State, foreign, keep
from bimba.inference.video_qa import VideoQA


def encode_on_ray(
    entries: Sequence[Entry], encoding: Encoding, *, workers: int | None, overwrite: bool
) -> Iterator[Outcome]:
    """Encode videos on a Ray cluster: the one that RAY_ADDRESS names, or this machine.

    Args:
        entries: of a library.
        encoding: which model, and how it looks at them; each worker loads it.
        workers: how many; None for one on each GPU, or one where there is none.
        overwrite: as in `pending`.

    Yields:
        what became of each, as they come.

    Raises:
        InputError: Ray is not installed, a file cannot be written, or something that may not be overwritten is there.
    """
    ray = _ray()
    # What it says of itself at each start is for its developers.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.init(include_dashboard=False, log_to_driver=False, logging_level="error", ignore_reinit_error=True)
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        there = ray.cluster_resources()
        gpus = int(there.get("GPU", 0))
        count = workers or max(gpus, 1)
        share = {"num_gpus": 1} if gpus else {"num_cpus": max(1, int(there.get("CPU", 1)) // count)}
        rows = [{"video": str(one.video.absolute()), "target": str(one.target.absolute())} for one in entries]
        done = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
            _Worker,
            fn_constructor_kwargs={"encoding": encoding, "overwrite": overwrite},
            compute=ray.data.ActorPoolStrategy(size=count),
            **share,
        )
        for row in done.iter_rows():
            if row["is_fatal"]:
                raise InputError(row["problem"], fix=row["fix"])
            entry = Entry(Path(row["video"]), Path(row["target"]))
            yield Outcome(entry, row["num_tokens"], row["problem"], row["fix"], was_there=row["was_there"])
    finally:
        ray.shutdown()


class _Worker:
    """Encodes videos with a model of its own.

    Args:
        encoding: which model, and how it looks at videos.
        overwrite: as in `pending`.
    """

    def __init__(self, encoding: Encoding, overwrite: bool) -> None:
        self._encoding, self._overwrite = encoding, overwrite
        # What is wrong with the model is told with the first video, since Ray would wrap it here.
        self._qa: VideoQA | None = None

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """What became of one; errors travel as texts, since Ray would wrap them."""
        entry = Entry(Path(row["video"]), Path(row["target"]))
        result = row | {"num_tokens": 0, "problem": "", "fix": "", "is_fatal": False, "was_there": False}
        try:
            if self._qa is None:
                self._qa = self._encoding.load()
        except BimbaError as error:
            return result | _failed(error, is_fatal=True)
        try:
            state, reason = entry.state(self._qa.encoder_identity, self._encoding.settings(self._qa))
            if state is State.DONE:
                return result | {"was_there": True}
            if state is State.FOREIGN and not self._overwrite:
                return result | _failed(foreign(entry, reason), is_fatal=True)
            encoded = self._encoding.encode(self._qa, entry.video)
        except BimbaError as error:
            return result | _failed(error, is_fatal=False)
        try:
            keep(encoded, entry)
        except InputError as error:
            return result | _failed(error, is_fatal=True)
        return result | {"num_tokens": len(encoded.features)}


def _failed(error: BimbaError, *, is_fatal: bool) -> dict[str, Any]:
    return {"problem": error.problem, "fix": error.fix, "is_fatal": is_fatal}


def _ray() -> Any:
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise InputError("--engine ray needs Ray, which is not installed.", fix='pip install "bimba[ray]"') from error
    return ray
