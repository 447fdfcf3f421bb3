"""Numbers of cases go in; each damaged file is read in a process of its own, and what became of it comes out."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, get_args

from benchmarks.fuzz.cases import Case, case, decode, read_clips
from bimba.errors import InputError, VideoError
from bimba.video.isolation import IsolationError, Limits
from bimba.video.source import Video

LIMITS = Limits(seconds=20.0, memory_bytes=2 * 2**30)
# A file may take the time limit twice, for what it holds and for its frames, and the start of a process.
LONGEST_SECONDS = 2 * LIMITS.seconds + 10.0

Outcome = Literal["frames", "VideoError", "InputError", "time", "memory", "signal", "exit code", "fault"]
"""All promised frames came; an error with a fix, told by the reader; the worker was ended by the clock, by its memory
limit, by a signal (a crash in FFmpeg), or ended by itself (a fault of ours in the worker); any other exception here."""

OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
OUR_FAULTS: frozenset[Outcome] = frozenset({"exit code", "fault"})


@dataclass(frozen=True)
class Result:
    """What became of a damaged file.

    Attributes:
        case: which file.
        outcome: how reading it ended.
        seconds: how long that took.
        told: the error's text; empty if frames came.
    """

    case: Case
    outcome: Outcome
    seconds: float
    told: str


def run_cases(numbers: Sequence[int], folder: Path, num_threads: int) -> Iterator[Result]:
    """Read the damaged files, several at a time, and give the results in the order of the numbers.

    Args:
        numbers: of the cases.
        folder: where the files may be written; the damaged ones are removed again.
        num_threads: how many workers run at a time.
    """
    clips = read_clips(folder)
    with ThreadPoolExecutor(num_threads) as threads:
        yield from threads.map(partial(_run, clips=clips, folder=folder), map(case, numbers))


def _run(file: Case, clips: dict[str, bytes], folder: Path) -> Result:
    path = file.write(clips[file.clip], folder)
    start = time.perf_counter()
    try:
        with Video(path, isolate=LIMITS, **file.reading) as video:
            outcome, told = _outcome(partial(decode, video))
    finally:
        path.unlink()
    return Result(file, outcome, time.perf_counter() - start, told)


def _outcome(read: Callable[[], object]) -> tuple[Outcome, str]:
    try:
        read()
    except IsolationError as error:
        crash: Outcome = "signal" if "(signal " in error.problem else "exit code"
        return crash if error.reason == "crash" else error.reason, error.problem
    except VideoError as error:
        return "VideoError", error.problem
    except InputError as error:
        return "InputError", error.problem
    except Exception as error:  # noqa: BLE001 - counted and named, so that one fault does not hide the next
        return "fault", f"{type(error).__name__}: {error}"
    return "frames", ""


def peak_bytes(*, of_workers: bool) -> int | None:
    """The most memory that this process, or the largest of its ended workers, has had; None where nobody counts it.

    Linux counts what a worker had of this process before it became Python anew, so that the number may be too high.
    """
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_CHILDREN if of_workers else resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
