"""The model that an adapter goes onto: a few values of each of its tensors in, whether another one is the same out.

The values tell one base from another of the same architecture without reading either: one row of each tensor is
touched. They are compared exactly, but where a LoRA was merged, or one side is kept in another dtype: sums come out a
rounding apart on other machines and in other layouts of the same model.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from bimba.checkpoints.lora import Merged
from bimba.checkpoints.tensors import LazyTensor, read_json
from bimba.errors import CheckpointError

BASE_NAME = "base.json"
_NUM_VALUES = 4


@dataclass(frozen=True)
class Sample:
    """What is remembered of one tensor.

    Args:
        dtype: as torch calls it, without "torch.".
        shape: of the whole tensor.
        values: some, evenly spread over its middle row.
        merged: whether a LoRA was merged into it when they were read.
    """

    dtype: str
    shape: tuple[int, ...]
    values: tuple[float, ...]
    merged: bool


@dataclass(frozen=True)
class Base:
    """A model that an adapter goes onto.

    Args:
        path: folder or hub id, as it was given.
        base: of that model, if it is a released adapter and its base was given, too.
        dtype: of its weights.
        samples: of each of its tensors, under our names.
    """

    path: str
    base: str | None
    dtype: torch.dtype
    samples: Mapping[str, Sample]

    def to_json(self) -> dict[str, Any]:
        """As it is written to `base.json`."""
        tensors = {name: asdict(sample) for name, sample in self.samples.items()}
        return {"path": self.path, "base": self.base, "dtype": _name(self.dtype), "tensors": tensors}


def read_base(folder: Path) -> Base:
    """What an adapter folder says of its base.

    Raises:
        CheckpointError: `base.json` is damaged.
    """
    content = read_json(folder / BASE_NAME)
    try:
        return _described(content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{folder / BASE_NAME} does not describe a base ({type(error).__name__}: {error}).",
            fix="copy the file again from where the adapter was made.",
        ) from error


def _described(content: Mapping[str, Any]) -> Base:
    """The base that a JSON object describes, each value of the type it should have."""
    path, base, dtype = content["path"], content["base"], getattr(torch, content["dtype"])
    if not isinstance(path, str) or not isinstance(base, str | None) or not isinstance(dtype, torch.dtype):
        raise TypeError("path, base or dtype is of another type")
    samples = {
        name: Sample(
            dtype=str(entry["dtype"]),
            shape=tuple(map(int, entry["shape"])),
            values=tuple(map(float, entry["values"])),
            merged=bool(entry["merged"]),
        )
        for name, entry in content["tensors"].items()
    }
    return Base(path, base, dtype, samples)


def take_sample(tensor: LazyTensor) -> Sample:
    """A few values of a tensor, of which one row is read."""
    shape = tuple(tensor.shape)
    if not math.prod(shape):
        values = torch.empty(0)
    else:
        row = (tensor.row(shape[0] // 2) if len(shape) > 1 else tensor[...]).reshape(-1)
        values = row[torch.linspace(0, len(row) - 1, min(_NUM_VALUES, len(row))).long().to(row.device)]
    return Sample(_name(tensor.dtype), shape, tuple(map(float, values.double())), isinstance(tensor, Merged))


def differences(expected: Base, tensors: Mapping[str, LazyTensor], needed: Collection[str]) -> list[str]:
    """Tensors of another base that are not those of the expected one, one line each.

    Args:
        expected: what the adapter goes onto.
        tensors: of the other base, under our names.
        needed: names of those that the adapter does not bring itself.
    """
    lines = []
    for name in needed:
        before, now = expected.samples.get(name), tensors.get(name)
        if before is None or now is None:
            continue  # told as missing or unknown when the model is put together
        line = _difference(before, take_sample(now))
        if line is not None:
            lines.append(f"{name}: {line}")
    return lines


def _difference(before: Sample, now: Sample) -> str | None:
    """How two tensors differ, None if they do not."""
    if before.shape != now.shape:
        return f"{list(before.shape)} where the adapter was made, {list(now.shape)} here"
    rounding = 0.0
    if before.merged or now.merged or before.dtype != now.dtype:
        rounding = 2 * max(torch.finfo(getattr(torch, name)).eps for name in (before.dtype, now.dtype))
    # What cancels to nearly nothing is wrong by a rounding of what it was made of.
    most = rounding * max(map(abs, before.values), default=0.0)
    for value, other in zip(before.values, now.values, strict=True):
        if abs(value - other) > most and not math.isnan(value):
            return f"{value:.6g} where the adapter was made, {other:.6g} here"
    return None


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
