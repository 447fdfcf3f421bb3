"""How memory and time of encoding grow with the length of a video: ours, in pieces, and the whole video at once.

`python -m benchmarks.long_video` writes `results/<date>-long-video.md` and a picture beside it (below ten minutes, on
Linux). `--released` measures the compressor alone at the released model's width instead, which takes long and 4 GB.

Each number comes from a process of its own, see `long_video_point`.
"""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from math import ceil
from pathlib import Path

import numpy as np

from benchmarks.decoding import packets_needed
from benchmarks.growth import Chart, draw_growth
from benchmarks.long_video_point import DIM, PATCHES, PIECE, Measured, Order, measure
from benchmarks.moving_pictures import FPS
from benchmarks.reports import RESULTS, write_report
from benchmarks.two_hours import HEIGHT, KEYFRAMES_EVERY, SECONDS, WIDTH, write_two_hours

FRAMES = (64, 256, 1024, 3600, 14400)
SHORT, LONG = 64, 3600
BUDGET = 12_544
"""Queries of 64 frames, 14 x 14 each."""
ROUNDS = {64: 5, 256: 3}
"""How often the short ones are timed; the fastest counts. The longer ones are timed once."""
MOST_MEMORY, MOST_TIME = 1.2, 1.1
"""What is asked for: memory of 3,600 frames over that of 64; time over 56.25 times that of 64."""
LIMIT_BYTES = 2 * 2**30
"""Data that the process of the whole video may have; without a limit the machine would decide where it ends."""
SUFFIX = "-long-video"
_LONGEST = 1200.0
_STAGES = ("decode", "pixels", "vision", "project", "compress")
_WAYS = {"pieces": f"in pieces of {PIECE}", "whole": "whole at once"}


def report(frames: Sequence[int], picture: Path) -> list[str]:
    """Sections in Markdown; the picture is written beside."""
    ours = {count: _measured("pieces", count) for count in frames}
    whole: dict[int, Measured] = {}
    for count in frames:
        whole[count] = _measured("whole", count)
        if whole[count].ended:
            break
    _draw(picture, {"pieces": ours, "whole": whole})
    return [_made(ours, whole, picture), _file()]


