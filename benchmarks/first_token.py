"""Where the time to the first token goes, stage by stage, with the tiny model on a video made here."""

import statistics
import tempfile
from pathlib import Path

import torch

from bimba.inference import VideoQA
from bimba.models.bimba.tiny import tiny_model
from bimba.needles import make_needles

RUNS = 5
NUM_FRAMES = (8, 64)
STAGES = ("probe", "prompt", "decode", "pixels", "vision", "project", "compress", "first_token")


def measure(qa: VideoQA, video: Path, num_frames: int) -> dict[str, float]:
    """Median seconds of each stage."""
    runs = [qa.ask(video, "What appears?", num_frames=num_frames, max_new_tokens=2).timings for _ in range(RUNS + 1)]
    return {stage: statistics.median(run[stage] for run in runs[1:]) for stage in STAGES}


def report() -> str:
    """A table in Markdown: seconds and share of each stage."""
    qa = VideoQA(*tiny_model(seed=0))
    with tempfile.TemporaryDirectory() as folder:
        run = make_needles(folder, seconds=60.0, size=(448, 336))
        video = run.folder / run.manifest.videos[0].file
        columns = {count: measure(qa, video, count) for count in NUM_FRAMES}
    lines = [
        (
            f"## Time to the first token (tiny model, 60 s of 448 x 336 at 25 a second, median of {RUNS} runs, "
            f"{torch.get_num_threads()} threads)"
        ),
        "",
        "| stage | " + " | ".join(f"{count} frames: s | share" for count in NUM_FRAMES) + " |",
        "| --- |" + " --- | --- |" * len(NUM_FRAMES),
    ]
    for stage in STAGES:
        cells = [f"{seconds[stage]:.4f} | {seconds[stage] / sum(seconds.values()):.0%}" for seconds in columns.values()]
        lines.append(f"| {stage} | " + " | ".join(cells) + " |")
    totals = [f"{sum(seconds.values()):.4f} | 100%" for seconds in columns.values()]
    lines.append("| all | " + " | ".join(totals) + " |")
    lines += ["", "The tiny model has 5 x 5 patches a frame; with the released model vision and scan weigh far more."]
    return "\n".join(lines)
