"""Weight files in, tensors that are read only when asked for out.

A lazy tensor knows its shape and dtype; `lazy[...]` reads it. transformers' loader takes them like the slices of
safetensors, so a checkpoint is translated and merged tensor by tensor and never lies in memory twice.
"""

import json
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import EllipsisType
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from bimba.errors import CheckpointError

INDEX_NAME = "model.safetensors.index.json"
SINGLE_NAME = "model.safetensors"
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}


UNREADABLE = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    ValueError,
    OSError,
    LookupError,
    AttributeError,
    TypeError,
    AssertionError,
)
"""What torch.load raises on damaged files; none of it means that anything was executed."""


class LazyTensor(Protocol):
    """A tensor that is read by `lazy[...]`, or a row of it by `lazy.row(index)`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Known without reading the tensor."""

    @property
    def dtype(self) -> torch.dtype:
        """Known without reading the tensor."""

    def __getitem__(self, index: EllipsisType) -> Tensor: ...

    def row(self, index: int) -> Tensor:
        """What `lazy[...][index]` gives, without reading all of it where that can be avoided."""


@dataclass(frozen=True)
class InMemory:
    """A tensor that is read already."""

    tensor: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """As the whole tensor has it."""
        return tuple(self.tensor.shape)

    @property
    def dtype(self) -> torch.dtype:
        """As the whole tensor has it."""
        return self.tensor.dtype

    def __getitem__(self, index: EllipsisType) -> Tensor:
        return self.tensor

    def row(self, index: int) -> Tensor:
        """Row `index`."""
        return self.tensor[index]


class InFile:
    """A tensor of a safetensors file."""

    def __init__(self, handle: safe_open, key: str) -> None:
        self._handle, self._key = handle, key
        view = handle.get_slice(key)
        self._shape, self._dtype = tuple(view.get_shape()), _DTYPES[view.get_dtype()]

    @property
    def shape(self) -> tuple[int, ...]:
        """As the whole tensor has it."""
        return self._shape

    @property
    def dtype(self) -> torch.dtype:
        """As the whole tensor has it."""
        return self._dtype

    def __getitem__(self, index: EllipsisType) -> Tensor:
        tensor: Tensor = self._handle.get_tensor(self._key)
        return tensor

    def row(self, index: int) -> Tensor:
        """Row `index`; nothing else is read."""
        tensor: Tensor = self._handle.get_slice(self._key)[index]
        return tensor


@dataclass(frozen=True)
class Rows:
    """Rows start..stop of another lazy tensor."""

    source: LazyTensor
    start: int
    stop: int

    @property
    def shape(self) -> tuple[int, ...]:
        """As the whole tensor has it."""
        return (self.stop - self.start, *self.source.shape[1:])

    @property
    def dtype(self) -> torch.dtype:
        """As the whole tensor has it."""
        return self.source.dtype

    def __getitem__(self, index: EllipsisType) -> Tensor:
        return self.source[...][self.start : self.stop].clone()

    def row(self, index: int) -> Tensor:
        """Row `index` of these."""
        return self.source.row(self.start + index)


