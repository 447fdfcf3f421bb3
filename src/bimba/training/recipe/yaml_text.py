"""YAML text in, plain values and the lines they stand on out; and back.

Imports PyYAML, which comes with the extra `train`; `reading` imports this module only when there is something to read.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import yaml

from bimba.errors import InputError

_PREFIX = "tag:yaml.org,2002:"
_TEXT, _MAPPING, _SEQUENCE, _MERGE = (_PREFIX + name for name in ("str", "map", "seq", "merge"))

_EXPONENT = re.compile(r"[-+]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)[eE][-+]?[0-9]+")
"""Numbers such as 1e-6: YAML 1.1 wants a point and a sign (1.0e-6) and reads others as text."""

_BREAKS = "\x85\u2028\u2029\ufeff"
"""PyYAML writes these as they are and reads them as line breaks or not at all, so they have to be escaped."""


def _resolvers() -> dict[Any, list[tuple[str, re.Pattern[str]]]]:
    """PyYAML's rules for what a plain word is, with 1e-6 as a number and 2026-01-31 as text (it may name a folder)."""
    rules = {
        first: [(tag, pattern) for tag, pattern in choices if tag != _PREFIX + "timestamp"]
        for first, choices in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    for first in "+-.0123456789":
        rules.setdefault(first, []).append((_PREFIX + "float", re.compile(rf"^(?:{_EXPONENT.pattern})$")))
    return rules


class _Loader(yaml.SafeLoader):
    """A safe loader with the rules above."""

    yaml_implicit_resolvers = _resolvers()


class _Dumper(yaml.SafeDumper):
    """A safe dumper that quotes what the loader would not read as text."""

    yaml_implicit_resolvers = _resolvers()

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
        """Values that are there twice are written twice."""
        return True


@dataclass(frozen=True)
class Document:
    """What a YAML text says.

    Attributes:
        values: mappings, lists, texts, numbers, booleans and None.
        lines: the line, counted from 1, of each key and list entry by its dotted place ("data.sources.0.json_path").
    """

    values: Any
    lines: Mapping[str, int]


def parse_yaml(text: str, name: str) -> Document:
    """Read a YAML text.

    Args:
        text: one document.
        name: of the file, for messages.

    Raises:
        InputError: the text is no YAML, gives a key twice, or has tags such as `!!python/object`.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return Document(None, {})
        lines: dict[str, int] = {}
        _look(loader, node, name, (), lines, set())
        return Document(loader.construct_document(node), lines)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark is not None else ""
        raise InputError(
            f"{name}{line} is not YAML: {error.problem or error.context}.",
            fix="repair that line; quote texts that hold characters such as `: `, `#`, `[` or `{`.",
        ) from error
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"{name} is not YAML: {error}.", fix="write it as plain text, key: value.") from error


def dump_yaml(values: Any) -> str:
    """Write plain values as YAML, mappings in their order.

    Raises:
        InputError: a value is none that YAML has.
    """
    try:
        text: str = yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
        if any(character in text for character in _BREAKS):
            text = yaml.dump(values, Dumper=_Dumper, sort_keys=False, width=120)
    except yaml.representer.RepresenterError as error:
        what, value = error.args
        raise InputError(f"{value!r} cannot be written to a recipe: {what}.", fix="use a text or a number.") from error
    return text


def _look(
    loader: _Loader, node: yaml.Node, name: str, place: tuple[str, ...], lines: dict[str, int], above: set[int]
) -> None:
    """Note the lines of a node's keys, and refuse what PyYAML would take silently or stumble over.

    Args:
        loader: whose rules hold.
        node: mapping, sequence or scalar.
        name: of the file.
        place: keys that lead to the node.
        lines: filled.
        above: ids of the nodes around this one.
    """
    if id(node) in above:
        _refuse(name, node, f"{'.'.join(place)} holds itself", "write its values out.")
    children: list[tuple[str, int, yaml.Node]] = []
    if isinstance(node, yaml.MappingNode):
        _refuse_tag(name, node, _MAPPING)
        children = _keys(loader, node, name)
    elif isinstance(node, yaml.SequenceNode):
        _refuse_tag(name, node, _SEQUENCE)
        children = [(str(index), item.start_mark.line + 1, item) for index, item in enumerate(node.value)]
    elif isinstance(node, yaml.ScalarNode):
        is_plain = node.style is None
        implicit = loader.resolve(yaml.ScalarNode, node.value, (is_plain, not is_plain))  # type: ignore[no-untyped-call]
        _refuse_tag(name, node, implicit, _TEXT)
    for key, line, child in children:
        inner = place if key == _MERGE else (*place, key)
        if key != _MERGE:
            lines[".".join(inner)] = line
        _look(loader, child, name, inner, lines, above | {id(node)})


def _keys(loader: _Loader, node: yaml.MappingNode, name: str) -> list[tuple[str, int, yaml.Node]]:
    """Keys of a mapping, their lines and their values; a merge (`<<`) is named by its tag."""
    first_lines: dict[str, int] = {}
    children: list[tuple[str, int, yaml.Node]] = []
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            _refuse(name, key, "a key is a list or a mapping", "use a word as the key.")
        if key.tag != _MERGE:
            _look(loader, key, name, (), {}, set())
        word = _MERGE if key.tag == _MERGE else key.value
        line = key.start_mark.line + 1
        if word in first_lines:
            shown = "<<" if word == _MERGE else word
            _refuse(name, key, f"{shown} is there twice, first in line {first_lines[word]}", "remove one of them.")
        first_lines[word] = line
        children.append((word, line, value))
    return children


def _refuse_tag(name: str, node: yaml.Node, *allowed: str) -> None:
    if node.tag not in allowed:
        tag = node.tag.replace(_PREFIX, "!!")
        _refuse(name, node, f"the tag {tag} is not read here", "remove the tag, and write the plain value.")


def _refuse(name: str, node: yaml.Node, problem: str, fix: str) -> NoReturn:
    raise InputError(f"{name}:{node.start_mark.line + 1}: {problem}.", fix=fix)
