"""How memory and time until the first word grow with the length of a video: Vamba's, and Qwen2-VL's own attention.

`python -m benchmarks.vamba_prefill` writes `results/<date>-vamba-prefill.md` and a picture beside it (some minutes, on
Linux). `--frames` measures other lengths, `--longest` waits longer for a point.

Each number comes from a process of its own, see `vamba_prefill_point`.
"""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.growth import Chart, draw_growth
from benchmarks.reports import RESULTS, write_report
from benchmarks.vamba_prefill_point import (
    DEPTH,
    FRAME,
    INNER,
    MIXER,
    NUM_TEXT,
    VISION,
    WIDTH,
    Measured,
    Order,
    Way,
    measure,
)

FRAMES = (64, 256, 1024)
ROUNDS = {64: 2}
"""How often the short ones are timed; the fastest counts. The longer ones are timed once."""
MOST_GROWTH = 1.1
"""What is asked for: a frame of a longer video takes at most so many times the memory and the time of one of a shorter
one."""
LIMIT_BYTES = 6 * 2**30
"""Data that a process may have; without a limit the machine would decide where it ends."""
LONGEST_SECONDS = 600.0
SUFFIX = "-vamba-prefill"
_WAYS: dict[Way, str] = {"vamba": "Vamba", "sdpa": "Qwen2-VL, sdpa", "eager": "Qwen2-VL, eager"}

Points = dict[Way, dict[int, Measured | None]]
"""What each length took, by model; None where it took too long."""


def report(frames: Sequence[int], picture: Path, longest: float, num_threads: int) -> str:
    """A section in Markdown; the picture is written beside."""
    points: Points = {}
    for way in _WAYS:
        points[way] = {}
        for count in frames:
            print(f"  {_WAYS[way]}: {count:,} frames", file=sys.stderr, flush=True)
            order = Order(way, count, ROUNDS.get(count, 1), LIMIT_BYTES, num_threads)
            points[way][count] = found = measure(order, longest=longest)
            if found is None or found.above_bytes is None:
                break  # a longer one would not do better
    _draw(picture, points, frames)
    lines = [
        "## Until the first word",
        "",
        (
            f"Frames of noise, {FRAME[1]} x {FRAME[0]}, 32 tokens each, and {NUM_TEXT} tokens of text; float32, one "
            f"process a row, torch with {num_threads} of the cores. Vision tower: {VISION['depth']} layer of width "
            f"{VISION['embed_dim']}. Text: {DEPTH} layers of width {WIDTH}, MLP {INNER}. Mixers: state "
            f"{MIXER['d_state']}. Vamba's layers have mixers and "
            "cross-attention beside what Qwen2-VL's have. Both towers look at 16 frames at a time; Vamba reads so, "
            "too, Qwen2-VL the whole prompt at once. MB are the most memory above the loaded model; of them, keys and "
            f"values are what answering goes on with. A process may have {LIMIT_BYTES / 2**30:.0f} GiB of data "
            f"(RLIMIT_DATA) and {longest:,.0f} s."
        ),
        "",
        (
            "| model | parameters | frames | tokens | MB | keys and values, MB | pixels and tower, s | the rest, s | "
            "seconds | ms a frame |"
        ),
        f"|{' --- |' * 10}",
    ]
    lines += [_row(way, count, found, longest) for way, line in points.items() for count, found in line.items()]
    lines += ["", *_verdicts(points["vamba"]), *_against(points)]
    return "\n".join([*lines, "", f"![Memory and time against frames]({picture.name})"])


def _row(way: Way, count: int, found: Measured | None, longest: float) -> str:
    if found is None:
        return f"| {_WAYS[way]} | | {count:,} | | stopped after {longest:,.0f} s |" + " |" * 5
    begin = f"| {_WAYS[way]} | {found.num_parameters:,} | {count:,} | {found.num_tokens:,} |"
    if found.above_bytes is None:
        return f"{begin} out of memory |" + " |" * 5
    return (
        f"{begin} {found.above_bytes / 1e6:,.0f} | {found.kept_bytes / 1e6:,.0f} | {found.vision_seconds:.1f} | "
        f"{found.read_seconds:.1f} | {found.seconds:.1f} | {1000 * found.seconds / count:.0f} |"
    )


