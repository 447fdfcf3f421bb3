"""What a second question costs: of a chat, of an encoded file, beside the first question about a ten-minute video."""

import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import bimba
from benchmarks.reports import write_report
from bimba.inference import Answer, VideoQA
from bimba.models.bimba.tiny import tiny_model
from bimba.needles import make_needles

NUM_ROUNDS = 5
MOST = 1 / 20
"""Asked for: time to the first token of the second question over that of the first."""
FIRST, SECOND = "What appears first in the video?", "How many digits are shown?"


def first_token(answer: Answer) -> float:
    """Seconds from the call to the first token."""
    timings = answer.timings
    return timings["total"] - timings["generate"] + timings["first_token"]


def report() -> str:
    """A table in Markdown."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = make_needles(folder / "video", seconds=600.0, size=(640, 360), fps=25, needles=4)
        video = run.folder / run.manifest.videos[0].file
        models = {"the tiny model": VideoQA(*tiny_model(seed=0)), "bimba-nano": bimba.load("bimba-nano", device="cpu")}
        rows = [_row(called, qa, video, folder / "video.bimba") for called, qa in models.items()]
    told = (
        f"A video of 10 minutes, 640 x 360, 25 frames a second; 64 frames; medians of {NUM_ROUNDS} rounds. Seconds "
        "from the call to the first token; a first question reads, looks at and compresses the video, the second one "
        "of a chat reads what it adds, and one about an encoded file reads the file and the prompt."
    )
    head = "| model | first question | second, in a chat | of the first | any, of an encoded file | of the first |"
    table = "\n".join([head, "| --- | --- | --- | --- | --- | --- |", *rows])
    asked_for = f"At most {MOST:.2f} of the first is asked for on the tiny model."
    return f"## A second question\n\n{told}\n\n{table}\n\n{asked_for}"


def _row(called: str, qa: VideoQA, video: Path, file: Path) -> str:
    options: dict[str, Any] = {"max_new_tokens": 4}
    qa.ask(video, FIRST, **options)  # compiles the kernels
    qa.encode(video).save(file)
    firsts, seconds, encoded = [], [], []
    for _ in range(NUM_ROUNDS):
        firsts.append(first_token(qa.ask(video, FIRST, **options)))
        chat = qa.chat(video)
        chat.ask(FIRST, **options)
        seconds.append(first_token(chat.ask(SECOND, **options)))
        encoded.append(first_token(qa.ask(file, SECOND, **options)))
    first, second, of_file = median(firsts), median(seconds), median(encoded)
    cells = [called, f"{first:.3f}"]
    for value in (second, of_file):
        share = value / first
        cells += [f"{value:.3f}", f"**{share:.3f}** ({'holds' if share <= MOST else 'DOES NOT HOLD'})"]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    print(write_report("A second question", [report()], suffix="-second-question"))