@dataclass(frozen=True)
class Stacked:
    """Lazy tensors put on top of each other."""

    parts: tuple[LazyTensor, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """As the whole tensor has it."""
        return (sum(part.shape[0] for part in self.parts), *self.parts[0].shape[1:])

    @property
    def dtype(self) -> torch.dtype:
        """As the whole tensor has it."""
        return self.parts[0].dtype

    def __getitem__(self, index: EllipsisType) -> Tensor:
        return torch.cat([part[...] for part in self.parts])

    def row(self, index: int) -> Tensor:
        """Row `index` of all of them."""
        for part in self.parts:
            if index < part.shape[0]:
                return part.row(index)
            index -= part.shape[0]
        raise IndexError(index)


@dataclass(frozen=True)
class Cast:
    """Another lazy tensor as it is written: on the CPU, in another dtype."""

    source: LazyTensor
    dtype: torch.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """As the whole tensor has it."""
        return self.source.shape

    def __getitem__(self, index: EllipsisType) -> Tensor:
        return self.source[...].to("cpu", self.dtype)

    def row(self, index: int) -> Tensor:
        """Row `index`."""
        return self.source.row(index).to("cpu", self.dtype)


@dataclass(frozen=True)
class Copied:
    """Another lazy tensor in memory of its own: safetensors writes no two that share it, and both may be trained."""

    source: LazyTensor

    @property
    def shape(self) -> tuple[int, ...]:
        """As the whole tensor has it."""
        return self.source.shape

    @property
    def dtype(self) -> torch.dtype:
        """As the whole tensor has it."""
        return self.source.dtype

    def __getitem__(self, index: EllipsisType) -> Tensor:
        return self.source[...].clone()

    def row(self, index: int) -> Tensor:
        """Row `index`."""
        return self.source.row(index).clone()


def num_bytes(tensor: LazyTensor) -> int:
    """Size of a tensor in bytes."""
    return torch.Size(tensor.shape).numel() * tensor.dtype.itemsize


def weight_files(folder: Path) -> dict[str, list[str]]:
    """Safetensors files of a model folder, each with its tensor names (empty list: not known from an index).

    Raises:
        CheckpointError: there are none, or the index names shards that are missing.
    """
    index = folder / INDEX_NAME
    if index.is_file():
        files: dict[str, list[str]] = {}
        for key, name in weight_map(read_json(index).get("weight_map"), index).items():
            files.setdefault(name, []).append(key)
        missing = sorted(name for name in files if not (folder / name).is_file())
        if missing or not files:
            raise CheckpointError(
                f"{folder} lacks {len(missing)} of {len(files)} weight files: {', '.join(missing)}.",
                fix=f"fetch them again: hf download MODEL_ID --local-dir {folder}",
            )
        return files
    if (folder / SINGLE_NAME).is_file():
        return {SINGLE_NAME: []}
    raise CheckpointError(
        f"{folder} has no weights ({SINGLE_NAME}, or {INDEX_NAME} with its shards).",
        fix=f"fetch the model again: hf download MODEL_ID --local-dir {folder}",
    )


def weight_map(content: object, where: Path) -> dict[str, str]:
    """File of each tensor, as a JSON file lists it.

    Raises:
        CheckpointError: it is no such list, or a name leads out of the folder.
    """
    if not isinstance(content, dict):
        raise CheckpointError(f"{where} does not say which file holds which tensor.", fix="fetch the file again.")
    for key, name in content.items():
        if not isinstance(name, str) or not name.endswith(".safetensors") or Path(name).name != name:
            raise CheckpointError(
                f"{where} names {name!r} for {key}: not a safetensors file of its own folder.",
                fix="do not use this folder unless you trust it; fetch the model again.",
            )
    return content


def open_safetensors(path: Path) -> dict[str, LazyTensor]:
    """Tensors of one safetensors file by name.

    Raises:
        CheckpointError: the file is damaged.
    """
    try:
        handle = safe_open(path, framework="pt", device="cpu")
        names: list[str] = handle.keys()
        return {key: InFile(handle, key) for key in names}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is not a whole safetensors file ({error}).", fix="fetch or copy the file again."
        ) from error


def open_folder(folder: Path) -> dict[str, LazyTensor]:
    """Tensors of a model folder by name, whatever its shards.

    Raises:
        CheckpointError: weight files are missing or damaged.
    """
    tensors: dict[str, LazyTensor] = {}
    for name in weight_files(folder):
        tensors.update(open_safetensors(folder / name))
    return tensors


def read_bin(path: Path) -> dict[str, LazyTensor]:
    """Tensors of a pickled file, read without executing anything it holds.

    Raises:
        CheckpointError: the file holds anything but tensors by name, or is damaged.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        raise CheckpointError(
            f"{path} is refused: it is damaged or holds more than tensors, and pickled code is never run here "
            f"({(str(error).splitlines() or [type(error).__name__])[0]}).",
            fix="ask its author for a .safetensors file, or fetch the file again.",
        ) from error
    if not isinstance(state, Mapping) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items()
    ):
        raise CheckpointError(
            f"{path} is refused: it does not hold tensors by name and nothing else.",
            fix="ask its author for a .safetensors file, or fetch the file again.",
        )
    return {key: InMemory(value) for key, value in state.items()}


def open_either(folder: Path, stem: str) -> dict[str, LazyTensor] | None:
    """Tensors of `stem.safetensors` or `stem.bin` in a folder (the first is preferred), None if there is neither."""
    if (folder / f"{stem}.safetensors").is_file():
        return open_safetensors(folder / f"{stem}.safetensors")
    if (folder / f"{stem}.bin").is_file():
        return read_bin(folder / f"{stem}.bin")
    return None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        CheckpointError: the file is no JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} is not valid JSON ({error}).", fix="fetch or copy the file again.") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds {type(content).__name__}, not an object.", fix="fetch the file again.")
    return content


def shards(tensors: Mapping[str, LazyTensor], limit_bytes: int) -> Iterator[dict[str, LazyTensor]]:
    """Groups of tensors in order, each below the limit (or of one tensor)."""
    group: dict[str, LazyTensor] = {}
    size = 0
    for key, tensor in tensors.items():
        if group and size + num_bytes(tensor) > limit_bytes:
            yield group
            group, size = {}, 0
        group[key] = tensor
        size += num_bytes(tensor)
    if group:
        yield group
