"""A number of frames in; processor time and memory of an answer, and of finding what it rests on, out.

`python -m benchmarks.evidence_cost FRAMES` is a process that measures bimba-nano and prints one line of JSON. Linux
alone tells the memory.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from unittest.mock import patch

import numpy as np
import torch

import bimba
from bimba.checkpoints.shipped import NANO
from bimba.cli.bench.peak import begin_peak, peak_bytes
from bimba.inference import AnswerStream, VideoQA
from bimba.inference.free_memory import return_free_memory

LENGTHS = (60, 240)
_QUESTION = "What appears first in the video?"
_LONGEST = 1800.0
NAMES = {
    "answer": "the answer alone, from frames to its end",
    "gradient": "evidence by gradients, after it",
    "kept": "the same, with the inside of all layers kept",
    "occlusion": "evidence by occlusion, after it",
}


def report() -> str:
    """Table of what evidence costs, and the same as a multiple of the answer."""
    rows = []
    for num_frames in LENGTHS:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.evidence_cost", str(num_frames)],
            capture_output=True, text=True, check=True, timeout=_LONGEST,
        )  # fmt: skip
        measured: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
        first_seconds, first_bytes = measured["answer"]
        for name, (seconds, num_bytes) in measured.items():
            rows.append(
                f"| {num_frames} | {NAMES[name]} | {seconds:.2f} | {seconds / first_seconds:.1f} | "
                f"{num_bytes / 1e6:.0f} | {num_bytes / first_bytes:.1f} |"
            )
    return "\n".join(
        [
            "## What it costs",
            "",
            "One thread, in a process of its own for each length; processor time, not time on the clock. Memory is the",
            "most above what was in use before: for evidence, with the model and the answered video in memory.",
            "",
            "| frames | what | seconds | times the answer | memory in MB | times the answer's |",
            "| ---: | --- | ---: | ---: | ---: | ---: |",
            *rows,
        ]
    )


def main() -> None:
    """Measure, and print JSON."""
    torch.set_num_threads(1)
    qa = bimba.load(NANO)
    _answered(qa, 8).evidence()  # compiled code and the libraries' buffers are not what is measured
    num_frames = int(sys.argv[1])
    streams: list[AnswerStream] = []
    measured = {"answer": _measured(lambda: streams.append(_answered(qa, num_frames)))}
    stream = streams[0]
    measured["gradient"] = _measured(stream.evidence)
    with patch("bimba.inference.evidence.find.recomputed_layers", lambda model: nullcontext()):  # noqa: ARG005
        measured["kept"] = _measured(stream.evidence)
    measured["occlusion"] = _measured(lambda: stream.evidence(method="occlusion"))
    print(json.dumps(measured))


def _answered(qa: VideoQA, num_frames: int) -> AnswerStream:
    """A stream about frames of noise that has come to its end."""
    frames = np.random.default_rng(0).integers(0, 256, (num_frames, 72, 128, 3), dtype=np.uint8)
    stream = qa.stream(frames, _QUESTION, max_new_tokens=8)
    for _ in stream:
        pass
    return stream


def _measured(work: Callable[[], object]) -> tuple[float, float]:
    """Processor seconds, and the most bytes above those in use before."""
    # Free memory that the process still holds would hide what is taken from it.
    return_free_memory()
    before, begun = begin_peak(), time.process_time()
    work()
    seconds, peak = time.process_time() - begun, peak_bytes()
    if before is None or peak is None:
        raise SystemExit("this system does not tell how much memory a process has.")
    return seconds, float(max(peak - before, 0))


if __name__ == "__main__":
    main()
