"""A model's name in, and the machine; what a result was made with out: code, versions, hardware, weights."""

import hashlib
from pathlib import Path
from typing import Any

import torch

from bimba.checkpoints.source import ADAPTER_FOLDER, Source, find_source, foreign_folder
from bimba.provenance import code_and_machine

_WEIGHTS = (".safetensors", ".bin")
_CONFIGS = (
    "config.json",
    "adapter_config.json",
    "generation_config.json",
    "processor_config.json",
    "preprocessor_config.json",
    "tokenizer.json",
)
_CHUNK = 1 << 20


def session(device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """Everything that a reader needs to make a result again, but for the settings; None for what nobody tells.

    Args:
        device: of the model that answers.
        dtype: of its weights.
    """
    return code_and_machine() | {
        "num_threads": torch.get_num_threads(),
        "device": str(device),
        "dtype": str(dtype).removeprefix("torch."),
    }


def model_sha256(model: str, base: str | None) -> str:
    """Hash of a model's weights and of the small files that decide what it says; of a base's, too; ours or not.

    Raises:
        CheckpointError: nothing is there, or files are missing.
    """
    digest = hashlib.sha256()
    foreign = foreign_folder(model) if base is None else None
    if foreign is not None:
        for path in _files_of(foreign):
            digest.update(f"{path.name} {_file_sha256(path)}\n".encode())
        return digest.hexdigest()
    source: Source | None = find_source(model, base)
    while source is not None:
        for folder in (source.adapter, source.folder):
            for path in _files_of(folder):
                digest.update(f"{path.name} {_file_sha256(path)}\n".encode())
        source = source.base
    return digest.hexdigest()


def folder_sha256(folder: Path) -> str:
    """Hash of the names and sizes of a folder's files; of its contents it would take long where they are videos."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.is_file():
            digest.update(f"{path.name} {path.stat().st_size}\n".encode())
    return digest.hexdigest()


def _files_of(folder: Path | None) -> list[Path]:
    """Files of a model folder that decide what the model says, those of an adapter's inner folder included."""
    if folder is None:
        return []
    files = [path for place in (folder, folder / ADAPTER_FOLDER) for path in place.glob("*")]
    return sorted(path for path in files if path.suffix in _WEIGHTS or path.name in _CONFIGS)


def _file_sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
