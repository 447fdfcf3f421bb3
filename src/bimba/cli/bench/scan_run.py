"""A size in, each contender's correctness and speed in one process out: checked first, then measured in turns.

Shapes: B batch (1), L length, E channels, N state.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor

from bimba.cli.bench.contenders import Contender, ScanInputs, contenders
from bimba.cli.bench.limits import Limits, Needs, measure_limits, needs_of
from bimba.cli.bench.machine import check_numbers, device_named, dtype_named, tolerance, why_too_large
from bimba.cli.bench.provenance import provenance
from bimba.cli.bench.rounds import Timing, predict_seconds, take_turns
from bimba.cli.bench.scan_check import Truth, compute
from bimba.cli.bench.sizes import ScanSize, scan_size
from bimba.cli.progress import Report
from bimba.cli.units import in_seconds
from bimba.errors import BimbaError, InputError

Status = Literal["measured", "left out", "wrong", "failed"]

FORWARD, BOTH = "forward", "forward + backward"

_SEED = 20
_SMALLEST_STEP, _LARGEST_STEP = 1e-3, 1e-1


@dataclass(frozen=True)
class Entry:
    """What became of one contender.

    Attributes:
        name: of the contender.
        summary: what it is.
        is_ours: whether it is bimba's.
        status: only what is measured has numbers.
        reason: why it is not measured.
        fix: what would let it run.
        needed_bytes: memory beside the inputs, estimated.
        relative_errors: largest difference from the definition over its largest value, by result.
        timing: seconds.
    """

    name: str
    summary: str
    is_ours: bool
    status: Status
    needed_bytes: int
    reason: str | None = None
    fix: str | None = None
    relative_errors: dict[str, float] = field(default_factory=dict)
    timing: Timing | None = None


@dataclass(frozen=True)
class Pass:
    """One comparison: forward, or forward and backward."""

    name: str
    needs: Needs
    entries: tuple[Entry, ...]

    @property
    def fastest_of_ours(self) -> Entry | None:
        """What the others are compared with."""
        ours = [entry for entry in self.entries if entry.is_ours and entry.timing is not None]
        return min(ours, key=lambda entry: entry.timing.median_seconds if entry.timing else math.inf, default=None)


@dataclass(frozen=True)
class ScanReport:
    """Everything that was measured."""

    size: ScanSize
    device: str
    dtype: str
    rounds: int
    patience_seconds: float
    limits: Limits
    passes: tuple[Pass, ...]
    provenance: dict[str, Any]

    def to_record(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        record = asdict(self)
        record["passes"] = [
            {
                "name": each.name,
                "needs": asdict(each.needs),
                "fastest_of_ours": each.fastest_of_ours.name if each.fastest_of_ours else None,
                "contenders": [self._entry(each, entry) for entry in each.entries],
            }
            for each in self.passes
        ]
        return {"benchmark": "scan"} | record

    def _entry(self, of: Pass, entry: Entry) -> dict[str, Any]:
        record = asdict(entry)
        del record["timing"]
        # JSON has no infinity.
        record["relative_errors"] = {
            name: error if math.isfinite(error) else None for name, error in entry.relative_errors.items()
        }
        if entry.timing is None:
            return record
        median = entry.timing.median_seconds
        bandwidth, exponentials = of.needs.shares(median, self.limits)
        ours = of.fastest_of_ours
        return record | {
            "seconds": list(entry.timing.seconds),
            "median_seconds": median,
            "best_seconds": entry.timing.best_seconds,
            "times_ours": median / ours.timing.median_seconds if ours and ours.timing else None,
            "exponentials_per_second": of.needs.num_exponentials / median,
            "share_of_bandwidth": bandwidth,
            "share_of_exponentials": exponentials,
        }


def measure_scan(
    size: str,
    *,
    report: Report,
    device: str = "auto",
    dtype: str = "float32",
    rounds: int = 5,
    backward: bool | None = None,
    only: Sequence[str] = (),
    patience: float = 10.0,
    candidates: Sequence[Contender] | None = None,
) -> ScanReport:
    """Compare ways to run the selective scan.

    Args:
        size: a name of `SCAN_SIZES`, or LxExN.
        report: told of "check" and "rounds".
        device: a device of torch, or "auto".
        dtype: of x, dt, B and C.
        rounds: in each of which every contender runs once.
        backward: only forward (False), only forward and backward (True), or both one after the other (None).
        only: names of the contenders to run; all of them if empty.
        patience: seconds that one run may take.
        candidates: what is compared; `contenders()` if None.

    Raises:
        InputError: an option makes no sense, or the sequence does not fit into memory.
    """
    check_numbers(rounds, patience)
    scanned, place, precision = scan_size(size), device_named(device), dtype_named(dtype)
    chosen = _chosen(contenders() if candidates is None else candidates, only)
    too_large = why_too_large((2 + 6 * (backward is not False)) * precision.itemsize * scanned.num_values, place)
    if too_large is not None:
        raise InputError(f"a sequence of --size {size} {too_large}.", fix="take a smaller one, e.g. --size small.")
    facts = provenance(place)  # now, while the load is that of others
    limits = measure_limits(place)
    inputs = make_inputs(scanned, place, precision)
    passes = []
    for both in (False, True) if backward is None else (backward,):
        grad_y = torch.randn(inputs.x.shape, generator=_generator(place), device=place).to(precision) if both else None
        trial = _Trial(scanned, inputs, grad_y, patience)
        entries = []
        calls = {}
        for number, contender in enumerate(chosen):
            report("check", number, len(chosen))
            entry = trial.check(contender)
            entries.append(entry)
            if entry.status == "measured":
                calls[entry.name] = _call(contender, inputs, grad_y)
        report("check", len(chosen), len(chosen))
        timings = take_turns(calls, rounds, place, report)
        entries = [replace(entry, timing=timings.get(entry.name)) for entry in entries]
        needs = needs_of(scanned, precision.itemsize, backward=both)
        passes.append(Pass(BOTH if both else FORWARD, needs, tuple(entries)))
    limits = limits.best_of(measure_limits(place))
    return ScanReport(scanned, str(place), dtype, rounds, patience, limits, tuple(passes), facts)


def make_inputs(size: ScanSize, device: torch.device, dtype: torch.dtype) -> ScanInputs:
    """Random sequences with the decay rates and step sizes of a fresh Mamba block (arXiv 2312.00752, section 3.6)."""
    generator = _generator(device)
    shape = (1, size.length, size.inner_dim)

    def noise(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, device=device, dtype=torch.float32).to(dtype)

    log_steps = torch.empty(size.inner_dim, device=device).uniform_(
        math.log(_SMALLEST_STEP), math.log(_LARGEST_STEP), generator=generator
    )
    rates = -torch.arange(1.0, size.state_dim + 1, device=device).repeat(size.inner_dim, 1)
    return ScanInputs(
        x=noise(*shape),
        dt=noise(*shape).mul_(0.5),
        A=rates,
        B=noise(1, size.length, size.state_dim),
        C=noise(1, size.length, size.state_dim),
        D=torch.ones(size.inner_dim, device=device),
        dt_bias=log_steps.exp().expm1().log(),  # softplus(dt_bias) is the step
    )


class _Trial:
    """What every contender of one pass goes through before it is measured.

    Args:
        size: of the inputs.
        inputs: of the whole sequence.
        grad_y: [B, L, E], or None without a backward pass.
        patience: seconds that a run may take.
    """

    def __init__(self, size: ScanSize, inputs: ScanInputs, grad_y: Tensor | None, patience: float) -> None:
        self.size, self.inputs, self.grad_y, self.patience = size, inputs, grad_y, patience
        self.device = inputs.x.device
        self.tolerance = tolerance(inputs.x.dtype)
        self._truth: Truth | None = None

    def check(self, contender: Contender) -> Entry:
        """An entry "measured" without its numbers, or one with the reason why there will be none."""
        needed = contender.needed_bytes(self.size, backward=self.grad_y is not None)
        entry = Entry(contender.name, contender.summary, contender.is_ours, "measured", needed)
        obstacle = contender.obstacle(self.device)
        if obstacle is not None:
            return replace(entry, status="left out", reason=obstacle[0], fix=obstacle[1])
        too_large = why_too_large(needed, self.device)
        if too_large is not None:
            return replace(entry, status="left out", reason=too_large)
        try:
            # Every forward pass is linear; the gradient of transformers' slow path grows with the square.
            seconds = predict_seconds(
                lambda steps: self._start(contender, steps),
                self.size.length,
                self.patience,
                self.device,
                power=1 if self.grad_y is None else 2,
            )
            if seconds > self.patience:
                reason = f"would take about {in_seconds(seconds)} a run, and --patience is {in_seconds(self.patience)}"
                return replace(entry, status="left out", reason=reason)
            return self._judge(contender, entry)
        except (RuntimeError, ImportError, BimbaError, MemoryError) as error:
            first_line = str(error).strip().partition("\n")[0][:200]
            return replace(entry, status="failed", reason=f"{type(error).__name__}: {first_line}")

    def _judge(self, contender: Contender, entry: Entry) -> Entry:
        """Compare the results on the first steps, and if they are right, on the whole sequence (which warms up)."""
        if self._truth is None:
            self._truth = Truth(self.inputs, self.grad_y)
        errors = self._truth.errors_at_start(compute(contender.run, *self._truth.start()))
        where = f"the first {self._truth.num_steps} steps"
        if max(errors.values()) <= self.tolerance:
            whole = self._truth.errors_of_channels(compute(contender.run, self.inputs, self.grad_y))
            errors = {name: max(error, whole.get(name, 0.0)) for name, error in errors.items()}
            where = "the whole sequence"
        worst = max(errors, key=lambda name: errors[name])
        entry = replace(entry, relative_errors=errors)
        if errors[worst] <= self.tolerance:
            return entry
        what = "y" if worst == "y" else f"the gradient of {worst}"
        reason = f"{what} is off by {errors[worst]:.1g} on {where} (at most {self.tolerance:.1g} is right)"
        return replace(entry, status="wrong", reason=reason)

    def _start(self, contender: Contender, steps: int) -> Callable[[], object]:
        return _call(contender, self.inputs.first(steps), None if self.grad_y is None else self.grad_y[:, :steps])


def _call(contender: Contender, inputs: ScanInputs, grad_y: Tensor | None) -> Callable[[], object]:
    return lambda: compute(contender.run, inputs, grad_y)


def _chosen(candidates: Sequence[Contender], only: Sequence[str]) -> list[Contender]:
    """Those that were asked for.

    Raises:
        InputError: a name is unknown.
    """
    names = [contender.name for contender in candidates]
    unknown = [name for name in only if name not in names]
    if unknown:
        raise InputError(f"--only {unknown[0]!r} is no contender.", fix=f"take {', '.join(map(repr, names))}.")
    return [contender for contender in candidates if not only or contender.name in only]


def _generator(device: torch.device) -> torch.Generator:
    return torch.Generator(device).manual_seed(_SEED)