def pooling_for(num_frames: int) -> tuple[int, int]:
    """Pooling over time, of no more frames than are a piece, and over space that leaves about the budget of queries.

    Returns:
        factors (temporal, spatial) whose number of queries is nearest to it.
    """
    factors = [(k, p) for k in range(1, min(PIECE, num_frames) + 1) for p in range(1, PATCHES + 1)]
    return min(factors, key=lambda pair: abs(num_frames // pair[0] * ceil(PATCHES / pair[1]) ** 2 - BUDGET))


def released() -> str:
    """The compressor alone at the released width, 64 and 256 frames."""
    lines = [
        "## The compressor of the released model",
        "",
        (
            f"Width 3,584, float32, random weights and tokens, {PATCHES} x {PATCHES} patches a frame, in pieces of "
            f"{PIECE} frames; the weights are loaded before."
        ),
        "",
        "| frames | pooling | queries | weights and libraries, MB | peak above them, MB | seconds |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for num_frames, temporal_pooling in ((64, 1), (256, 4)):
        print(f"  compressor: {num_frames} frames", file=sys.stderr, flush=True)
        measured = measure(Order("compressor", num_frames, temporal_pooling, 2), longest=_LONGEST)
        lines.append(
            f"| {num_frames} | {temporal_pooling} x 2 x 2 | {measured.num_queries:,} | {_mb(measured.loaded_bytes)} | "
            f"{_mb(measured.above_bytes)} | {measured.seconds[0]:.0f} |"
        )
    return "\n".join(lines)


def _measured(what: str, num_frames: int) -> Measured:
    print(f"  {_WAYS[what]}: {num_frames:,} frames", file=sys.stderr, flush=True)
    pooling = pooling_for(num_frames)
    if what == "whole":
        return measure(Order("whole", num_frames, *pooling, limit_bytes=LIMIT_BYTES), longest=_LONGEST)
    return measure(Order("pieces", num_frames, *pooling, rounds=ROUNDS.get(num_frames, 1)), longest=_LONGEST)


def _made(ours: dict[int, Measured], whole: dict[int, Measured], picture: Path) -> str:
    """Frames made on the fly."""
    lines = [
        "## Frames that are made on the fly",
        "",
        (
            f"The tiny model, widened: {PATCHES} x {PATCHES} patches a frame, width {DIM}, a vision tower of one "
            f"layer. Pooling is chosen so that about {BUDGET:,} queries are left of every length, from no more frames "
            f"than the {PIECE} of a piece. Memory is anonymous memory at its peak, in all and above the loaded model; "
            "seconds are the fastest of the rounds, decoding runs beside the other stages."
        ),
        "",
        f"| way | frames | pooling | queries | MB | MB above | rounds | seconds | ms a frame | {' | '.join(_STAGES)} |",
        f"|{' --- |' * (9 + len(_STAGES))}",
    ]
    for what, points in (("pieces", ours), ("whole", whole)):
        lines += [_row(what, count, measured) for count, measured in points.items()]
    ended = [f"{count:,} frames, in `{measured.ended}`" for count, measured in whole.items() if measured.ended]
    where = (
        f"it ran out of memory at {ended[0]}: its process may have {LIMIT_BYTES / 2**30:.0f} GiB of data (RLIMIT_DATA)"
        if ended
        else f"it never ran out of the {LIMIT_BYTES / 2**30:.0f} GiB that its process may have"
    )
    lines += ["", f"The whole video at once (pixels of all frames, `get_video_features`): {where}.", "", *_bars(ours)]
    return "\n".join([*lines, "", f"![Memory and time against frames]({picture.name})"])


def _row(what: str, num_frames: int, measured: Measured) -> str:
    temporal, spatial = pooling_for(num_frames)
    begin = f"| {_WAYS[what]} | {num_frames:,} | {temporal} x {spatial} x {spatial} | {measured.num_queries:,} |"
    if measured.ended:
        return begin + " out of memory |" + " |" * (4 + len(_STAGES))
    seconds = min(measured.seconds)
    stages = [f"{measured.stages[name]:.2f}" if name in measured.stages else "" for name in _STAGES]
    return (
        f"{begin} {_mb(measured.peak_bytes)} | {_mb(measured.above_bytes)} | {len(measured.seconds)} | {seconds:.2f} | "
        f"{1000 * seconds / num_frames:.1f} | {' | '.join(stages)} |"
    )


def _bars(ours: dict[int, Measured]) -> list[str]:
    """Whether what is asked for holds."""
    if not {SHORT, LONG} <= ours.keys():
        return [f"What is asked for is about {SHORT} and {LONG:,} frames, which were not both measured."]
    short, long = ours[SHORT], ours[LONG]
    growth = LONG / SHORT
    memory = _ratio(long.peak_bytes, short.peak_bytes)
    above = _ratio(long.above_bytes, short.above_bytes)
    seconds = min(long.seconds) / (growth * min(short.seconds))
    return [
        (
            f"* Memory of {LONG:,} frames is **{memory:.2f}** times that of {SHORT} (at most {MOST_MEMORY} is asked "
            f"for: {_verdict(memory <= MOST_MEMORY)}). What is above the loaded model is {above:.2f} times as much."
        ),
        (
            f"* Time of {LONG:,} frames is **{seconds:.2f}** times {growth:g} x that of {SHORT} (at most {MOST_TIME} "
            f"is asked for: {_verdict(seconds <= MOST_TIME)})."
        ),
    ]


def _file() -> str:
    """A file of two hours, and the same for its beginning."""
    path = write_two_hours()
    lines = [
        "## A file of two hours",
        "",
        (
            f"{SECONDS * FPS:,} frames of H.264, {WIDTH} x {HEIGHT}, {FPS} a second, a keyframe every "
            f"{KEYFRAMES_EVERY}, with B-frames; {path.stat().st_size / 1e6:.0f} MB. One frame a second is taken."
        ),
        "",
        "| what | frames | queries or tokens | MB | MB above | seconds |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    points: dict[tuple[str, int], Measured] = {}
    for count in (SHORT, SECONDS):
        for what in ("plan", "pieces"):
            print(f"  file, {what}: {count:,} frames", file=sys.stderr, flush=True)
            measured = points[what, count] = measure(_order(what, count, path), longest=_LONGEST)
            name = "`bimba plan`" if what == "plan" else "encode"
            lines.append(
                f"| {name} | {count:,} | {measured.num_queries:,} | {_mb(measured.peak_bytes)} | "
                f"{_mb(measured.above_bytes)} | {measured.seconds[0]:.1f} |"
            )
    ratios = [_ratio(points[what, SECONDS].peak_bytes, points[what, SHORT].peak_bytes) for what in ("plan", "pieces")]
    held = _verdict(max(ratios) <= MOST_MEMORY)
    lines += [
        "",
        (
            f"* Memory of {SECONDS:,} frames over that of {SHORT}: `bimba plan` **{ratios[0]:.2f}**, encoding "
            f"**{ratios[1]:.2f}** (at most {MOST_MEMORY}: {held})."
        ),
        *(_decoded(points["pieces", count], count, path) for count in (SHORT, SECONDS)),
    ]
    return "\n".join(lines)


def _order(what: str, num_frames: int, path: Path) -> Order:
    if what == "pieces":
        return Order("pieces", num_frames, *pooling_for(num_frames), video=str(path))
    words = [str(path), "--frames", str(num_frames), "--sampling", "fps", "--end", str(num_frames), "--json"]
    return Order("plan", num_frames, arguments=tuple(words))


def _decoded(measured: Measured, num_frames: int, path: Path) -> str:
    """A sentence on how much was decoded."""
    if measured.work is None:
        raise RuntimeError("the reader did not tell what it decoded.")
    needed = packets_needed(path, np.arange(0, num_frames * FPS, FPS).tolist())
    work = measured.work
    beyond = work.num_packets - needed
    return (
        f"* {num_frames:,} frames: {needed:,} packets lie from the last keyframe of a wanted frame up to it; {beyond} "
        f"beyond them went to the decoder (none is asked for: {_verdict(beyond == 0)}), which made "
        f"{work.num_decoded:,} pictures of them, in {work.num_seeks} seeks."
    )


def _draw(path: Path, points: dict[str, dict[int, Measured]]) -> None:
    """Memory and time against frames."""
    ended = next((count for count, measured in points["whole"].items() if measured.ended), None)
    room = f"{LIMIT_BYTES / 2**30:.0f} GiB"
    end = "" if ended is None else f"; the whole of {ended:,} frames has no room in {room}"
    subtitle = f"about {BUDGET:,} queries whatever the length, {PATCHES} x {PATCHES} patches a frame, width {DIM}{end}"
    done = {_WAYS[what]: {count: one for count, one in line.items() if not one.ended} for what, line in points.items()}
    memory = {name: {n: (one.above_bytes or 0) / 1e6 for n, one in line.items()} for name, line in done.items()}
    seconds = {name: {n: min(one.seconds) for n, one in line.items()} for name, line in done.items()}
    charts = [Chart("Peak memory above the loaded model", "MB", memory), Chart("Time to encode", "seconds", seconds)]
    draw_growth(path, subtitle, list(points["pieces"]), charts)


def _ratio(above: int | None, below: int | None) -> float:
    if above is None or not below:
        raise RuntimeError("encoding in pieces ran out of memory.")
    return above / below


def _mb(size: int | None) -> str:
    return "" if size is None else f"{size / 1e6:,.0f}"


def _verdict(holds: bool) -> str:
    return "holds" if holds else "DOES NOT HOLD"


def main() -> None:
    """Measure, print, write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--released", action="store_true", help="the compressor alone, at the released width")
    parser.add_argument("--frames", type=int, nargs="+", default=list(FRAMES), help="lengths to measure")
    given = parser.parse_args()
    if given.released:
        section = released()
        print(section)
        print(
            f"written to {write_report('A long video at the released width', [section], suffix=f'{SUFFIX}-released')}"
        )
        return
    RESULTS.mkdir(exist_ok=True)
    picture = RESULTS / f"{datetime.now(UTC).date().isoformat()}{SUFFIX}.png"
    sections = report(sorted(given.frames), picture)
    print("\n\n".join(sections))
    print(f"written to {write_report('A long video', sections, suffix=SUFFIX)}")


if __name__ == "__main__":
    main()
