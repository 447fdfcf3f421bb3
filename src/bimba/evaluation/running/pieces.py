"""Answers in, lines of JSON on disk out, that survive whatever is killed; and back, those of all processes.

Each process appends to a file of its own, which nobody else writes and no later process goes on with. A line that was
cut off by the end of its process is left out when it is read; its question is asked again. When all is answered, the
pieces become one file in the questions' order.
"""

import json
import os
import secrets
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from pydantic import BaseModel, ConfigDict, ValidationError

from bimba.errors import InputError
from bimba.evaluation.folder import ANSWERS_NAME
from bimba.files import write_whole

PIECES_NAME = "pieces"
_TRIES = 10


class Answer(BaseModel):
    """What a model said to a question, or why it said nothing.

    Attributes:
        id: of the question.
        prediction: in words; the likeliest letter where likelihoods were compared; None if the video failed.
        scores: log-probability of each letter; empty where the model answered in words.
        tied: several letters are the likeliest; the first of them is the prediction.
        num_frames: that the model saw.
        failed: what is wrong with the video; None if nothing is.
        stamp: of the video's file, if it failed: another file is tried again.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    prediction: str | None
    scores: tuple[float, ...] = ()
    tied: bool = False
    num_frames: int = 0
    failed: str | None = None
    stamp: str = ""


@dataclass(frozen=True)
class _ReadUntil:
    """How far a file was read.

    Attributes:
        place: behind the last whole line.
        size: that it had.
        stamp: inode and time of change; of the merged file, which is replaced as a whole.
    """

    place: int
    size: int
    stamp: tuple[int, int]


class Pieces:
    """The answers of a run's folder, as they come, from this process and from others.

    Args:
        out: the folder.
    """

    def __init__(self, out: Path) -> None:
        self._out, self._folder = out, out / PIECES_NAME
        self._file: Path | None = None
        self._read: dict[Path, _ReadUntil] = {}
        self._turn = threading.Lock()  # the reading thread asks what is open while answers are written
        self.answers: dict[str, Answer] = {}
        """By question; a failure gives way to an answer."""
        self.refresh()

    def refresh(self) -> None:
        """Read what was written since."""
        with self._turn:
            for path in (self._out / ANSWERS_NAME, *sorted(self._folder.glob("*.jsonl"))):
                self._read_more(path)

    def append(self, answers: Iterable[Answer]) -> None:
        """Write answers, each flushed before the next."""
        if self._file is None or not self._file.exists():  # merged by another process; no name is used twice
            self._file = self._folder / f"{os.getpid()}-{secrets.token_hex(8)}.jsonl"
        with self._turn, _opened(self._file) as stream:
            for answer in answers:
                stream.write(_line(answer))
                stream.flush()
                self._keep(answer)

    def merge(self, ids: Sequence[str]) -> bool:
        """Make one file of all pieces, in this order, and remove them; call it while nobody else does.

        A piece that grew since it was read stays: somebody is still writing it.

        Returns:
            whether there was anything to merge.
        """
        self.refresh()
        read = {path: until for path, until in self._read.items() if path.parent == self._folder and path.exists()}
        if not read and (self._out / ANSWERS_NAME).is_file():
            return False
        write_whole(
            self._out / ANSWERS_NAME, "".join(_line(self.answers[name]) for name in ids if name in self.answers)
        )
        for path, until in read.items():
            with suppress(FileNotFoundError):
                if path.stat().st_size == until.size:
                    path.unlink()
        with suppress(OSError):  # something of the user's lies there, too
            self._folder.rmdir()
        self._file = None
        return True

    def _read_more(self, path: Path) -> None:
        """Read what was added to a file; all of it, if it is another file than before."""
        try:
            with path.open("rb") as stream:
                status = os.fstat(stream.fileno())
                before, stamp = self._read.get(path), (status.st_ino, status.st_mtime_ns)
                place = 0 if before is None else before.place
                if path.name == ANSWERS_NAME and before is not None and before.stamp != stamp:
                    place = 0
                stream.seek(place)
                new = stream.read()
        except FileNotFoundError:  # another process has merged it
            self._read.pop(path, None)
            return
        whole = new[: new.rfind(b"\n") + 1]
        self._read[path] = _ReadUntil(place + len(whole), place + len(new), stamp)
        for line in whole.splitlines():
            try:
                self._keep(Answer.model_validate_json(line))
            except ValidationError as error:
                raise InputError(
                    f"{path} holds a line that is no answer of this version: {line[:60]!r}.",
                    fix="name another folder (--out DIR), or remove this one.",
                ) from error

    def _keep(self, answer: Answer) -> None:
        there = self.answers.get(answer.id)
        if there is None or there.failed is not None:
            self.answers[answer.id] = answer


def _opened(file: Path) -> TextIO:
    """A piece, to be written on; whoever merges removes the folder, perhaps just now."""
    for _ in range(_TRIES):
        file.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            return file.open("a", encoding="utf-8")
    return file.open("a", encoding="utf-8")


def _line(answer: Answer) -> str:
    return json.dumps(answer.model_dump(mode="json"), ensure_ascii=False) + "\n"
