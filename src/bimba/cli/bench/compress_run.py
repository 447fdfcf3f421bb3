"""A compressor's size in; what reading only its queries saves over computing every output out: checked, then measured.

Shapes: B batch (1), S video tokens, Q queries, L = S + Q, D model width.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from bimba.cli.bench.block import CALLS, ONE_PASS, PLAIN, Block, BlockCall, counts_of, first_frames, make_block
from bimba.cli.bench.machine import (
    check_numbers,
    device_named,
    dtype_named,
    free_bytes,
    relative_difference,
    tolerance,
    why_too_large,
)
from bimba.cli.bench.peak import Once, measure_once
from bimba.cli.bench.provenance import provenance
from bimba.cli.bench.rounds import Timing, take_turns
from bimba.cli.bench.sizes import CompressSize, compress_size
from bimba.cli.progress import Report
from bimba.cli.units import in_seconds
from bimba.errors import BimbaError, InputError

Status = Literal["measured", "left out", "wrong", "failed"]

_PRODUCTS = {"aten.mm", "aten.addmm", "aten.bmm", "aten.baddbmm"}
_PART_GROUPS, _PART_SIDE = 2, 16
"""Part of the video on which both calls are compared with float64."""
_ROUGH_ROWS = 10
"""Copies of [L, E] that a call may need; below an eighth of the free memory nothing is tried out first."""
_FIRST_SHARE = 16
"""The smaller of two parts by which a whole call is predicted is a sixteenth of the frames, the other twice that."""


@dataclass(frozen=True)
class Entry:
    """What became of one call.

    Attributes:
        name: of the call.
        status: only what is measured has numbers.
        formula_flops: of matrix products, by formula.
        reason: why it is not measured.
        relative_error: largest difference from plain in float64 on a part of the video, over its largest value.
        difference: the same on the whole video, from plain in the same precision.
        counted_flops: of the matrix products of the run itself.
        peak_bytes: memory above weights, inputs and result; None where it cannot be measured.
        timing: seconds.
    """

    name: str
    status: Status
    formula_flops: int
    reason: str | None = None
    fix: str | None = None
    relative_error: float | None = None
    difference: float | None = None
    counted_flops: int | None = None
    peak_bytes: int | None = None
    timing: Timing | None = None


@dataclass(frozen=True)
class CompressReport:
    """Everything that was measured."""

    size: CompressSize
    num_tokens: int
    num_queries: int
    device: str
    dtype: str
    rounds: int
    patience_seconds: float
    entries: tuple[Entry, ...]
    provenance: dict[str, Any]

    def to_record(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        record = {"benchmark": "compress"} | asdict(self)
        del record["entries"]
        by_name = {entry.name: entry for entry in self.entries}
        base = by_name[ONE_PASS].timing if ONE_PASS in by_name else None
        record["contenders"] = [_entry_record(entry, base) for entry in self.entries]
        flops = [by_name[name].counted_flops for name in (PLAIN, ONE_PASS) if name in by_name]
        ratio = flops[0] / flops[1] if len(flops) == 2 and flops[0] and flops[1] else None
        return record | {"flop_ratio": ratio}


def _entry_record(entry: Entry, base: Timing | None) -> dict[str, Any]:
    record = asdict(entry)
    del record["timing"]
    for name in ("relative_error", "difference"):
        if record[name] is not None and not math.isfinite(record[name]):
            record[name] = None  # JSON has no infinity
    if entry.timing is None:
        return record
    median = entry.timing.median_seconds
    return record | {
        "seconds": list(entry.timing.seconds),
        "median_seconds": median,
        "best_seconds": entry.timing.best_seconds,
        "times_one_pass": None if base is None else median / base.median_seconds,
    }


def measure_compress(
    size: str,
    *,
    report: Report,
    pool: str | None = None,
    device: str = "auto",
    dtype: str = "float32",
    rounds: int = 5,
    patience: float = 300.0,
    calls: Mapping[str, BlockCall] | None = None,
) -> CompressReport:
    """Compare the compressor's block that computes every output with the one that computes the queries'.

    Args:
        size: a name of `COMPRESS_SIZES`, or TxHxWxD.
        report: told of "check", "rounds" and "memory".
        pool: TxHxW by which queries are pooled; the size's own if None.
        device: a device of torch, or "auto".
        dtype: of weights and tokens.
        rounds: in each of which every call runs once.
        patience: seconds that one run may take.
        calls: what is compared; `CALLS` if None.

    Raises:
        InputError: an option makes no sense, or weights and tokens do not fit into memory.
    """
    check_numbers(rounds, patience)
    chosen, place = compress_size(size, pool), device_named(device)
    precision = dtype_named(dtype)
    facts = provenance(place)  # now, while the load is that of others
    num_tokens, num_queries = counts_of(chosen)
    weights_and_tokens = precision.itemsize * chosen.dim * (2 * (num_tokens + num_queries) + 8 * chosen.dim)
    too_large = why_too_large(weights_and_tokens, place)
    if too_large is not None:
        raise InputError(f"a compressor of --size {size} {too_large}.", fix="take a smaller one, e.g. --size small.")
    trial = _Trial(chosen, place, dtype, patience, CALLS if calls is None else calls)
    entries = list(trial.check(report))
    running = {entry.name: trial.call(entry.name) for entry in entries if entry.status == "measured"}
    timings = take_turns(running, rounds, place, report)
    entries = [replace(entry, timing=timings.get(entry.name)) for entry in entries]
    entries = [trial.with_peak(entry, report, len(timings)) if entry.timing else entry for entry in entries]
    return CompressReport(chosen, num_tokens, num_queries, str(place), dtype, rounds, patience, tuple(entries), facts)


class _Trial:
    """What both calls go through.

    Args:
        size: of the compressor.
        device: to compute on.
        dtype: by name.
        patience: seconds that a run may take.
        calls: by name.
    """

    def __init__(
        self, size: CompressSize, device: torch.device, dtype: str, patience: float, calls: Mapping[str, BlockCall]
    ) -> None:
        self.size, self.device, self.dtype, self.patience, self.calls = size, device, dtype, patience, calls
        self.block = make_block(size, device, dtype_named(dtype))
        self._num_peaks = 0
        part = self.block.with_part(first_frames(size, _PART_GROUPS, most_patches=_PART_SIDE))
        exact = part.in_float64()
        with torch.no_grad():
            self._part, self._truth = part, CALLS[PLAIN](exact)
        self._whole: Tensor | None = None
        self._tolerance = tolerance(dtype_named(dtype))

    def call(self, name: str) -> "_Call":
        """The whole block, called that way."""
        return _Call(self.calls[name], self.block)

    def check(self, report: Report) -> list[Entry]:
        """An entry "measured" without its numbers, or one with the reason why there will be none, for each call."""
        entries = []
        for number, name in enumerate(self.calls):
            report("check", number, len(self.calls))
            entry = Entry(name, "measured", self.block.flops(name))
            try:
                entries.append(self._check(entry))
            except (RuntimeError, BimbaError, MemoryError) as error:
                reason = error.problem if isinstance(error, BimbaError) else str(error).strip().partition("\n")[0]
                entries.append(replace(entry, status="failed", reason=f"{type(error).__name__}: {reason[:200]}"))
        report("check", len(self.calls), len(self.calls))
        return entries

    def _check(self, entry: Entry) -> Entry:
        with torch.no_grad():
            result = self.calls[entry.name](self._part)
        entry = replace(entry, relative_error=relative_difference(result, self._truth))
        if entry.relative_error is None or entry.relative_error > self._tolerance:
            return self._wrong(entry, entry.relative_error, "a part of the video, from plain in float64")
        reason = self._why_not_whole(entry.name)
        if reason is not None:
            return replace(entry, status="left out", reason=reason)
        with FlopCounterMode(display=False) as counter:
            whole = self.call(entry.name)()
        counts = counter.get_flop_counts().get("Global", {})
        counted = sum(count for operator, count in counts.items() if str(operator) in _PRODUCTS)
        entry = replace(entry, counted_flops=counted)
        if self._whole is None:
            self._whole = whole
            return entry
        entry = replace(entry, difference=relative_difference(whole.float(), self._whole.float()))
        if entry.difference is not None and entry.difference > self._tolerance:
            return self._wrong(entry, entry.difference, "the whole video, from plain")
        return entry

    def _wrong(self, entry: Entry, error: float | None, where: str) -> Entry:
        reason = f"its result is off by {error:.1g} on {where} (at most {self._tolerance:.1g} is right)"
        return replace(entry, status="wrong", reason=reason)

    def _why_not_whole(self, name: str) -> str | None:
        """Why the whole video is too much, judged by two parts of it; None if it is not."""
        inner, length = self.block.mixer.inner_dim, sum(counts_of(self.size))
        free = free_bytes(self.device)
        is_small = free is None or 4 * _ROUGH_ROWS * length * inner < free / 8
        groups = self.size.grid[0] // self.size.pool[0] // _FIRST_SHARE
        if is_small or groups < 1:
            return None
        parts = [first_frames(self.size, groups * times) for times in (1, 2)]
        once = [self._once(name, part) for part in parts]
        lengths = [sum(counts_of(part)) for part in parts]
        seconds = _on_a_line(lengths, [each.seconds for each in once], length)
        if seconds > self.patience:
            return f"would take about {in_seconds(seconds)} a run, and --patience is {in_seconds(self.patience)}"
        if once[0].peak_bytes is None or once[1].peak_bytes is None:
            return None
        return why_too_large(_on_a_line(lengths, [float(each.peak_bytes or 0) for each in once], length), self.device)

    def with_peak(self, entry: Entry, report: Report, num_entries: int) -> Entry:
        """The entry with its memory."""
        report("memory", self._num_peaks, num_entries)
        try:
            peak = self._once(entry.name, self.size).peak_bytes
        except BimbaError as error:
            return replace(entry, reason=f"its memory is unknown: {error.problem}")
        self._num_peaks += 1
        report("memory", self._num_peaks, num_entries)
        return replace(entry, peak_bytes=peak)

    def _once(self, name: str, size: CompressSize) -> Once:
        return measure_once(name, size, self.device, self.dtype, longest=60 + 4 * self.patience)


@dataclass(frozen=True)
class _Call:
    """A call of the whole block."""

    how: BlockCall
    block: Block

    def __call__(self) -> Tensor:
        with torch.no_grad():
            return self.how(self.block)


def _on_a_line(places: list[int], values: list[float], place: int) -> float:
    """What a value will be at a place, if it goes on as between the two known ones."""
    slope = max(values[1] - values[0], 0.0) / max(places[1] - places[0], 1)
    return values[1] + slope * (place - places[1])
