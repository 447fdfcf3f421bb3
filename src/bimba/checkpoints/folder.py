"""Lazily read tensors and small files in, a whole model folder on disk out, or nothing at all.

A folder is written under a temporary name beside its place and renamed when it is complete.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from bimba.checkpoints.tensors import INDEX_NAME, SINGLE_NAME, LazyTensor, num_bytes, shards
from bimba.errors import CheckpointError

SMALLEST_SHARD, LARGEST_SHARD = 64_000_000, 2_000_000_000
"""Bounds of a shard in bytes: while a folder is written, no more than a shard (and its copy as bytes) is in memory."""

WEIGHT_ENDINGS = (".safetensors", ".bin", ".pt", ".pth", ".gguf")

OnTensors = Callable[[int, int], None]
"""Called with how many bytes of tensors are written and how many there are."""


@contextmanager
def new_folder(place: Path) -> Iterator[Path]:
    """A temporary folder that becomes `place` when the block ends well, and vanishes when it does not.

    Raises:
        CheckpointError: there is something at that place already, or it cannot be written.
    """
    place = place.expanduser().resolve()
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise CheckpointError(f"{place} exists already.", fix="name a new folder, or remove that one first.")
    # An empty folder that is there may be a mount or somebody's working folder: it is filled, not replaced.
    fill = place.is_dir()
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place if fill else place.parent))
    except OSError as error:
        raise CheckpointError(f"{place} cannot be written: {error}.", fix="name a folder you may write to.") from error
    try:
        yield temporary
        _make_readable(temporary)
        if fill:
            for entry in temporary.iterdir():
                entry.rename(place / entry.name)
        else:
            temporary.rename(place)
    except OSError as error:
        raise CheckpointError(
            f"{place} could not be written: {error}.", fix="free some space, or name another place."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _make_readable(folder: Path) -> None:
    """Give files and folders the usual rights; mkdtemp and safetensors make theirs for the owner alone."""
    umask = os.umask(0)
    os.umask(umask)
    for path in [folder, *folder.rglob("*")]:
        path.chmod((0o777 if path.is_dir() else 0o666) & ~umask)


def write_tensors(
    folder: Path,
    tensors: Mapping[str, LazyTensor],
    *,
    layout: Mapping[str, str] | None = None,
    on_tensors: OnTensors | None = None,
) -> dict[str, str]:
    """Write safetensors files, reading no more than one shard at a time.

    Args:
        folder: where to.
        tensors: by name.
        layout: file of each tensor; if not given, shards of a quarter of the model, 2 GB at most, with an index.
        on_tensors: told of the progress.

    Returns:
        digest of each tensor, see `digest`.
    """
    total = sum(map(num_bytes, tensors.values()))
    done = 0
    files = _grouped(tensors, layout)
    digests: dict[str, str] = {}
    for name, group in files.items():
        read = {key: tensor[...].contiguous() for key, tensor in group.items()}
        digests.update((key, digest(tensor)) for key, tensor in read.items())
        save_file(read, folder / name, {"format": "pt"})
        del read
        done += sum(map(num_bytes, group.values()))
        if on_tensors is not None:
            on_tensors(done, total)
    if len(files) > 1:
        weight_map = {key: name for name, group in files.items() for key in group}
        write_json(folder / INDEX_NAME, {"metadata": {"total_size": total}, "weight_map": weight_map})
    return digests


def digest(tensor: Tensor) -> str:
    """What tells whether a tensor is still the same: dtype, shape and SHA-256 of its bytes."""
    content = hashlib.sha256(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return f"{tensor.dtype} {list(tensor.shape)} {content.hexdigest()}"


def _grouped(tensors: Mapping[str, LazyTensor], layout: Mapping[str, str] | None) -> dict[str, dict[str, LazyTensor]]:
    """Tensors of each file."""
    if layout is not None:
        files: dict[str, dict[str, LazyTensor]] = {}
        for key, tensor in tensors.items():
            files.setdefault(layout[key], {})[key] = tensor
        return files
    total = sum(map(num_bytes, tensors.values()))
    groups = list(shards(tensors, min(max(total // 4, SMALLEST_SHARD), LARGEST_SHARD)))
    if len(groups) == 1:
        return {SINGLE_NAME: groups[0]}
    return {f"model-{index:05d}-of-{len(groups):05d}.safetensors": group for index, group in enumerate(groups, start=1)}


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write a JSON object."""
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def copy_files(source: Path, target: Path, *, weights: bool) -> None:
    """Copy the files of a folder, its weights only if asked for; sub-folders are left out."""
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.iterdir()):
        if path.is_file() and (weights or not path.name.endswith(WEIGHT_ENDINGS)):
            shutil.copyfile(path, target / path.name)
