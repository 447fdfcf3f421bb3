"""What a benchmark's run costs: 200 questions, a second question about a video, and reading ahead on another core."""

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numba
import torch

import bimba
from benchmarks.reports import write_report
from bimba.checkpoints.shipped import NANO
from bimba.evaluation.answering import Query
from bimba.evaluation.benchmarks import find_benchmark, prepare
from bimba.evaluation.running import Answerer, BenchmarkEvaluation, BimbaAnswerer, Progress, run_benchmark
from bimba.inference import VideoQA
from bimba.inference.clip import Clip
from bimba.inference.encoded import EncodedVideo
from bimba.models.bimba.tiny import tiny_model
from bimba.needles import make_needles

NUM_VIDEOS, PER_VIDEO = 40, 5
NUM_OVERLAPPED = 8
NUM_FRAMES = 64
NUM_ROUNDS = 5
MOST_OVERLAPPED, MOST_SECOND = 1.15, 0.1
"""What is asked for: wall time over the larger of reading and thinking alone; a second question over a first."""


class Half:
    """An answerer of which only one half works: it reads and does not think, or thinks about what was read before.

    Args:
        whole: that does both.
        read: chunks of a video that are there already; None to read them.
    """

    def __init__(self, whole: BimbaAnswerer, read: list[Any] | None = None) -> None:
        self._whole, self._read = whole, read

    def check(self, num_frames: int) -> None:
        """Any length will do."""

    def accept(self, encoded: EncodedVideo, num_frames: int, sampling: str) -> None:
        """Whatever was encoded will do."""

    def chunks(self, clip: Clip) -> Iterator[Any]:
        """Read, or give what is there."""
        return self._whole.chunks(clip) if self._read is None else iter(self._read)

    def say(self, chunks: Iterable[Any], queries: Sequence[Query]) -> list[str]:
        """Take the chunks, or think about them."""
        if self._read is None:
            return [str(sum(1 for _ in chunks)) for _ in queries]
        return self._whole.say(chunks, queries)

    def choose(self, chunks: Iterable[Any], queries: Sequence[Query], letters: Sequence[str]) -> list[list[float]]:
        """Answers in words are measured."""
        raise NotImplementedError

    def session(self) -> dict[str, Any]:
        """As the whole."""
        return self._whole.session()


def make_benchmark(folder: Path, videos: int, per_video: int) -> Path:
    """Videos of 640 x 360, and questions about them, prepared."""
    records = [
        {
            "id": number,
            "video": f"video_{number % videos:05d}.mp4",
            "question": f"What appears first in the video? ({number})",
            "candidates": ["A. a red star", "B. the digit 7", "C. a dog"],
            "answer": "A",
        }
        for number in range(videos * per_video)
    ]
    place = folder / f"{videos}x{per_video}"
    place.mkdir()
    (place / "short.json").write_text(json.dumps(records))
    prepare(find_benchmark("tempcompass"), place / "short.json", place, any_count=True)
    return place


def timed(make: Callable[[], Answerer], prepared: Path, videos: Path, **options: Any) -> tuple[float, dict[str, Any]]:
    """Seconds from when the model is there to the last answer, and the results of the run.

    Hashing the model and writing the report are not in them: they would hide what is asked for.
    """
    begun = ended = 0.0

    def made() -> Answerer:
        nonlocal begun
        answerer = make()
        begun = time.perf_counter()
        return answerer

    def answered(_: Progress) -> None:
        nonlocal ended
        ended = time.perf_counter()

    settings = BenchmarkEvaluation.checked({"benchmark": "tempcompass", "model": NANO, "frames": NUM_FRAMES})
    with tempfile.TemporaryDirectory() as out:
        ran = run_benchmark(
            settings, Path(out), videos, prepared=prepared, answerer=made, on_progress=answered, **options
        )
        if ran.results is None:
            raise RuntimeError("the run is not over")
        return ended - begun, ran.results


