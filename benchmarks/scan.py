"""The selective scan and the compressor's block, each beside others in the same run: sections in Markdown.

`python -m benchmarks` takes the small sizes. `python -m benchmarks.scan --released` takes those of the released model,
for which one run is minutes on a CPU, and writes a report of its own.
"""

import sys
from collections.abc import Iterator
from typing import Any

from benchmarks.reports import write_report
from bimba.cli.bench.compress_run import measure_compress
from bimba.cli.bench.provenance import in_words, warning
from bimba.cli.bench.scan_run import measure_scan
from bimba.cli.bench.tables import in_milliseconds, in_percent
from bimba.cli.units import in_bytes, in_count

ROUNDS = 5
SCAN_ROUNDS, BLOCK_ROUNDS = 1, 3
"""Of the released sizes: the loops in torch take minutes a run there."""
RELEASED_PATIENCE = 600.0


def report() -> str:
    """The small sizes."""
    return "\n\n".join((scan_section("small"), compress_section("small", is_first=False)))


def scan_section(
    size: str,
    *,
    backward: bool | None = None,
    rounds: int = ROUNDS,
    patience: float = 10.0,
    only: tuple[str, ...] = (),
    is_first: bool = True,
) -> str:
    """The scan; arguments are those of `bimba bench scan`. The load that later sections find is that of the first."""
    measured = measure_scan(size, report=_tell, backward=backward, rounds=rounds, patience=patience, only=only)
    record, limits = measured.to_record(), measured.limits
    inner = f"L {in_count(measured.size.length)}, E {in_count(measured.size.inner_dim)}, N {measured.size.state_dim}"
    lines = [f"## Selective scan, {size}: {inner}, {record['dtype']}, {record['device']}", ""]
    lines += [_measured_on(record, is_first=is_first), ""]
    for each in record["passes"]:
        ours, needs = each["fastest_of_ours"], each["needs"]
        rows = [_scan_row(entry) for entry in each["contenders"] if entry["status"] == "measured"]
        titles = ["", "median", "best", f"/ {ours}", "G exp/s", "of bytes", "of exponentials", "relative error"]
        lines += [f"### {each['name'].capitalize()}", "", *_table(titles, rows), "", *_reasons(each["contenders"])]
        exponentials = f"{needs['num_exponentials'] / 1e9:.3g} G exponentials"
        lines += [f"* At least {in_bytes(needs['num_bytes'])} must move, and {exponentials} must be taken.", ""]
    copied = f"{limits.bytes_per_second / 1e9:.3g} GB/s (a copy of a large tensor, read + written)"
    taken = f"{limits.exponentials_per_second / 1e9:.3g} G exp/s (torch.exp on a tensor in the caches)"
    return "\n".join([*lines, f"Limits measured in this run: {copied}, {taken}."])


def compress_section(size: str, *, rounds: int = ROUNDS, patience: float = 300.0, is_first: bool = True) -> str:
    """The compressor's block; arguments are those of `bimba bench compress`."""
    measured = measure_compress(size, report=_tell, rounds=rounds, patience=patience)
    record = measured.to_record()
    counts = f"{in_count(measured.num_tokens)} tokens + {in_count(measured.num_queries)} queries"
    rows = [_compress_row(entry) for entry in record["contenders"] if entry["status"] == "measured"]
    titles = ["", "median", "best", "/ one pass", "peak memory", "GFLOP counted", "GFLOP by formula", "relative error"]
    about = f"D {in_count(measured.size.dim)}, {record['dtype']}, {record['device']}"
    lines = [
        f"## Compressor block, {size}: {counts}, {about}",
        "",
        _measured_on(record, is_first=is_first),
        "",
        *_table(titles, rows),
        "",
        *_reasons(record["contenders"]),
        "* Peak memory is that above weights, inputs and result; FLOP are those of matrix products.",
    ]
    if record["flop_ratio"] is not None:
        lines.append(f"* One pass needs {record['flop_ratio']:.3g} times less arithmetic for its matrix products.")
    return "\n".join(lines)


def _measured_on(record: dict[str, Any], *, is_first: bool) -> str:
    """One paragraph, and another if the machine was busy."""
    facts = record["provenance"]
    rounds = "1 round" if record["rounds"] == 1 else f"{record['rounds']} rounds"
    words = f"{rounds}, taking turns in one process; {in_words(facts)}."
    caution = warning(facts) if is_first else None
    return words if caution is None else f"{words}\n\n**{caution}**"


def _scan_row(entry: dict[str, Any]) -> list[str]:
    ratio = entry["times_ours"]
    return [
        entry["name"],
        in_milliseconds(entry["median_seconds"]),
        in_milliseconds(entry["best_seconds"]),
        "-" if ratio is None else f"{ratio:.3g}",
        f"{entry['exponentials_per_second'] / 1e9:.3g}",
        in_percent(entry["share_of_bandwidth"]),
        in_percent(entry["share_of_exponentials"]),
        f"{max(entry['relative_errors'].values()):.0e}",
    ]


def _compress_row(entry: dict[str, Any]) -> list[str]:
    ratio, peak = entry["times_one_pass"], entry["peak_bytes"]
    return [
        entry["name"],
        in_milliseconds(entry["median_seconds"]),
        in_milliseconds(entry["best_seconds"]),
        "-" if ratio is None else f"{ratio:.3g}",
        "unknown" if peak is None else in_bytes(peak),
        f"{entry['counted_flops'] / 1e9:,.4g}",
        f"{entry['formula_flops'] / 1e9:,.4g}",
        f"{entry['relative_error']:.0e}",
    ]


def _table(titles: list[str], rows: list[list[str]]) -> list[str]:
    ruler = ["---", *("---:" for _ in titles[1:])]
    return [f"| {' | '.join(cells)} |" for cells in (titles, ruler, *rows)]


def _reasons(entries: list[dict[str, Any]]) -> list[str]:
    """A point for each contender without a number."""
    return [
        f"* {entry['name']} {entry['status']}: {entry['reason']}." for entry in entries if entry["status"] != "measured"
    ]


def _tell(stage: str, done: int, total: int) -> None:
    if done == total:
        print(f"  {stage}: {total} done", file=sys.stderr, flush=True)


def _released() -> Iterator[str]:
    patience = RELEASED_PATIENCE
    yield _shown(compress_section("released", rounds=BLOCK_ROUNDS, patience=patience))
    yield _shown(scan_section("small", is_first=False))
    for size, only in (("released", ()), ("paper", ("cpu", "triton"))):
        how: dict[str, Any] = {"rounds": SCAN_ROUNDS, "patience": patience, "only": only}
        yield _shown(scan_section(size, backward=False, is_first=False, **how))


def _shown(section: str) -> str:
    print(section + "\n", flush=True)
    return section


def main() -> None:
    """Print the small sizes, or with --released write a report about the large ones."""
    if sys.argv[1:] == ["--released"]:
        print(f"written to {write_report('Selective scan', _released(), suffix='-scan')}")
    elif not sys.argv[1:]:
        print(report())
    else:
        sys.exit("usage: python -m benchmarks.scan [--released]")


if __name__ == "__main__":
    main()
