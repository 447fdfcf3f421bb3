"""`bimba doctor`: nothing in; what this machine has, what is broken and how to repair it, and what can run here out."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from bimba.checkpoints.shipped import RELEASED, RELEASED_VAMBA
from bimba.cli.ask import print_json
from bimba.cli.doctor.capability import Way, find_ways
from bimba.cli.doctor.diagnosis import Cache, Extra, Machine, Torch, Unmet, diagnose
from bimba.cli.doctor.hardware import Gpu, Memory
from bimba.cli.doctor.sizes import Sizes, VambaSizes, named_sizes, released_sizes
from bimba.cli.progress import waiting
from bimba.cli.units import in_bytes, in_count
from bimba.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

Level = Literal["ok", "-", "note", "problem"]
"""Works; optional and absent; works, but something is missing to some ends; broken."""

_COLORS = {"ok": "green", "yes": "green", "-": "dim", "note": "yellow", "slow": "yellow", "problem": "red", "no": "red"}
_TORCHCODEC = "pip install 'bimba[torchcodec]'"
_REINSTALL_AV = "pip install --force-reinstall --only-binary av av"


@dataclass(frozen=True)
class Finding:
    """A line of the page.

    Attributes:
        section: under which it stands.
        fix: what repairs it, or makes it better.
    """

    section: str
    name: str
    level: Level
    text: str
    fix: str | None = None


def doctor(
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Tell what can run of this model, a folder or hub id; else of the released BIMBA.",
            show_default=False,
        ),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The base of that adapter, if not the one it names.", show_default=False),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object with everything.")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print only problems; nothing when all is well.")
    ] = False,
) -> None:
    """Show what this machine can run, what is broken, and how to repair it.

    Nothing is downloaded, but the small files of a --model that is on the hub.

    The exit code is 0 if bimba-nano, which `bimba demo` asks, can run, 1 if not.
    """
    if base is not None and model is None:
        raise InputError("--base is there, and no --model that goes onto it.", fix="name the adapter with --model.")
    with waiting("looking at this machine", quiet=quiet or json_):
        machine = diagnose()
        released = released_sizes() if machine.runs_tiny_model else None
        sizes = released if released is None or model is None else named_sizes(model, base)
        ways = find_ways(machine, sizes)
    findings = list(find_findings(machine, released))
    if json_:
        print_json(to_record(machine, findings, ways, model))
    elif quiet:
        for finding in problems(findings):
            print(f"{finding.name}: {finding.text}" + (f"\n  fix: {finding.fix}" if finding.fix else ""))
    else:
        from rich.console import Console

        print_page(Console(highlight=False), findings, ways, sizes, model)
    if not machine.runs_tiny_model:
        raise typer.Exit(1)


def problems(findings: Iterable[Finding]) -> list[Finding]:
    """What is broken."""
    return [finding for finding in findings if finding.level == "problem"]


def to_record(
    machine: Machine, findings: Iterable[Finding], ways: Iterable[Way], model: str | None = None
) -> dict[str, Any]:
    """Everything as plain values, ready for JSON; sizes are in bytes.

    Args:
        machine: what was found.
        findings: what is said of it.
        ways: of running the model.
        model: its name; None for the released BIMBA.
    """
    broken = [
        {"name": finding.name, "problem": finding.text, "fix": finding.fix, "section": finding.section}
        for finding in problems(findings)
    ]
    ready = {"runs_tiny_model": machine.runs_tiny_model, "problems": broken}
    return ready | asdict(machine) | {"model": model or RELEASED, "can_run": [asdict(way) for way in ways]}


def find_findings(machine: Machine, released: Sizes | None) -> Iterator[Finding]:
    """The lines of the page, from top to bottom, without the ways to run a model.

    Args:
        machine: what was found.
        released: sizes of the released BIMBA; None if a broken part keeps it from being counted.
    """
    yield Finding("software", "bimba", "ok", f"{machine.bimba} on Python {machine.python}, {machine.system}")
    yield from _core(machine)
    if machine.torch is not None:
        yield from _gpus(machine.gpus, machine.torch)
        threads = _counted(machine.torch.num_threads, "thread")
        yield Finding("hardware", "CPU", "ok", f"{_counted(machine.num_cores, 'core')}; torch computes with {threads}")
    yield _memory(machine.memory)
    if machine.cache is not None:
        yield from _cache(machine.cache, None if released is None else released.weight_bytes("bfloat16"))
    yield from _decoders(machine)
    yield from _scans(machine)
    yield from (_extra(extra) for extra in machine.extras if extra.name)
    if not machine.extras:
        yield Finding("extras", "all", "note", "unknown: bimba is not installed here", "pip install bimba")


def _core(machine: Machine) -> Iterator[Finding]:
    """Torch, the other packages together, and what is wrong with any of them."""
    torch = machine.torch
    if torch is not None:
        toolkit = "" if torch.toolkit is None else f", {torch.build} {torch.toolkit}"
        yield Finding("software", "torch", "ok", f"{machine.part('torch').version}, {torch.build} build{toolkit}")
    works = [f"{part.name} {part.version or '?'}" for part in machine.core if part.problem is None]
    works = [text for text in works if not text.startswith(("torch ", "bimba "))]
    if works:
        yield Finding("software", "packages", "ok", ", ".join(works))
    for part in machine.core:
        if part.problem is None:
            continue
        text = part.problem if part.version is None else f"{part.version} cannot be imported: {part.problem}"
        fix = "repair what is named above" if part.name == "bimba" else f"pip install --force-reinstall {part.name}"
        yield Finding("software", part.name, "problem", text, fix)
    for extra in machine.extras:
        unfit = tuple(package for package in extra.unmet if package.installed is not None)  # absent ones are above
        if not extra.name and unfit:
            yield Finding("software", "versions", "problem", f"unfit: {_unmet(unfit)}", extra.command)


def _gpus(gpus: tuple[Gpu, ...], torch: Torch) -> Iterator[Finding]:
    for gpu in gpus:
        if gpu.problem is not None:
            fix = "update its driver, or take a torch that was built for it: https://pytorch.org/get-started"
            yield Finding("hardware", gpu.device, "problem", f"{gpu.name} does not work: {gpu.problem}", fix)
            continue
        text = f"{gpu.name}: {in_bytes(gpu.total_bytes or 0)}, {in_bytes(gpu.free_bytes or 0)} free"
        text += "" if gpu.has_bfloat16 else "; no bfloat16 of its own"
        yield Finding("hardware", gpu.device, "ok", text)
    if torch.gpu_problem is None:
        return
    if torch.gpu_problem.startswith("CUDA_VISIBLE_DEVICES"):
        yield Finding("hardware", "GPU", "note", f"hidden: {torch.gpu_problem}", "unset CUDA_VISIBLE_DEVICES")
    elif torch.is_gpu_there and torch.build == "CPU":
        fix = "install a CUDA build of torch: https://pytorch.org/get-started"
        yield Finding("hardware", "GPU", "problem", "an NVIDIA GPU is here, but this torch is a CPU build", fix)
    elif torch.is_gpu_there:
        fix = "install or update the driver of NVIDIA; start a container with --gpus all"
        yield Finding(
            "hardware", "GPU", "problem", f"an NVIDIA GPU is here, but not for torch: {torch.gpu_problem}", fix
        )
    elif torch.build == "CPU":
        yield Finding("hardware", "GPU", "-", f"none found; {torch.gpu_problem}")
    else:
        fix = f"if this machine has a GPU, install its driver; torch is ready for it ({torch.build} build)"
        yield Finding("hardware", "GPU", "note", f"none found: {torch.gpu_problem}", fix)


def _memory(memory: Memory) -> Finding:
    if memory.total_bytes is None:
        return Finding("hardware", "RAM", "-", "this system does not tell")
    text = in_bytes(memory.total_bytes)
    if memory.container_bytes is not None:
        text += f", of which this container gets {in_bytes(memory.container_bytes)}"
    text += f"; {in_bytes(memory.free_bytes)} free" if memory.free_bytes is not None else "; what is free is unknown"
    return Finding("hardware", "RAM", "ok", text)


def _cache(cache: Cache, weight_bytes: int | None) -> Iterator[Finding]:
    room = "room unknown" if cache.free_bytes is None else f"{in_bytes(cache.free_bytes)} free"
    is_short = not cache.is_complete and cache.free_bytes is not None and cache.free_bytes < (weight_bytes or 0)
    fix = "for the released model make room, or set HF_HOME to a folder on a larger disk" if is_short else None
    yield Finding("disk", "hub cache", "note" if is_short else "ok", f"{cache.folder}: {room}", fix)
    missing = [name for name, is_present in cache.present.items() if not is_present]
    if cache.is_complete:
        yield Finding("disk", "released model", "ok", f"in the cache: {', '.join(cache.present)}")
    elif missing:
        size = "" if weight_bytes is None else f", about {in_bytes(weight_bytes)}"
        text = f"not in the cache; the first bimba ask fetches {' and '.join(missing)}"
        yield Finding("disk", "released model", "-", text + (size if len(missing) == len(cache.present) else ""))
    else:
        fix = " && ".join(f"hf download {name}" for name in cache.present)
        yield Finding("disk", "released model", "problem", f"incomplete: {cache.problem}", fix)


def _decoders(machine: Machine) -> Iterator[Finding]:
    if machine.ffmpeg is not None:
        known = [name for name, is_known in machine.codecs.items() if is_known]
        lacking = [name for name, is_known in machine.codecs.items() if not is_known]
        text = f"{machine.part('av').version} with FFmpeg {machine.ffmpeg}, decodes {', '.join(known) or 'nothing'}"
        text += f"; lacks {', '.join(lacking)}" if lacking else ""
        fix = _REINSTALL_AV if lacking else None
        yield Finding("decoders", "PyAV", "problem" if lacking else "ok", text, fix)
    part = machine.part("torchcodec")
    if part.problem is None:
        yield Finding("decoders", "torchcodec", "ok", f"{part.version}, usable: --backend torchcodec")
    elif not part.is_installed:
        yield Finding("decoders", "torchcodec", "-", "not installed; optional", _TORCHCODEC)
    else:
        fix = f"install FFmpeg (apt install ffmpeg), and the version that fits: {_TORCHCODEC}"
        yield Finding("decoders", "torchcodec", "problem", f"{part.version} cannot be loaded: {part.problem}", fix)


def _scans(machine: Machine) -> Iterator[Finding]:
    for scan in machine.scans:
        text = f"{scan.name}: {scan.summary}"
        if scan.problem is None:
            yield Finding("scan", f"on {scan.device}", "ok", text)
        else:
            yield Finding("scan", f"on {scan.device}", "problem", f"{text}, which is slow; {scan.problem}", scan.fix)


def _extra(extra: Extra) -> Finding:
    if not extra.unmet:
        return Finding("extras", extra.name, "ok", "complete")
    return Finding("extras", extra.name, "-", f"lacks {_unmet(extra.unmet)}", extra.command)


def _unmet(packages: tuple[Unmet, ...]) -> str:
    """Absent packages by name; others with their version and the one that is wanted."""
    return ", ".join(
        package.name if package.installed is None else f"{package.name} {package.installed} (needs {package.wanted})"
        for package in packages
    )


def _counted(count: int, noun: str) -> str:
    return f"{in_count(count)} {noun}{'' if count == 1 else 's'}"


def print_page(
    console: "Console",
    findings: list[Finding],
    ways: tuple[Way, ...],
    sizes: Sizes | None,
    model: str | None = None,
) -> None:
    """Print all that was found, section by section, and then what can run.

    Args:
        console: where to.
        findings: lines of the sections.
        ways: of running the model.
        sizes: of the model; None if a broken part keeps it from being counted.
        model: its name; None for the released BIMBA.
    """
    from rich.table import Table

    width = max(len(finding.name) for finding in findings)
    for section in dict.fromkeys(finding.section for finding in findings):
        console.print(section.capitalize(), style="bold")
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column(min_width=2 + width)
        table.add_column(min_width=len("problem"))
        table.add_column(overflow="fold")
        for finding in (finding for finding in findings if finding.section == section):
            label = "get it" if finding.level == "-" else "fix"
            table.add_row(f"  {finding.name}", _colored(finding.level), _with_fix(finding.text, label, finding.fix))
        console.print(table)
    console.print(f"What can run of {model or RELEASED}", style="bold")
    console.print(_ways_table(ways))
    if sizes is not None:
        room = in_bytes(sizes.room_for(sizes.num_frames, "bfloat16"))
        console.print(f"{sizes.looked_at} take about {room} more. That, ~ and the times are estimates.", style="dim")
    if isinstance(sizes, VambaSizes):
        console.print("--frames auto takes one a second and so many at most; 64 if nothing is said.", style="dim")
    if model is None:
        console.print(f"The same of Vamba: bimba doctor --model {RELEASED_VAMBA}", style="dim")


def _ways_table(ways: tuple[Way, ...]) -> "Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for title in ("  how", "runs", "weights", "why"):
        table.add_column(title, justify="right" if title == "weights" else "left", overflow="fold")
    for way in ways:
        size = "" if way.weight_bytes is None else in_bytes(way.weight_bytes)
        size = f"~{size}" if size and "quantization" in way.options else size
        label, fix = ("fix", way.fix) if way.verdict == "no" else ("with", f"{way.options} {way.fix or ''}".strip())
        table.add_row(f"  {way.name}", _colored(way.verdict), size, _with_fix(way.why, label, fix))
    return table


def _colored(word: str) -> "Text":
    from rich.text import Text

    return Text(word, style=_COLORS[word])


def _with_fix(text: str, label: str, fix: str | None) -> "Text":
    from rich.text import Text

    return Text.assemble(text, *([(f"\n{label}: {fix}", "dim")] if fix else []))
