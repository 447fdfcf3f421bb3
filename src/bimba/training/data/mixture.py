"""A published YAML mixture in, the files that it lists with their strategies and folders out."""

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bimba.errors import InputError
from bimba.training.data.choosing import expand_braces
from bimba.training.data.entries import read_text

_KEYS = ("json_path", "sampling_strategy", "video_folder")
_FIX = "write it as published: datasets: [{json_path: FILE, sampling_strategy: all}, ...]."


@dataclass(frozen=True)
class Listed:
    """An entry of a mixture.

    Attributes:
        paths: its files; more than one of a brace list.
        strategy: which of their entries are taken, see `choosing`.
        video_folder: what their media paths are relative to; each file's own folder if None.
    """

    paths: tuple[Path, ...]
    strategy: str = "all"
    video_folder: Path | None = None


def listed_files(path: Path) -> tuple[Path, ...]:
    """The files that a path with brace lists stands for; a file of just that name comes first."""
    return (path,) if path.exists() else tuple(map(Path, expand_braces(str(path))))


def read_mixture(path: Path, video_folder: Path | None = None) -> list[Listed]:
    """Read a mixture.

    Args:
        path: the YAML file; the paths in it are relative to its folder.
        video_folder: of entries that name none.

    Raises:
        InputError: the package for YAML is missing, or the file is no mixture.
    """
    content = _parsed(path)
    if not isinstance(content, dict) or not isinstance(content.get("datasets"), list) or not content["datasets"]:
        raise InputError(f"{path} has no list named datasets.", fix=_FIX)
    return [_listed(entry, number, path, video_folder) for number, entry in enumerate(content["datasets"])]


def _parsed(path: Path) -> Any:
    try:
        import yaml
    except ImportError as error:
        raise InputError(
            f"{path} is YAML, and the package that reads it is missing.", fix='pip install "bimba[train]".'
        ) from error
    try:
        return yaml.safe_load(read_text(path))
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date such as 2024-13-45
        raise InputError(f"{path} is not YAML: {error}.", fix=_FIX) from error


def _listed(entry: object, number: int, path: Path, video_folder: Path | None) -> Listed:
    where = f"{path}: datasets[{number}]"
    if not isinstance(entry, dict):
        raise InputError(f"{where} is {entry!r}, not an object with json_path.", fix=_FIX)
    for key in entry:
        if key not in _KEYS:
            near = difflib.get_close_matches(str(key), _KEYS, n=1, cutoff=0.5) or [", ".join(_KEYS)]
            raise InputError(f"{where} has the unknown key {key!r}.", fix=f"use {near[0]}.")
    values = {key: value for key, value in entry.items() if value is not None}
    for key, value in values.items():
        if not isinstance(value, str):
            raise InputError(f"{where}: {key} is {value!r}, not a text.", fix=_FIX)
    if "json_path" not in values:
        raise InputError(f"{where} has no json_path.", fix=_FIX)
    folder = video_folder
    if "video_folder" in values:
        folder = path.parent / values["video_folder"]
    strategy = values.get("sampling_strategy", "all")
    return Listed(listed_files(path.parent / values["json_path"]), strategy, folder)
