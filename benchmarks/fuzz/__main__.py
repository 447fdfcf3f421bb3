"""A number of damaged files goes in (2,000 if not given); a table of what became of them comes out in results/."""

import argparse
import logging
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.fuzz.cases import NUM_CASES
from benchmarks.fuzz.clips import CLIPS
from benchmarks.fuzz.mutations import MUTATIONS
from benchmarks.fuzz.run import LIMITS, LONGEST_SECONDS, OUR_FAULTS, OUTCOMES, Result, peak_bytes, run_cases
from benchmarks.reports import write_report
from bimba.cli.progress import bars

_MEBI, _GIBI = 2**20, 2**30
# Until here every clip has been read, and what is loaded once is loaded.
_WARM_UP = 2 * len(CLIPS)


def main() -> None:
    """Run the cases, print the report and keep it; the exit code is 1 if one was not handled as promised."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=NUM_CASES, help="how many files, from the first on")
    count = parser.parse_args().count
    logging.getLogger("bimba").setLevel(logging.ERROR)  # what was odd about each file, line by line
    results: list[Result] = []
    peaks: list[int | None] = []
    with tempfile.TemporaryDirectory() as folder, bars({"fuzz": "damaged files"}, quiet=False) as progress:
        for result in run_cases(range(count), Path(folder), os.cpu_count() or 1):
            results.append(result)
            progress("fuzz", len(results), count)
            if len(results) in {min(_WARM_UP, count), count}:
                peaks.append(peak_bytes(of_workers=False))
    section = report(results, peaks)
    print(section)
    print(f"written to {write_report('Damaged files', [section], suffix='-fuzz')}")
    sys.exit(1 if any(is_broken(result) for result in results) else 0)


def is_broken(result: Result) -> bool:
    """Whether a file gave neither frames nor an error within its time limit."""
    return result.outcome in OUR_FAULTS or result.seconds > LONGEST_SECONDS


def report(results: list[Result], peaks: list[int | None]) -> str:
    """Tables in Markdown: outcomes by clip and by kind of damage, the longest time, the largest memory."""
    broken = [result for result in results if is_broken(result)]
    ended = [result for result in results if result.outcome not in {"frames", "VideoError", "InputError"}]
    slowest = max(results, key=lambda result: result.seconds)
    limits = f"{LIMITS.seconds:g} s for what it holds, as long for its frames, {LIMITS.memory_bytes / _GIBI:g} GiB"
    memory = f"{_mebibytes(peaks[0])} in the first {_WARM_UP} files, {_mebibytes(peaks[-1])} in all"
    where = f"number {slowest.case.number}, {slowest.case.clip}, {slowest.case.kind}"
    lines = [
        f"{len(results):,} damaged files of {len(CLIPS)} clips, each read in a process of its own ({limits}).",
        "",
        f"Every one gave frames or an error that says what to do: {'does not hold' if broken else 'holds'}.",
        "",
        *_table("clip", results, lambda result: result.case.clip),
        "",
        *_table("damage", results, lambda result: result.case.kind),
        "",
        f"* longest: {slowest.seconds:.2f} s ({where})",
        f"* largest worker: {_mebibytes(peak_bytes(of_workers=True))}; Linux counts in what it had of this process",
        f"* this process, which gets the frames: {memory}",
    ]
    if ended:
        lines += ["", "Workers that were ended, or ended themselves:", ""]
        lines += [f"* {result.case.number} ({result.case.clip}): {result.outcome}" for result in ended]
        lines += ["", "`python -X faulthandler -m benchmarks.fuzz.direct NUMBER` shows where."]
    return "\n".join(lines)


def _table(title: str, results: list[Result], group: Callable[[Result], str]) -> Iterator[str]:
    yield f"| {title} | files | {' | '.join(OUTCOMES)} |"
    yield f"| --- |{' --- |' * (len(OUTCOMES) + 1)}"
    names = [clip.name for clip in CLIPS] if title == "clip" else list(MUTATIONS)
    counts = Counter((group(result), result.outcome) for result in results)
    for name in names:
        numbers = [counts[name, outcome] for outcome in OUTCOMES]
        yield f"| {name} | {sum(numbers)} | {' | '.join(map(str, numbers))} |"
    totals = [sum(result.outcome == outcome for result in results) for outcome in OUTCOMES]
    yield f"| all | {sum(totals)} | {' | '.join(map(str, totals))} |"


def _mebibytes(num_bytes: int | None) -> str:
    return "not counted here" if num_bytes is None else f"{num_bytes / _MEBI:,.0f} MiB at most"


if __name__ == "__main__":
    main()
