"""A file of answers made anywhere in, answers that can be scored out."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from bimba.errors import InputError


@dataclass(frozen=True)
class Given:
    """An answer from a file.

    Attributes:
        id: of the question.
        prediction: in words; None if the video failed.
        failed: what was wrong with the video.
        tied: several letters were the likeliest, of which the prediction is the first.
    """

    id: str
    prediction: str | None
    failed: str | None = None
    tied: bool = False


def read_given(file: Path, ids: Collection[str]) -> list[Given]:
    """Read lines of JSON with `id` and `prediction`; others they may have as they like.

    Args:
        file: of answers.
        ids: of all questions.

    Raises:
        InputError: a line is no such answer, answers a question that is not there, or one that another line answers.
    """
    fix = 'write a line for each question: {"id": "...", "prediction": "..."}'
    if not file.is_file():
        raise InputError(f"{file} is not there.", fix="name a file of answers.")
    found: dict[str, Given] = {}
    for number, line in enumerate(file.read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        place = f"line {number} of {file}"
        try:
            record = json.loads(line)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{place} is no JSON: {error}.", fix=fix) from error
        given = _given(record, place, fix)
        if given.id not in ids:
            raise InputError(f"{place} answers {given.id!r}, which is no question of this benchmark.", fix=fix)
        if given.id in found:
            raise InputError(f"{place} answers {given.id!r} a second time.", fix="keep one line for each question.")
        found[given.id] = given
    return list(found.values())


def _given(record: object, place: str, fix: str) -> Given:
    if not isinstance(record, dict) or not {"id", "prediction"} <= record.keys():
        raise InputError(f"{place} lacks id or prediction.", fix=fix)
    name, prediction, failed = record["id"], record["prediction"], record.get("failed")
    if isinstance(name, int) and not isinstance(name, bool):
        name = str(name)
    if not isinstance(name, str) or not isinstance(prediction, str | None):
        raise InputError(f"{place}: id and prediction are texts, not {name!r} and {prediction!r}.", fix=fix)
    if prediction is None and not isinstance(failed, str):
        failed = "no answer was given"
    return Given(name, prediction, failed if prediction is None else None, record.get("tied") is True)
