"""The values of a recipe in, a checked `Recipe` out, or one message about everything that is wrong with them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from bimba.errors import InputError
from bimba.training.recipe.known import KnownKeys, known_keys
from bimba.training.recipe.settings import Recipe

_KINDS = {"model": ("start", "checkpoint, parts or scratch"), "train": ("kind", "bimba or vamba")}
"""Sections of several kinds: the key that tells them apart, and what it can be."""


def checked(values: Mapping[str, Any], name: str, where: Callable[[str], str], also: Sequence[str] = ()) -> Recipe:
    """Settings of plain values.

    Args:
        values: of the whole recipe.
        name: of the recipe, for the message.
        where: gives the file and line of a dotted place, in brackets and with a space in front, or nothing.
        also: problems that were found before.

    Raises:
        InputError: keys are unknown or missing, or values are not allowed; each is named in a line of its own.
    """
    known = known_keys(values)
    problems = {place: _unknown(place, known, where) for place in _unknown_free(values, known)}
    recipe = None
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        for details in error.errors(include_url=False):
            place = _place(details, values)
            if any(other.startswith(f"{place}.") for other in problems if place):
                continue  # the same unknown key, once more, without its place
            problem = _problem(details, place, known, where)
            if place not in problems:
                problems[place] = problem
            elif details["type"] == "literal_error":
                problems[place] += f", or {_wording(details)}"  # one of a union's other members
    found = [*also, *problems.values()]
    if recipe is None or found:
        listed = "".join(f"\n  - {problem}" for problem in found)
        raise InputError(
            f"the recipe {name} does not hold:{listed}",
            fix='change these keys; the page "Train from a recipe" of the documentation lists all of them.',
        )
    return recipe


def unknown_key(place: str, known: KnownKeys, where: str) -> str:
    """Say that a key is unknown, and which one could have been meant."""
    return f"{place}{where} is unknown; {known.suggestion(place)}"


def _unknown(place: str, known: KnownKeys, where: Callable[[str], str]) -> str:
    return unknown_key(place, known, where(place))


def _unknown_free(values: Any, known: KnownKeys, place: tuple[str, ...] = ()) -> Iterator[str]:
    """Unknown keys of the mappings that have no section of their own, which pydantic would let through."""
    if ".".join(place) in known.open:
        return
    if isinstance(values, Mapping):
        for key, value in values.items():
            inner = (*place, str(key))
            is_free = any(beside in known.open for beside in known.beside(".".join(inner)))
            if is_free and ".".join(inner) not in known:
                yield ".".join(inner)
            else:
                yield from _unknown_free(value, known, inner)
    elif isinstance(values, list):
        for index, value in enumerate(values):
            yield from _unknown_free(value, known, (*place, str(index)))


def _place(details: Mapping[str, Any], values: Any) -> str:
    """The dotted place of an error, without the names of union members that pydantic puts between the keys."""
    place: list[str] = []
    for part in details["loc"]:
        if isinstance(values, Mapping) and part in values:
            values = values[part]
        elif isinstance(values, list) and isinstance(part, int):
            values = values[part] if part < len(values) else None
        elif not (details["type"] == "missing" and part == details["loc"][-1]):
            continue
        place.append(str(part))
    if details["type"] in ("union_tag_invalid", "union_tag_not_found"):
        place.append(_KINDS[".".join(place)][0])
    return ".".join(place)


def _problem(details: Mapping[str, Any], place: str, known: KnownKeys, where: Callable[[str], str]) -> str:
    """One error of pydantic as a sentence about a key."""
    kind, value = details["type"], details["input"]
    if kind == "extra_forbidden":
        return unknown_key(place, known, where(place))
    if kind == "missing":
        return f"{place} is missing"
    if kind == "union_tag_not_found":
        return f"{place} is missing; it is {_allowed(place)}"
    if kind == "union_tag_invalid":
        return f"{place}{where(place)} is {value[place.rpartition('.')[2]]!r}: it should be {_allowed(place)}"
    if not place:
        return _wording(details)
    if isinstance(value, Mapping):
        return f"{place}{where(place)}: {_wording(details)}"
    return f"{place}{where(place)} is {value!r}: {_wording(details)}"


def _allowed(place: str) -> str:
    """What the key that tells the kind of a section can be."""
    return _KINDS[place.rpartition(".")[0]][1]


def _wording(details: Mapping[str, Any]) -> str:
    """What pydantic says is allowed."""
    if details["type"] in ("model_type", "model_attributes_type", "dict_type"):
        return "it should be a mapping, key: value"
    if details["type"] in ("tuple_type", "list_type"):
        return "it should be a list"
    message: str = details["msg"].removeprefix("Value error, ").rstrip(".")
    for kind in ("Input", "String", "Tuple", "List", "Dictionary"):
        if message.startswith(f"{kind} should"):
            return f"it{message.removeprefix(kind)}"
    return message
