"""A small benchmark with videos, and something that answers without a model, for tests of the runner."""

import json
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from bimba.evaluation.answering import Query
from bimba.evaluation.benchmarks import Question, find_benchmark, prepare, prepared_questions
from bimba.evaluation.provenance import session
from bimba.evaluation.running import BenchmarkEvaluation, Ran, run_benchmark
from bimba.inference.clip import Clip
from bimba.inference.encoded import EncodedVideo
from bimba.needles import make_needles

NUM_VIDEOS, PER_VIDEO = 6, 3


def make_benchmark(folder: Path, *, videos: int = NUM_VIDEOS, per_video: int = PER_VIDEO) -> Path:
    """Annotations, prepared, and videos of a few frames (six different ones and copies of them), below a folder."""
    made = min(videos, NUM_VIDEOS)
    make_needles(folder / "videos", videos=made, seconds=2, fps=4, size="64x48", needles=1, needle_seconds=1)
    for number in range(made, videos):
        shutil.copy(folder / f"videos/video_{number % made:05d}.mp4", folder / f"videos/video_{number:05d}.mp4")
    records = [
        {
            "id": number,
            "video": f"video_{number % videos:05d}.mp4",
            "question": f"What is it, {number}?",
            "question_type": ("action", "speed")[number % 2],
            "candidates": ["A. a dog", "B. a cat", "C. a cow"],
            "answer": "ABC"[number % 3],
        }
        for number in range(videos * per_video)
    ]
    (folder / "short.json").write_text(json.dumps(records))
    prepare(find_benchmark("tempcompass"), folder / "short.json", folder / "prepared", any_count=True)
    return folder


def questions_of(folder: Path) -> list[Question]:
    return prepared_questions(find_benchmark("tempcompass"), folder / "prepared")[1]


class Parrot:
    """Answers by a rule that knows nothing of the process that it runs in.

    Args:
        seconds: that an answer takes.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self._seconds = seconds

    def check(self, num_frames: int) -> None:
        """Any length will do."""

    def accept(self, encoded: EncodedVideo, num_frames: int, sampling: str) -> None:
        """Whatever was encoded will do."""

    def chunks(self, clip: Clip) -> Iterator[int]:
        return (int(frame.sum()) for frame in clip.frames())

    def say(self, chunks: Iterable[int], queries: Sequence[Query]) -> list[str]:
        total = sum(chunks)
        time.sleep(self._seconds * len(queries))
        return [f"({'ABCX'[(total + len(query.turn or '')) % 4]})" for query in queries]

    def choose(self, chunks: Iterable[int], queries: Sequence[Query], letters: Sequence[str]) -> list[list[float]]:
        total = sum(chunks)
        return [
            [-float((total + place + len(query.turn or "")) % 5) for place in range(len(letters))] for query in queries
        ]

    def session(self) -> dict[str, Any]:
        return session(torch.device("cpu"), torch.float32)


def settings(model: str | Path, **changes: Any) -> BenchmarkEvaluation:
    return BenchmarkEvaluation.checked({"benchmark": "tempcompass", "model": str(model), "frames": 4} | changes)


def ran(folder: Path, model: Path, out: Path, *, seconds: float = 0.0, **changes: Any) -> Ran:
    """Run with the parrot; a model is needed for its hash alone."""
    options = {name: changes.pop(name) for name in ("limit", "on_progress", "videos", "subtitles") if name in changes}
    videos = options.pop("videos", folder / "videos")
    return run_benchmark(
        settings(model, **changes),
        out,
        videos,
        prepared=folder / "prepared",
        answerer=lambda: Parrot(seconds),
        **options,
    )
