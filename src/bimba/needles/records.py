"""The JSON of a run, typed: the text of needles.json goes in, its records come out, and back."""

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from bimba.errors import InputError
from bimba.needles.settings import ExactFps, NeedleKind, NeedleSettings

FORMAT_VERSION = 2
MANIFEST_NAME = "needles.json"
_ANEW = "make the videos again with --overwrite, or use the bimba version that made them."

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels from the top left corner; right and bottom are exclusive."""


class Record(BaseModel):
    """A part of needles.json: frozen, and unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Needle(Record):
    """What is shown, where, and when: visible in [start_seconds, end_seconds), that is in first_frame..last_frame."""

    kind: NeedleKind
    description: str
    """How questions and options name it: "red star", "digit 7", "dog", ..."""
    attributes: dict[str, str]
    """What it is made of: shape and colour; digit or letter and colour; text; or name and source of a picture."""
    start_seconds: float
    end_seconds: float
    first_frame: int
    last_frame: int
    inserted: bool
    """It has the frame to itself, as if it had been cut into the video; else it lies over the haystack."""
    boxes: tuple[Box, ...]
    """Where it is, once for each copy that is there at the same time."""
    held_out: bool
    """No video of the splits train and validation shows this in this third of the video."""


class Evidence(Record):
    """A needle that the answer rests on, with its moment and its places."""

    needle: int
    start_seconds: float
    end_seconds: float
    first_frame: int
    last_frame: int
    boxes: tuple[Box, ...]


class Question(Record):
    """A question that can be answered in words, or by the letter of one of its options."""

    id: str
    kind: str
    variant: str
    """How what it asks for is shown: "edited" (words laid over the video), "overlaid" or "inserted"; may be empty."""
    question: str
    options: tuple[str, ...]
    """Two to four, in random order, one of them right."""
    answer: str
    answer_letter: str
    evidence: tuple[Evidence, ...]


class VideoRecord(Record):
    """One video: its file (relative to the folder of needles.json), what it shows, and what is asked about it."""

    file: str
    """Empty for a video of a stream."""
    seed: int
    num_frames: int
    fps: ExactFps
    seconds: float
    width: int
    height: int
    haystack: str
    needles: tuple[Needle, ...]
    questions: tuple[Question, ...]


class PictureRecord(Record):
    """A picture file of the user that needles were drawn from."""

    name: str
    file: str
    sha256: str


class Manifest(Record):
    """All of needles.json: how the videos were made, and the videos."""

    format_version: int
    bimba_version: str
    library_versions: dict[str, str]
    settings: NeedleSettings
    pictures: tuple[PictureRecord, ...]
    videos: tuple[VideoRecord, ...]

    def as_json(self) -> str:
        """Return the text of needles.json; equal manifests give equal texts."""
        return json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"


def read_needles(path: str | Path) -> Manifest:
    """Read the needles.json that `bimba needles make` wrote.

    Args:
        path: the file, or the folder it lies in.

    Raises:
        InputError: there is no such file, or it is not a needles.json of this format version.
    """
    path = Path(path)
    file = path / MANIFEST_NAME if path.is_dir() else path
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{file} cannot be read: {error}.", fix="make the videos first: bimba needles make --out FOLDER."
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not JSON: {error}.", fix=_ANEW) from error
    return parse_manifest(text, file)


def parse_manifest(text: str, file: Path) -> Manifest:
    """Return the manifest in a text; `file` is named when something is wrong with it.

    Raises:
        InputError: the text is no JSON, of another format version, or a key is missing, unknown or of a wrong type.
    """
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{file} is not JSON: {error}.", fix=_ANEW) from error
    version = content.get("format_version") if isinstance(content, dict) else None
    if version != FORMAT_VERSION:
        raise InputError(f"{file} has format_version {version}; this bimba reads {FORMAT_VERSION}.", fix=_ANEW)
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{file} is not a needles.json: {where}: {first['msg']}.", fix=_ANEW) from error
