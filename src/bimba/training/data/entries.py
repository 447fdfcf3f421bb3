"""A .json or .jsonl file in, the JSON texts of its entries out; what each of them means is `sample`'s to say."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from bimba.errors import InputError

_GAP = re.compile(r"[ \t\r\n]*")
_REFETCH = "fetch the file again, or repair it."


def read_entries(path: Path) -> list[str]:
    """JSON texts of a file's entries, in order.

    Args:
        path: a .json file with a list, or a .jsonl file with an entry a line. A damaged line is kept as it is.

    Raises:
        InputError: the file cannot be read, is of another kind or no JSON, or holds no entry.
    """
    readers = {".json": _list_entries, ".jsonl": _line_entries}
    if path.suffix not in readers:
        raise InputError(f"{path} is neither .json nor .jsonl.", fix="name a file in the format of LLaVA-Video-178K.")
    entries = readers[path.suffix](read_text(path), path)
    if not entries:
        raise InputError(f"{path} holds no samples.", fix="take the source out, or name another file.")
    return entries


def read_text(path: Path) -> str:
    """The text of a file.

    Raises:
        InputError: it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:  # ValueError: other bytes than UTF-8, or a zero byte in the name
        raise InputError(
            f"{path} cannot be read: {error}.", fix="check the path, and that it is a text file."
        ) from error


def _list_entries(text: str, path: Path) -> list[str]:
    try:
        return list(_scanned(text))
    except json.JSONDecodeError as error:
        fix = _REFETCH
        if error.msg == "a list was expected":
            fix = "the file must hold one list of samples; a file with one sample a line is called .jsonl."
        raise InputError(f"{path} is not JSON as expected: {error}.", fix=fix) from error
    except RecursionError as error:
        raise InputError(f"{path} is not JSON as expected: it is nested too deep.", fix=_REFETCH) from error


def _scanned(text: str) -> Iterator[str]:
    """Texts of a JSON list's elements, parsed one at a time, so that they are never all there as objects.

    Raises:
        json.JSONDecodeError: the text is no JSON list.
    """
    decode = json.JSONDecoder().raw_decode
    place = _after_gap(text, 0)
    if text[place : place + 1] != "[":
        raise json.JSONDecodeError("a list was expected", text, place)
    place = _after_gap(text, place + 1)
    separator = "," if text[place : place + 1] != "]" else "]"
    while separator == ",":
        _, end = decode(text, place)
        yield text[place:end]
        place = _after_gap(text, end)
        separator = text[place : place + 1]
        if separator not in (",", "]") or not separator:
            raise json.JSONDecodeError("a comma or the list's end was expected", text, place)
        place = _after_gap(text, place + 1) if separator == "," else place
    rest = _after_gap(text, place + 1)
    if rest != len(text):
        raise json.JSONDecodeError("more follows after the list", text, rest)


def _after_gap(text: str, place: int) -> int:
    gap = _GAP.match(text, place)
    return place if gap is None else gap.end()


def _line_entries(text: str, path: Path) -> list[str]:
    # Not splitlines: texts may hold other line separators of Unicode.
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    if lines and not any(_is_json(line) for line in lines):
        raise InputError(f"{path} is not JSON: none of its {len(lines)} lines is.", fix=_REFETCH)
    return lines


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
