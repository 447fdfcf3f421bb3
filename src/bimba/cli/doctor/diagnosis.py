"""Nothing in; everything found on this machine out: packages, hardware, cache, decoders. A broken part is a finding."""

import importlib
import importlib.metadata
import logging
import os
import platform
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bimba import __version__
from bimba.checkpoints.shipped import RELEASED
from bimba.cli.doctor.hardware import Gpu, Memory, find_gpus, has_nvidia_gpu, measure_block, read_memory, reason_of

if TYPE_CHECKING:
    from packaging.requirements import Requirement

BASE = "lmms-lab/LLaVA-Video-7B-Qwen2"
"""Hub id of the base that the released adapter goes onto."""

CORE = {
    "torch": "torch",
    "numpy": "numpy",
    "transformers": "transformers",
    "tokenizers": "tokenizers",
    "safetensors": "safetensors",
    "huggingface-hub": "huggingface_hub",
    "av": "av",
    "pillow": "PIL",
    "pydantic": "pydantic",
    "filelock": "filelock",
    "typing-extensions": "typing_extensions",
    "packaging": "packaging.requirements",
    "bimba": "bimba.inference",
}
"""Packages without which no model runs, and the module that is imported to try each; the last needs all others."""

OPTIONAL = {
    "torchcodec": "torchcodec.decoders",
    "numba": "numba",
    "triton": "triton",
    "accelerate": "accelerate",
    "bitsandbytes": "bitsandbytes",
}
"""Packages that are used if they are there, and the module that is imported to try each."""

CODECS = {
    "h264": ("h264",),
    "hevc": ("hevc",),
    "vp8": ("vp8",),
    "vp9": ("vp9",),
    "av1": ("libdav1d", "libaom-av1"),  # the decoder named av1 only works with the hardware's help
    "mpeg4": ("mpeg4",),
    "mpeg2video": ("mpeg2video",),
    "prores": ("prores",),
}
"""What videos are mostly coded with, and the decoders of FFmpeg for it, of which one is enough."""

ABSENT = "not installed"
"""What is wrong with a package that is not there."""


@dataclass(frozen=True)
class Part:
    """A package.

    Attributes:
        name: as pip knows it.
        version: what is installed; None if it is not, or does not tell.
        problem: why it cannot be used; None if it can.
    """

    name: str
    version: str | None
    problem: str | None = None

    @property
    def is_installed(self) -> bool:
        """Whether it is there, broken or not."""
        return self.problem != ABSENT


@dataclass(frozen=True)
class Torch:
    """PyTorch.

    Attributes:
        build: "CPU", "CUDA" or "ROCm".
        toolkit: version of CUDA or ROCm that it was built with.
        num_threads: with which it computes on the CPU.
        flops_per_second: operations a second of a layer on the CPU, by dtype, measured now.
        gpu_problem: why it finds no GPU; None if it finds one.
        is_gpu_there: whether the system shows an NVIDIA GPU or its driver, usable or not.
    """

    build: Literal["CPU", "CUDA", "ROCm"]
    toolkit: str | None
    num_threads: int
    flops_per_second: dict[str, float]
    gpu_problem: str | None
    is_gpu_there: bool


@dataclass(frozen=True)
class Cache:
    """Where models of the hub are kept.

    Attributes:
        free_bytes: of its disk; None if the system does not tell.
        present: whether each part of the released model is there, by hub id.
        problem: what the parts lack, if they are there.
    """

    folder: str
    free_bytes: int | None
    present: dict[str, bool]
    problem: str | None

    @property
    def is_complete(self) -> bool:
        """Whether the released model needs no network."""
        return all(self.present.values()) and self.problem is None


@dataclass(frozen=True)
class Unmet:
    """A package that an extra wants and that is not there, or not in that version."""

    name: str
    wanted: str
    installed: str | None


@dataclass(frozen=True)
class Extra:
    """An extra of bimba.

    Attributes:
        name: "" for what is always needed.
        command: what installs it.
    """

    name: str
    unmet: tuple[Unmet, ...]
    command: str


@dataclass(frozen=True)
class Scan:
    """How the selective scan runs on a type of device.

    Attributes:
        device: "cpu" or "cuda".
        name: the implementation that "auto" takes.
        summary: what that is.
        problem: why it is not a faster one.
        fix: what helps against that.
    """

    device: str
    name: str
    summary: str
    problem: str | None = None
    fix: str | None = None


@dataclass(frozen=True)
class Machine:
    """Everything that was found; None for what could not be asked because a part is broken."""

    bimba: str
    python: str
    system: str
    num_cores: int
    core: tuple[Part, ...]
    optional: tuple[Part, ...]
    torch: Torch | None
    gpus: tuple[Gpu, ...]
    memory: Memory
    cache: Cache | None
    ffmpeg: str | None
    codecs: dict[str, bool]
    scans: tuple[Scan, ...]
    extras: tuple[Extra, ...]

    def part(self, name: str) -> Part:
        """A package by name."""
        return next(part for part in (*self.core, *self.optional) if part.name == name)

    @property
    def runs_tiny_model(self) -> bool:
        """Whether everything can be imported that a model needs."""
        return all(part.problem is None for part in self.core)


def diagnose() -> Machine:
    """Look at this machine; what is broken is told in the result."""
    with _hushed():
        core = tuple(try_part(name, module) for name, module in CORE.items())
        usable = {part.name for part in core if part.problem is None}
        optional = tuple(try_part(name, module) for name, module in OPTIONAL.items())
        gpus = find_gpus() if "torch" in usable else ()
        ffmpeg, codecs = find_codecs() if "av" in usable else (None, {})
        return Machine(
            bimba=__version__,
            python=platform.python_version(),
            system=f"{platform.system()} {platform.machine()}",
            num_cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
            core=core,
            optional=optional,
            torch=look_at_torch(gpus) if "torch" in usable else None,
            gpus=gpus,
            memory=read_memory(),
            cache=look_into_cache(can_check="bimba" in usable) if "huggingface-hub" in usable else None,
            ffmpeg=ffmpeg,
            codecs=codecs,
            scans=find_scans(gpus) if "bimba" in usable else (),
            extras=read_extras() if "packaging" in usable else (),
        )


