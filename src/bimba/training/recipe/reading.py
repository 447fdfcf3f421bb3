"""A recipe file, the files it extends, and overrides in; one checked `Recipe` out, and back to text.

Paths inside a recipe are relative to the folder that a command runs in, as on every command line; only `extends` is
relative to the file that it stands in, because recipes travel together.
"""

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from bimba.errors import InputError
from bimba.shipped_recipes import shipped_recipes
from bimba.training.recipe.checking import checked, unknown_key
from bimba.training.recipe.known import known_keys
from bimba.training.recipe.settings import Recipe

if TYPE_CHECKING:
    from types import ModuleType

_KINDS = {
    ("model",): ("start", "checkpoint"),
    ("model", "compressor"): ("type", "selective_scan"),
    ("model", "config", "compressor"): ("type", "selective_scan"),
    ("train",): ("kind", "bimba"),
}
"""Mappings of several kinds: the key that tells them apart, and what it is when it is absent."""

_OVERRIDE = "write KEY=VALUE, e.g. schedule.max_steps=10."


@dataclass(frozen=True)
class _Layer:
    """What one file says.

    Attributes:
        path: of the file.
        values: its keys, without `extends`.
        lines: of its keys by dotted place.
    """

    path: Path
    values: Mapping[str, Any]
    lines: Mapping[str, int]