def _verdicts(ours: dict[int, Measured | None]) -> list[str]:
    """Whether ours grows linearly."""
    done = {count: found for count, found in ours.items() if found is not None and found.above_bytes is not None}
    if len(done) < 2:
        return ["Growth is between two lengths at least, which were not measured."]
    (short, first), *_, (long, last) = done.items()
    times = long / short
    memory = (last.above_bytes or 0) / (times * (first.above_bytes or 1))
    seconds = last.seconds / (times * first.seconds)
    begin = f"A frame of {long:,} takes **{{:.2f}}** times the {{}} of one of {short:,} (linear growth: at most "
    return [
        f"* {begin.format(value, what)}{MOST_GROWTH}: {_verdict(value <= MOST_GROWTH)})."
        for value, what in ((memory, "memory"), (seconds, "time"))
    ]


def _against(points: Points) -> list[str]:
    """A sentence for each way that is not ours."""
    lines = []
    for way in list(points)[1:]:
        shared = [count for count in points[way] if _is_done(points[way][count]) and _is_done(points["vamba"][count])]
        ended = [count for count, found in points[way].items() if not _is_done(found)]
        end = "".join(f"; {count:,} frames it did not read" for count in ended)
        if not shared:
            lines.append(f"* {_WAYS[way]} read none{end}.")
            continue
        theirs, ours = points[way][shared[-1]], points["vamba"][shared[-1]]
        if theirs is None or ours is None:
            raise RuntimeError("a length that was read has no numbers.")
        memory = (theirs.above_bytes or 0) / (ours.above_bytes or 1)
        lines.append(
            f"* {_WAYS[way]} takes {memory:.1f} times the memory and {theirs.seconds / ours.seconds:.1f} times the "
            f"time at {shared[-1]:,} frames{end}."
        )
    return lines


def _is_done(found: Measured | None) -> bool:
    return found is not None and found.above_bytes is not None


def _draw(path: Path, points: Points, frames: Sequence[int]) -> None:
    """Memory and time against frames."""
    done = {
        _WAYS[way]: {count: found for count, found in line.items() if found is not None and _is_done(found)}
        for way, line in points.items()
    }
    memory = {name: {n: (one.above_bytes or 0) / 1e6 for n, one in line.items()} for name, line in done.items() if line}
    seconds = {name: {n: one.seconds for n, one in line.items()} for name, line in done.items() if line}
    subtitle = f"32 tokens a frame, {DEPTH} layers of width {WIDTH}, float32; lines end where memory or patience does"
    charts = [
        Chart("Peak memory above the loaded model", "MB", memory),
        Chart("Time until the first word", "seconds", seconds),
    ]
    draw_growth(path, subtitle, frames, charts)


def _verdict(holds: bool) -> str:
    return "holds" if holds else "DOES NOT HOLD"


def main() -> None:
    """Measure, print, write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, nargs="+", default=list(FRAMES), help="lengths to measure")
    parser.add_argument("--longest", type=float, default=LONGEST_SECONDS, help="seconds that a point may take")
    parser.add_argument(
        "--threads", type=int, default=1, help="of torch; on a machine that does more, one disturbs least"
    )
    parser.add_argument("--note", default="", help="a sentence for the report, such as what else the machine did")
    given = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    picture = RESULTS / f"{datetime.now(UTC).date().isoformat()}{SUFFIX}.png"
    section = report(sorted(given.frames), picture, given.longest, given.threads)
    sections = [given.note, section] if given.note else [section]
    print("\n\n".join(sections))
    print(f"written to {write_report('Reading a video before the first word', sections, suffix=SUFFIX)}")


if __name__ == "__main__":
    main()