@contextmanager
def _hushed() -> Iterator[None]:
    """No warnings and no logs of the packages that are tried: what matters of them is a finding."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def try_part(name: str, module: str) -> Part:
    """Import a package to see whether it works."""
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        version = None
    try:
        importlib.import_module(module)
    except Exception as error:  # noqa: BLE001 - whatever a broken package raises is what is asked for here
        is_absent = version is None and isinstance(error, ModuleNotFoundError) and module.startswith(error.name or "?")
        return Part(name, version, ABSENT if is_absent else reason_of(error))
    return Part(name, version)


def look_at_torch(gpus: tuple[Gpu, ...]) -> Torch:
    """What torch was built for, how fast it multiplies on the CPU, and why it finds no GPU if it does not."""
    import torch

    build: Literal["CPU", "CUDA", "ROCm"] = "CUDA" if torch.version.cuda else "ROCm" if torch.version.hip else "CPU"
    return Torch(
        build=build,
        toolkit=torch.version.cuda or torch.version.hip,
        num_threads=torch.get_num_threads(),
        flops_per_second={name: measure_block(name) for name in ("bfloat16", "float32")},
        gpu_problem=None if gpus else _why_no_gpu(build),
        is_gpu_there=has_nvidia_gpu(),
    )


def _why_no_gpu(build: str) -> str:
    import torch

    if build == "CPU":
        return "this torch is a CPU build"
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is not None:
        return f"CUDA_VISIBLE_DEVICES is {hidden!r}"
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return reason_of(error)
    return "the driver lists no GPU"


def look_into_cache(*, can_check: bool) -> Cache:
    """The hub's cache: the room on its disk, and what of the released model lies in it.

    Args:
        can_check: bimba's own modules can be imported, so what lies there can be checked for missing files.
    """
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    folder = Path(constants.HF_HUB_CACHE)
    places: dict[str, str] = {}
    for name in (RELEASED, BASE):
        try:
            places[name] = snapshot_download(name, cache_dir=folder, local_files_only=True)
        except (LocalEntryNotFoundError, OSError):
            continue
    problem = _missing_files(places) if can_check and len(places) == 2 else None
    present = {name: name in places for name in (RELEASED, BASE)}
    return Cache(str(folder), _free_on_disk(folder), present, problem)


def _free_on_disk(folder: Path) -> int | None:
    for place in (folder, *folder.parents):  # the folder is made by the first download
        try:
            return shutil.disk_usage(place).free
        except OSError:
            continue
    return None


def _missing_files(places: dict[str, str]) -> str | None:
    from bimba.checkpoints.source import find_source
    from bimba.errors import CheckpointError

    try:
        find_source(Path(places[RELEASED]), Path(places[BASE]))
    except CheckpointError as error:
        return error.problem
    return None


def find_codecs() -> tuple[str, dict[str, bool]]:
    """The version of FFmpeg inside PyAV, and what it decodes."""
    import av

    version = str(getattr(av, "ffmpeg_version_info", "of unknown version"))  # PyAV before 14 does not tell
    return version, {codec: any(name in av.codecs_available for name in names) for codec, names in CODECS.items()}


def find_scans(gpus: tuple[Gpu, ...]) -> tuple[Scan, ...]:
    """How the selective scan runs on the processor, and on the GPU if there is one."""
    import torch

    from bimba.ops.selective_scan.choice import IMPLEMENTATIONS, preferred

    scans = []
    for device in ("cpu", "cuda") if gpus else ("cpu",):
        wanted = preferred(device)
        obstacle = wanted.obstacle(torch.device(device))
        if obstacle is None:
            scans.append(Scan(device, wanted.name, wanted.summary))
        else:
            runs = IMPLEMENTATIONS["reference"]
            scans.append(Scan(device, runs.name, runs.summary, f"{wanted.name} {obstacle[0]}", obstacle[1]))
    return tuple(scans)


def read_extras() -> tuple[Extra, ...]:
    """What is always needed (named ""), and each extra: which packages it lacks. Empty if bimba is not installed."""
    from packaging.requirements import Requirement

    try:
        about = importlib.metadata.distribution("bimba")
    except importlib.metadata.PackageNotFoundError:
        return ()
    requirements = [Requirement(line) for line in about.requires or ()]
    extras = []
    for name in ("", *sorted(about.metadata.get_all("Provides-Extra") or ())):
        wanted = [requirement for requirement in requirements if _belongs(requirement, name)]
        unmet = (_unmet(requirement.name, str(requirement.specifier)) for requirement in wanted)
        command = f"pip install 'bimba[{name}]'" if name else "pip install --upgrade bimba"
        extras.append(Extra(name, tuple(package for package in unmet if package is not None), command))
    return tuple(extras)


def _belongs(requirement: "Requirement", extra: str) -> bool:
    """Whether an extra brings a package that is not needed anyway; "" asks for what is needed anyway."""
    marker = requirement.marker
    if marker is None or marker.evaluate({"extra": ""}):
        return not extra
    return marker.evaluate({"extra": extra})


def _unmet(name: str, wanted: str) -> Unmet | None:
    from packaging.specifiers import SpecifierSet

    try:
        installed = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Unmet(name, wanted, None)
    return None if SpecifierSet(wanted).contains(installed, prereleases=True) else Unmet(name, wanted, installed)
