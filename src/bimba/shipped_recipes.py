"""Recipes and launch files that come with the package: nothing in, names and files out."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_PLACES = (_PACKAGE / "recipes", _PACKAGE.parents[1] / "recipes")
"""In an installed wheel; in a clone, whose recipes stand at its top."""


def shipped_recipes() -> dict[str, Path]:
    """Files of the shipped recipes by name: "cpu", "ablation/no_norm", ..."""
    return _files("train")


def shipped_ablation() -> dict[str, Path]:
    """Recipes of the ablation on a laptop by name: "selective_scan", ..., and "base", which all of them extend."""
    return _files("ablation")


def shipped_evaluations() -> dict[str, Path]:
    """Evaluations on several benchmarks by name: "released"."""
    return _files("eval")


def shipped_accelerate_configs() -> dict[str, Path]:
    """Files for `accelerate launch --config_file` by name: "ddp", "zero3", ..."""
    return _files("accelerate")


def _files(kind: str) -> dict[str, Path]:
    folder = next((place / kind for place in _PLACES if (place / kind).is_dir()), None)
    if folder is None:
        return {}
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.rglob("*.yaml"))}
