"""Files of annotations in, rows whose fields are checked as they are read out; a wrong one is named with its place."""

import csv
import io
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from pydantic import ValidationError

from bimba.errors import InputError
from bimba.evaluation.benchmarks.question import Question
from bimba.evaluation.extraction import LETTERS

FIX = "get the annotations again, as their authors publish them; these are damaged, or of another version."
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,18}")


class Row:
    """One record of a file.

    Args:
        values: by name.
        place: of the record, for messages.
    """

    def __init__(self, values: object, place: str) -> None:
        if not isinstance(values, Mapping):
            raise InputError(f"{place} is {_shown(values)}, no record with names.", fix=FIX)
        self._values, self.place = values, place

    def __contains__(self, name: str) -> bool:
        return name in self._values and self._values[name] is not None

    def text(self, name: str, *, may_be_empty: bool = False) -> str:
        """A text; a whole number is taken as one."""
        value = self._get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if not isinstance(value, str) or not (value.strip() or may_be_empty):
            self.refuse(name, "text")
        return value

    def number(self, name: str) -> int:
        """A whole number; one in a text (as CSV has it) counts."""
        value = self._get(name)
        if isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value.strip()):
            return int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            self.refuse(name, "a whole number")
        return value

    def seconds(self, name: str) -> float:
        """A number."""
        value = self._get(name)
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            self.refuse(name, "a number")
        return float(value)

    def texts(self, name: str) -> list[str]:
        """Several texts; numbers are taken as texts."""
        value = self._get(name)
        if not isinstance(value, list) or not all(isinstance(each, str | int | float) for each in value):
            self.refuse(name, "a list of texts")
        return [str(each) for each in value]

    def rows(self, name: str) -> list["Row"]:
        """Several records."""
        value = self._get(name)
        if not isinstance(value, list):
            self.refuse(name, "a list of records")
        return [Row(each, f"{self.place}, {name} {number}") for number, each in enumerate(value)]

    def refuse(self, name: str, wanted: str) -> NoReturn:
        """Say what a field holds and should.

        Raises:
            InputError: always.
        """
        raise InputError(f"{self.place}: {name} is {_shown(self._values.get(name))}, not {wanted}.", fix=FIX)

    def _get(self, name: str) -> Any:
        if name not in self._values:
            known = ", ".join(map(str, self._values))
            raise InputError(f"{self.place} has no {name!r}; it has {known or 'nothing'}.", fix=FIX)
        return self._values[name]


def read_json(file: Path) -> Any:
    """Contents of a JSON file.

    Raises:
        InputError: it is no JSON.
    """
    try:
        return json.loads(_text(file))
    except (ValueError, RecursionError) as error:  # a number of thousands of digits is a ValueError, too
        raise InputError(f"{file} is no JSON: {error}.", fix=FIX) from error


def json_rows(file: Path) -> list[Row]:
    """Records of a JSON file that is a list of them.

    Raises:
        InputError: it is not.
    """
    content = read_json(file)
    if not isinstance(content, list):
        raise InputError(f"{file} is {_shown(content)}, no list of records.", fix=FIX)
    return [Row(values, f"{file.name}, record {number}") for number, values in enumerate(content)]


def json_lines(file: Path) -> list[Row]:
    """Records of a file that has one in JSON on each line; empty lines count for nothing.

    Raises:
        InputError: a line is no JSON, or no record.
    """
    rows = []
    for number, line in enumerate(_text(file).split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{file.name}, line {number}"
        try:
            rows.append(Row(json.loads(line), place))
        except (ValueError, RecursionError) as error:
            raise InputError(f"{place} is no JSON: {error}.", fix=FIX) from error
    return rows


def csv_rows(file: Path) -> list[Row]:
    """Records of a CSV file whose first line names the columns.

    Raises:
        InputError: it is no CSV, or a line has more or fewer columns.
    """
    reader = csv.DictReader(io.StringIO(_text(file), newline=""))
    rows = []
    try:
        for values in reader:
            if None in values or None in values.values():
                raise InputError(
                    f"{file.name}, line {reader.line_num} has another number of columns than line 1.", fix=FIX
                )
            rows.append(Row(values, f"{file.name}, line {reader.line_num}"))
    except csv.Error as error:
        raise InputError(f"{file.name}, line {reader.reader.line_num} is no CSV: {error}.", fix=FIX) from error
    return rows


def questions_of(rows: Iterable[Row], read: Callable[[Row], dict[str, Any]]) -> list[Question]:
    """Make questions of rows.

    Args:
        rows: of a file.
        read: gives the fields of a question.

    Raises:
        InputError: a row does not make a question.
    """
    questions = []
    for row in rows:
        try:
            questions.append(Question(**read(row)))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise InputError(f"{row.place}: {first['loc'][0]}: {first['msg']}.", fix=FIX) from error
    return questions


def letter_of(row: Row, name: str, options: list[str]) -> str:
    """Letter of the option with the number that a field holds.

    Raises:
        InputError: there is no such option.
    """
    number = row.number(name)
    if not 0 <= number < min(len(options), len(LETTERS)):
        row.refuse(name, f"one of 0 to {len(options) - 1}")
    return LETTERS[number]


def letter_of_text(row: Row, name: str, options: list[str]) -> str:
    """Letter of the first option that is what a field holds.

    Raises:
        InputError: no option is.
    """
    answer = row.text(name)
    if answer not in options[: len(LETTERS)]:
        row.refuse(name, f"one of {options}")
    return LETTERS[options.index(answer)]


def without_letters(row: Row, name: str) -> list[str]:
    """Options without the "A. " that stands in front of each.

    Raises:
        InputError: an option has another letter in front.
    """
    options = row.texts(name)
    if len(options) > len(LETTERS):
        row.refuse(name, f"{len(LETTERS)} options at most")
    for letter, option in zip(LETTERS, options, strict=False):
        if not option.startswith(f"{letter}. "):
            row.refuse(name, f"options that begin with their letters, {letter}. here")
    return [option[3:] for option in options]


def _text(file: Path) -> str:
    """Contents of a file of text, whose line ends stay as they are."""
    content = file.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        wrong = error.object[error.start]
        raise InputError(f"{file.name}, line {line} is no text in UTF-8: byte 0x{wrong:02x}.", fix=FIX) from error


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