def report() -> str:
    """Tables in Markdown."""
    nano = BimbaAnswerer(bimba.load(NANO, device="cpu"), max_new_tokens=16, batch_size=8)
    tiny = BimbaAnswerer(VideoQA(*tiny_model(seed=0)), max_new_tokens=16, batch_size=8)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        videos = folder / "videos"
        make_needles(videos, videos=NUM_VIDEOS, seconds=20.0, size=(640, 360), fps=10, needles=2)
        whole = make_benchmark(folder, NUM_VIDEOS, PER_VIDEO)
        one, two = (make_benchmark(folder, NUM_OVERLAPPED, count) for count in (1, 2))
        timed(lambda: nano, one, videos)  # compiles the kernels
        seconds, results = timed(lambda: tiny, whole, videos)
        asked = results["covers"]["answered"]
        answered = f"{asked:,} questions about {NUM_VIDEOS} videos of 640 x 360 ({NUM_FRAMES} frames each)"
        parts = (
            "## A benchmark's run",
            f"The tiny model answered {answered} in {seconds:.1f} s.",
            _second_question(nano, one, two, videos),
            _overlap(nano, one, videos),
        )
    return "\n\n".join(parts)


def _second_question(nano: BimbaAnswerer, one: Path, two: Path, videos: Path) -> str:
    """One question about each video, and two about each, taking turns."""
    rounds = [[timed(lambda: nano, prepared, videos)[0] for prepared in (one, two)] for _ in range(NUM_ROUNDS)]
    first = median(single for single, _ in rounds)
    second = median(double for _, double in rounds) - first
    rounds_seen = ", ".join(f"{(double - single) / first:.3f}" for single, double in rounds)
    share = second / first
    return (
        f"bimba-nano, {NUM_OVERLAPPED} videos, {NUM_ROUNDS} rounds: a second question about each costs **{share:.3f}** "
        f"of the first (below {MOST_SECOND} is asked for: {_verdict(share < MOST_SECOND)}). Round by round: "
        f"{rounds_seen}; what is below 0 is noise."
    )


def _overlap(nano: BimbaAnswerer, prepared: Path, videos: Path) -> str:
    """Reading on one core, thinking on another."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        return "This machine has one core: reading ahead is not measured."
    threads = torch.get_num_threads(), numba.get_num_threads()
    torch.set_num_threads(1)
    numba.set_num_threads(1)
    os.sched_setaffinity(0, {cores[0]})

    def pin_reader() -> None:
        os.sched_setaffinity(0, {cores[1]})

    try:
        kept: list[Any] = []
        timed(lambda: _Keeping(nano, kept), prepared, videos, on_reader_start=pin_reader, limit=1)
        reading, _ = timed(lambda: Half(nano), prepared, videos, on_reader_start=pin_reader)
        thinking, _ = timed(lambda: Half(nano, kept), prepared, videos, on_reader_start=pin_reader)
        wall, _ = timed(lambda: nano, prepared, videos, on_reader_start=pin_reader)
    finally:
        os.sched_setaffinity(0, set(cores))
        torch.set_num_threads(threads[0])
        numba.set_num_threads(threads[1])
    share = wall / max(reading, thinking)
    return (
        f"Reading on one core takes {reading:.2f} s, thinking on another {thinking:.2f} s, both together {wall:.2f} s: "
        f"**{share:.3f}** of the larger (at most {MOST_OVERLAPPED} is asked for: {_verdict(share <= MOST_OVERLAPPED)})."
    )


def _verdict(holds: bool) -> str:
    return "holds" if holds else "DOES NOT HOLD"


class _Keeping(Half):
    """Reads a video and keeps its chunks."""

    def __init__(self, whole: BimbaAnswerer, kept: list[Any]) -> None:
        super().__init__(whole)
        self._kept = kept

    def say(self, chunks: Iterable[Any], queries: Sequence[Query]) -> list[str]:
        """Keep the chunks."""
        self._kept += chunks
        return ["" for _ in queries]


if __name__ == "__main__":
    print(write_report("A benchmark's run", [report()], suffix="-evaluation"))
