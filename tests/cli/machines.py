"""Machines that are made up, for the tests of `bimba doctor`."""

from dataclasses import replace
from typing import Any

from bimba.checkpoints.shipped import RELEASED
from bimba.cli.doctor import diagnosis
from bimba.cli.doctor.command import Finding, find_findings
from bimba.cli.doctor.diagnosis import BASE, Cache, Extra, Machine, Part, Scan, Torch, Unmet
from bimba.cli.doctor.hardware import Gpu, Memory
from bimba.cli.doctor.sizes import Sizes

GB = 10**9
H100 = Gpu("cuda:0", "NVIDIA H100 80GB HBM3", 85 * GB, 84 * GB)
SMALL = Gpu("cuda:0", "NVIDIA GeForce RTX 3060", 12_600_000_000, 12_000_000_000)
NO_GPU = Torch("CPU", None, 8, {"bfloat16": 1e11, "float32": 2e11}, "this torch is a CPU build", is_gpu_there=False)
CUDA = replace(NO_GPU, build="CUDA", toolkit="12.8", gpu_problem=None)
EXTRAS = (
    Extra("", (), "pip install --upgrade bimba"),
    Extra("gpu", (Unmet("bitsandbytes", ">=0.45", None),), "pip install 'bimba[gpu]'"),
    Extra("serve", (Unmet("pillow", "<13,>=11", "13.1"),), "pip install 'bimba[serve]'"),
)


def machine(**changes: Any) -> Machine:
    """A laptop with 16 GB and without a GPU, on which everything works."""
    return replace(
        Machine(
            bimba="0.1.0",
            python="3.11.7",
            system="Linux x86_64",
            num_cores=4,
            core=tuple(Part(name, "1.0") for name in diagnosis.CORE),
            optional=tuple(Part(name, None, diagnosis.ABSENT) for name in diagnosis.OPTIONAL),
            torch=NO_GPU,
            gpus=(),
            memory=Memory(16 * GB, 12 * GB, None),
            cache=Cache("~/.cache/huggingface/hub", 100 * GB, {RELEASED: False, BASE: False}, None),
            ffmpeg="8.1.2",
            codecs=dict.fromkeys(diagnosis.CODECS, True),
            scans=(Scan("cpu", "cpu", "compiled loops on all cores"),),
            extras=EXTRAS,
        ),
        **changes,
    )


def with_parts(*working: str, **broken: str) -> tuple[Part, ...]:
    """The optional packages, of which some work and some are broken."""
    parts = []
    for name in diagnosis.OPTIONAL:
        absent = Part(name, None, diagnosis.ABSENT)
        parts.append(Part(name, "1.0", broken.get(name)) if name in (*working, *broken) else absent)
    return tuple(parts)


def gpu_machine(*gpus: Gpu, **changes: Any) -> Machine:
    return machine(gpus=gpus, torch=CUDA, optional=with_parts("accelerate", "bitsandbytes"), **changes)


def finding(found: Machine, name: str, sizes: Sizes | None = None) -> Finding:
    return next(line for line in find_findings(found, sizes) if line.name == name)
