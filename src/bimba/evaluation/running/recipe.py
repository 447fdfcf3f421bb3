"""A YAML file of several evaluations in, the settings of each out."""

from pathlib import Path
from typing import Any

from bimba.errors import InputError
from bimba.evaluation.running.settings import BenchmarkEvaluation
from bimba.shipped_recipes import shipped_evaluations

BENCHMARKS = "benchmarks"


def read_evaluations(file: Path, **changes: object) -> dict[str, BenchmarkEvaluation]:
    """Read the settings of each benchmark of a recipe.

    Args:
        file: YAML: settings that all share, and `benchmarks`, a mapping of names to what differs. A file that is not
            there may be one that comes with the package: "eval/released.yaml".
        changes: settings instead of the file's.

    Raises:
        InputError: the file is not there or no such recipe, or a setting is unknown or out of range.
    """
    try:
        import yaml
    except ImportError as error:
        raise InputError("recipes are YAML files, which PyYAML reads.", fix='pip install "bimba[eval]"') from error
    path = _found(file)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no YAML: {error}.", fix="correct it.") from error
    if not isinstance(content, dict) or not isinstance(content.get(BENCHMARKS), dict) or not content[BENCHMARKS]:
        raise InputError(
            f"{path} is no recipe of evaluations: it names no {BENCHMARKS}.",
            fix=f"give it a mapping {BENCHMARKS!r} of names to settings, which may be empty.",
        )
    shared = {str(name): value for name, value in content.items() if name != BENCHMARKS}
    return {
        name: BenchmarkEvaluation.checked(_settings(shared, name, own, path) | changes)
        for name, own in content[BENCHMARKS].items()
    }


def _settings(shared: dict[str, Any], name: object, own: object, path: Path) -> dict[str, Any]:
    if not isinstance(own, dict | None):
        raise InputError(f"{path}: {BENCHMARKS}.{name} is {own!r}.", fix="give it settings, or {} for none.")
    return shared | {str(key): value for key, value in (own or {}).items()} | {"benchmark": name}


def _found(file: Path) -> Path:
    if file.is_file():
        return file
    shipped = {f"eval/{name}.yaml": path for name, path in shipped_evaluations().items()}
    name = file.as_posix().removeprefix("recipes/")
    if name in shipped:
        return shipped[name]
    raise InputError(f"{file} is not there.", fix=f"name a file, or one that comes with bimba: {', '.join(shipped)}.")
