"""A command that takes groups of options in; the same command with each option in its signature out, for typer."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import wraps
from inspect import Parameter
from typing import Any, get_type_hints


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Spell out a command's groups of options, each a dataclass whose fields are options.

    typer makes an option of each parameter, and a group is none. What is returned has the fields of each group in the
    group's place, in their order, with their defaults; parameters that are no groups stay as they are.

    Args:
        command: what is run; its groups are the parameters that are annotated with a dataclass.

    Returns:
        the command under its name, called with options; it fills the groups.

    Raises:
        ValueError: two options have one name, or a default would be lost: a group's own, or one made by a factory.
    """
    written = inspect.signature(command, eval_str=True)
    groups: dict[str, type[Any]] = {
        name: parameter.annotation for name, parameter in written.parameters.items() if _is_group(parameter.annotation)
    }
    spelled: dict[str, Parameter] = {}
    owners: dict[str, str] = {}
    for name, parameter in written.parameters.items():
        for option in _options_of(parameter) if name in groups else (parameter,):
            if option.name in owners:
                owner = f"of {owners[option.name]} and of {name}"
                raise ValueError(f"{command.__name__} has two options called {option.name}: {owner}")
            spelled[option.name], owners[option.name] = option, name
    signature = written.replace(parameters=list(spelled.values()))

    @wraps(command)
    def run(*words: Any, **options: Any) -> None:
        bound = signature.bind(*words, **options)
        bound.apply_defaults()
        given = bound.arguments
        filled = {
            name: group(**{field.name: given.pop(field.name) for field in fields(group)})
            for name, group in groups.items()
        }
        command(**given, **filled)

    run.__signature__ = signature  # type: ignore[attr-defined] # inspect looks for it there
    run.__annotations__ = {
        name: option.annotation for name, option in spelled.items() if option.annotation is not Parameter.empty
    }
    if written.return_annotation is not inspect.Signature.empty:
        run.__annotations__["return"] = written.return_annotation
    return run


def _is_group(annotation: object) -> bool:
    return isinstance(annotation, type) and is_dataclass(annotation)


def _options_of(group: Parameter) -> Iterator[Parameter]:
    """The fields of a group as parameters, each of the group's kind.

    Raises:
        ValueError: a default would be lost.
    """
    if group.default is not Parameter.empty:
        raise ValueError(f"the group {group.name} has a default; give defaults to its fields")
    hints = get_type_hints(group.annotation, include_extras=True)
    for field in fields(group.annotation):
        yield Parameter(field.name, group.kind, default=_default_of(field), annotation=hints[field.name])


def _default_of(field: "Field[Any]") -> Any:
    if field.default_factory is not MISSING:
        raise ValueError(f"the option {field.name} has a default that is made by a factory; typer shows values")
    return Parameter.empty if field.default is MISSING else field.default
