"""One entry of a training file in, a checked sample out, or the precise reason why it is none.

Source of the format: LLaVA-Video-178K (`video`, `image`, `conversations` with `from` and `value`).
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bimba.errors import InputError
from bimba.text.prompts import Message
from bimba.training.data.streams import StreamPlace

Kind = Literal["video", "image", "text", "needles"]

_ROLES: dict[str, Literal["system", "user", "assistant"]] = {
    "system": "system",
    "human": "user",
    "gpt": "assistant",
}
_FIX = "repair the entry in its file, or take it out."
_SHOWN = 40


@dataclass(frozen=True)
class Sample:
    """An entry of a training file: what is looked at, and what is said about it.

    Attributes:
        name: by which messages call it: file, position from 0 and id, such as `train.json[12] (id 000123)`.
        kind: one video, some images, text alone, or a needle video that is drawn when it is asked for.
        media: files of the video or the images.
        turns: the conversation as it is written, placeholders included; empty of needle videos.
        place: of a needle video in its stream.
    """

    name: str
    kind: Kind
    media: tuple[Path, ...]
    turns: tuple[Message, ...]
    place: StreamPlace | None = None


def parse_entry(text: str) -> dict[str, Any]:
    """The JSON text of an entry as an object.

    Raises:
        InputError: it is no JSON, or no object.
    """
    try:
        entry = json.loads(text)
    except (ValueError, RecursionError) as error:  # nested a thousand deep, or a number of thousands of digits
        raise InputError(f"the entry is not JSON: {error}.", fix=_FIX) from error
    if not isinstance(entry, dict):
        raise InputError(f"the entry is {_shown(entry)}, not an object with conversations.", fix=_FIX)
    return entry


def make_sample(entry: dict[str, Any], name: str, folder: Path) -> Sample:
    """Check an entry.

    Args:
        entry: the object of the file.
        name: what messages call it.
        folder: what its paths are relative to.

    Raises:
        InputError: it is no sample; the message says why.
    """
    kind, media = _media(entry, folder)
    return Sample(name, kind, media, _turns(entry))


def entry_id(text: str) -> str | None:
    """The id of an entry, None if it has none or is damaged."""
    try:
        found = parse_entry(text).get("id")
    except InputError:
        return None
    return None if found is None else str(found)[:_SHOWN]


def _media(entry: dict[str, Any], folder: Path) -> tuple[Kind, tuple[Path, ...]]:
    video, image = entry.get("video"), entry.get("image")
    if video is not None and image is not None:
        raise InputError(f"the entry has a video ({_shown(video)}) and an image ({_shown(image)}).", fix=_FIX)
    if video is not None:
        return "video", (_path("video", video, folder),)
    if image is None:
        return "text", ()
    images = image if isinstance(image, list) else [image]
    if not images:
        raise InputError("image is an empty list.", fix=_FIX)
    return "image", tuple(_path("image", item, folder) for item in images)


def _path(key: str, value: object, folder: Path) -> Path:
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{key} is {_shown(value)}, not a path.", fix=_FIX)
    return folder / value


def _turns(entry: dict[str, Any]) -> tuple[Message, ...]:
    conversation = entry.get("conversations")
    if not isinstance(conversation, list) or not conversation:
        found = "no conversations" if conversation is None else f"conversations = {_shown(conversation)}"
        raise InputError(f"the entry has {found}, not a list of turns.", fix=_FIX)
    turns = tuple(_turn(number, turn) for number, turn in enumerate(conversation))
    before: str | None = None
    for number, turn in enumerate(turns):
        _check_order(number, turn.role, before)
        before = turn.role
    if all(turn.role != "assistant" for turn in turns):
        raise InputError("no turn is from gpt; there is nothing to learn.", fix=_FIX)
    return turns


def _turn(number: int, turn: object) -> Message:
    if not isinstance(turn, dict):
        raise InputError(f"turn {number} is {_shown(turn)}, not an object with from and value.", fix=_FIX)
    speaker, value = turn.get("from"), turn.get("value")
    if not isinstance(speaker, str) or speaker not in _ROLES:
        raise InputError(f"turn {number} is from {_shown(speaker)}, not from {', '.join(_ROLES)}.", fix=_FIX)
    if not isinstance(value, str):
        raise InputError(f"the value of turn {number} is {_shown(value)}, not a text.", fix=_FIX)
    if not value.strip():
        raise InputError(f"the value of turn {number} (from {speaker}) is empty.", fix=_FIX)
    try:
        value.encode()
    except UnicodeEncodeError as error:  # half of a character outside of the basic plane, cut out of its pair
        raise InputError(f"turn {number} holds {error.object[error.start]!r}, which is no letter.", fix=_FIX) from error
    return Message(_ROLES[speaker], value)


def _check_order(number: int, role: str, before: str | None) -> None:
    allowed = {"system": (None,), "user": (None, "system", "assistant"), "assistant": ("user",)}[role]
    if before not in allowed:
        place = "the first" if before is None else f"after the {before}'s"
        raise InputError(f"turn {number} is the {role}'s and {place}; turns must alternate, a user's first.", fix=_FIX)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