def read_recipe(recipe: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe.

    Mappings of a file are merged into those of the file it extends; lists and single values replace. A `model` with
    another `start`, a `train` of another `kind`, or a `compressor` with another `type`, replaces as a whole, as its
    keys would not fit.

    Args:
        recipe: a YAML file, or the name of a shipped recipe such as "cpu"; a file of that name wins.
        overrides: `KEY=VALUE` with a dotted key, e.g. `schedule.max_steps=10` or `data.sources.0.json_path=x.json`;
            values are YAML, and later ones win.

    Raises:
        InputError: a file is missing, no YAML or no recipe; keys are unknown, missing or twice there; values are not
            allowed.
    """
    path = _find(recipe)
    layers = _with_parents(path, ())
    values: Any = {}
    for layer in layers:
        values = _merged(values, layer.values, ())
    set_here: list[str] = []
    problems: list[str] = []
    for override in overrides:
        key, value = _split(override)
        known = known_keys(_with_start(values))
        if key in known:
            values = _with_value(values, tuple(key.split(".")), value, ())
            set_here.append(key)
        else:
            problems.append(unknown_key(key, known, " (command line)"))
    return checked(_with_start(values), str(recipe), _finder(layers, set_here), problems)


def recipe_as_yaml(recipe: Recipe) -> str:
    """The recipe with every default written out; reading it gives an equal recipe.

    Raises:
        InputError: it holds a value that YAML does not have.
    """
    text: str = _yaml().dump_yaml(_plain(recipe))
    return text


def differences(one: Recipe, other: Recipe) -> list[str]:
    """What two recipes set differently, e.g. "schedule.learning_rate is 1e-06 there and 1e-05 here".

    Args:
        one: the recipe that is "there", e.g. of an earlier run.
        other: the recipe that is "here".
    """
    there, here = _flat(_plain(one)), _flat(_plain(other))
    return [
        f"{place} is {there.get(place, 'absent')} there and {here.get(place, 'absent')} here"
        for place in dict.fromkeys([*there, *here])
        if there.get(place) != here.get(place)
    ]


def _yaml() -> "ModuleType":
    try:
        from bimba.training.recipe import yaml_text
    except ImportError as error:
        raise InputError("recipes are YAML, and PyYAML is not installed.", fix='pip install "bimba[train]"') from error
    return yaml_text


def _find(recipe: str | Path) -> Path:
    """The file of a recipe that a user names."""
    path = Path(recipe)
    if path.is_file():
        return path
    return _shipped(path.as_posix(), f"there is no recipe {recipe}")


def _shipped(name: str, problem: str) -> Path:
    """The file of a shipped recipe, or an error that says which there are."""
    shipped = shipped_recipes()
    if name in shipped:
        return shipped[name]
    near = difflib.get_close_matches(name.rpartition("/")[2].removesuffix(".yaml"), shipped, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise InputError(
        f"{problem}: neither a file nor a shipped recipe.",
        fix=f"{hint}name a YAML file or one of {', '.join(shipped)}.",
    )


def _with_parents(path: Path, children: tuple[Path, ...]) -> list[_Layer]:
    """A file and all that it extends, the farthest first."""
    chain = (*children, path)
    if path.resolve() in [child.resolve() for child in children]:
        raise InputError(
            f"recipes extend each other in a circle: {' -> '.join(str(link) for link in chain)}.",
            fix=f"remove `extends` from {path}.",
        )
    layer, parent = _read(path)
    if parent is None:
        return [layer]
    beside = path.parent / parent
    found = beside if beside.is_file() else _shipped(parent, f"{path}:{layer.lines['extends']} extends {parent}")
    return [*_with_parents(found, chain), layer]


def _read(path: Path) -> tuple[_Layer, str | None]:
    """What a file says, and what it extends."""
    yaml_text = _yaml()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} cannot be read: {error}.", fix="name a text file (UTF-8) that you may read."
        ) from error
    document = yaml_text.parse_yaml(text, str(path))
    if not isinstance(document.values, dict):
        what = "empty" if document.values is None else f"a {type(document.values).__name__}, not a mapping"
        raise InputError(f"{path} is {what}.", fix="write key: value lines, such as `output: runs/first`.")
    values = dict(document.values)
    parent = values.pop("extends", None)
    if "extends" in document.lines and (not isinstance(parent, str) or not parent):
        raise InputError(
            f"{path}:{document.lines['extends']}: extends is {parent!r}.", fix="name one file or one shipped recipe."
        )
    return _Layer(path, values, document.lines), parent


def _merged(below: Any, above: Any, place: tuple[str, ...]) -> Any:
    """Values with others on top of them: mappings merge, everything else replaces."""
    if not (isinstance(below, Mapping) and isinstance(above, Mapping)) or _other_kind(below, above, place):
        return above
    both = dict(below)
    for key, value in above.items():
        both[key] = _merged(below[key], value, (*place, str(key))) if key in below else value
    return both


def _other_kind(below: Mapping[str, Any], above: Mapping[str, Any], place: tuple[str, ...]) -> bool:
    """Whether values name another kind of mapping than those they would be merged into."""
    if place not in _KINDS:
        return False
    key, default = _KINDS[place]
    return key in above and above[key] != below.get(key, default)


def _split(override: str) -> tuple[str, Any]:
    """Key and value of an override."""
    key, equals, text = override.partition("=")
    key = key.strip()
    if not equals or not key:
        raise InputError(f"override {override!r} is not KEY=VALUE.", fix=_OVERRIDE)
    return key, _yaml().parse_yaml(text, f"override {override!r}").values


def _with_value(values: Any, keys: tuple[str, ...], value: Any, place: tuple[str, ...]) -> Any:
    """Values with one of them replaced, or merged into if it is a mapping."""
    if not keys:
        return _merged(values, value, place)
    key, rest = keys[0], keys[1:]
    if isinstance(values, list) and key.isdecimal() and int(key) < len(values):
        index = int(key)
        return [*values[:index], _with_value(values[index], rest, value, (*place, key)), *values[index + 1 :]]
    if values is not None and not isinstance(values, Mapping):
        raise InputError(
            f"{'.'.join((*place, *keys))} cannot be set: {'.'.join(place)} is {values!r}.",
            fix=f"set {'.'.join(place)} as a whole.",
        )
    within = {} if values is None else values
    return _merged(within, {key: _with_value(within.get(key), rest, value, (*place, key))}, place)


def _with_start(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Values in which a model with a path starts from a checkpoint if it does not say what it starts from."""
    model = values.get("model")
    if isinstance(model, Mapping) and "path" in model and "start" not in model:
        return {**values, "model": {"start": "checkpoint", **model}}
    return values


def _finder(layers: Sequence[_Layer], set_here: Sequence[str]) -> Callable[[str], str]:
    """A function that tells where a dotted place was set last."""

    def where(place: str) -> str:
        if any(place == key or place.startswith(f"{key}.") for key in set_here):
            return " (command line)"
        return next((f" ({layer.path}:{layer.lines[place]})" for layer in reversed(layers) if place in layer.lines), "")

    return where


def _plain(value: Any) -> Any:
    """Settings as what YAML has: mappings, lists, texts, numbers, booleans and None."""
    if isinstance(value, BaseModel):
        return {name: _plain(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return str(value) if isinstance(value, Path) else value


def _flat(values: Any, place: tuple[str, ...] = ()) -> dict[str, str]:
    """Single values, and lists of them, by their dotted places, as text."""
    if isinstance(values, list) and any(isinstance(item, dict) for item in values):
        values = {str(index): item for index, item in enumerate(values)}
    if not isinstance(values, dict):
        return {".".join(place): json.dumps(values, ensure_ascii=False, default=str)}
    return {key: text for name, inner in values.items() for key, text in _flat(inner, (*place, str(name))).items()}
