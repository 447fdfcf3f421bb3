"""What was measured in, tables for the terminal out."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from bimba.cli.bench.provenance import in_words, warning
from bimba.cli.units import in_bytes, in_count

if TYPE_CHECKING:
    from rich.console import RenderableType

    from bimba.cli.bench.compress_run import CompressReport
    from bimba.cli.bench.scan_run import ScanReport

_COLORS = {"left out": "dim", "wrong": "red", "failed": "red"}


def scan_page(report: "ScanReport") -> Iterator["RenderableType"]:
    """Everything about a scan, from top to bottom."""
    record, size, limits = report.to_record(), report.size, report.limits
    about = f"L {in_count(size.length)}, E {in_count(size.inner_dim)}, N {size.state_dim}, {report.dtype}"
    for each in record["passes"]:
        yield Text(f"Selective scan, {each['name']}: {about}, {report.device}", style="bold")
        ours = each["fastest_of_ours"]
        table = _table("contender", "median", "best", f"/ {ours or 'ours'}", "G exp/s", "of bytes", "of exp", "error")
        for entry in each["contenders"]:
            if entry["status"] == "measured":
                table.add_row(*_scan_row(entry))
        yield from _with_rest(table, each["contenders"])
        needs = each["needs"]
        yield Text(
            f"  must move {in_bytes(needs['num_bytes'])} and take {needs['num_exponentials'] / 1e9:.3g} G exponentials",
            style="dim",
        )
    yield Text(
        f"limits, measured in this run: {limits.bytes_per_second / 1e9:.3g} GB/s by a copy, "
        f"{limits.exponentials_per_second / 1e9:.3g} G exp/s by torch.exp from the cache",
        style="dim",
    )
    yield from _ending(report.rounds, record["provenance"])


def _scan_row(entry: dict[str, Any]) -> list[str]:
    ratio = entry["times_ours"]
    return [
        f"  {entry['name']}",
        in_milliseconds(entry["median_seconds"]),
        in_milliseconds(entry["best_seconds"]),
        "-" if ratio is None else f"{ratio:.3g} x",
        f"{entry['exponentials_per_second'] / 1e9:.3g}",
        in_percent(entry["share_of_bandwidth"]),
        in_percent(entry["share_of_exponentials"]),
        f"{max(entry['relative_errors'].values()):.0e}",
    ]


def compress_page(report: "CompressReport") -> Iterator["RenderableType"]:
    """Everything about a compressor, from top to bottom."""
    record = report.to_record()
    yield Text(
        f"Compressor block: {in_count(report.num_tokens)} tokens + {in_count(report.num_queries)} queries, "
        f"D {in_count(report.size.dim)}, {report.dtype}, {report.device}",
        style="bold",
    )
    table = _table("call", "median", "best", "/ one pass", "peak memory", "GFLOP", "error")
    for entry in record["contenders"]:
        if entry["status"] == "measured":
            ratio, peak = entry["times_one_pass"], entry["peak_bytes"]
            table.add_row(
                f"  {entry['name']}",
                in_milliseconds(entry["median_seconds"]),
                in_milliseconds(entry["best_seconds"]),
                "-" if ratio is None else f"{ratio:.3g} x",
                "unknown" if peak is None else in_bytes(peak),
                f"{entry['counted_flops'] / 1e9:,.4g}",
                f"{entry['relative_error']:.0e}",
            )
    yield from _with_rest(table, record["contenders"])
    if record["flop_ratio"] is not None:
        yield Text(f"  products need {record['flop_ratio']:.3g} times less arithmetic in one pass", style="dim")
    yield Text("peak memory: above weights, inputs and outputs; GFLOP: of matrix products, counted", style="dim")
    yield from _ending(report.rounds, record["provenance"])


def in_milliseconds(seconds: float) -> str:
    """`19.3 ms`, with three digits."""
    milliseconds = seconds * 1000
    return f"{milliseconds:,.0f} ms" if milliseconds >= 99.95 else f"{milliseconds:.3g} ms"


def in_percent(share: float) -> str:
    """`83 %`, with two digits."""
    percent = share * 100
    return f"{percent:.0f} %" if percent >= 9.95 else f"{percent:.2g} %"


def _table(*titles: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for number, title in enumerate(titles):
        text = title if number else f"  {title}"
        table.add_column(text, justify="right" if number else "left", overflow="fold")
    return table


def _with_rest(table: Table, entries: Iterable[dict[str, Any]]) -> Iterator["RenderableType"]:
    """The table, and below it the contenders without a number, each with the reason."""
    rest = [entry for entry in entries if entry["status"] != "measured"]
    if table.row_count:
        yield table
    if not rest:
        return
    reasons = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for entry in rest:
        reason = Text(entry["reason"] or "")
        if entry["fix"]:
            reason.append(f"\nfix: {entry['fix']}", style="dim")
        reasons.add_row(f"  {entry['name']}", Text(entry["status"], style=_COLORS[entry["status"]]), reason)
    yield reasons


def _ending(rounds: int, facts: dict[str, Any]) -> Iterator["RenderableType"]:
    turns = "one round" if rounds == 1 else f"{rounds} rounds"
    yield Text(f"{turns}, taking turns in one process; {in_words(facts)}", style="dim")
    caution = warning(facts)
    if caution is not None:
        yield Text(caution, style="yellow")
