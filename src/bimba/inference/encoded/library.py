"""A folder of videos in; where each is kept once it is encoded, and which are still to be encoded, out.

A video `2024/walk.mkv` below the folder goes to `2024/walk.mkv.bimba` below the library.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from bimba.errors import BimbaError, InputError, VideoError
from bimba.files import alone
from bimba.inference.encoded.video import SUFFIX, EncodedVideo, is_ours, partials_of, read_about
from bimba.video.info import VIDEO_SUFFIXES


class State(StrEnum):
    """What is there of an encoded video."""

    MISSING = "missing"
    DONE = "done"
    STALE = "stale"
    """The video has changed since, or its file is damaged."""
    FOREIGN = "foreign"
    """Another model encoded it, or it was looked at in another way."""


@dataclass(frozen=True)
class Entry:
    """A video of a library.

    Attributes:
        video: its file.
        target: where it is kept once it is encoded.
    """

    video: Path
    target: Path

    def state(self, encoder: str, settings: dict[str, Any]) -> tuple[State, str]:
        """What is there, and why it will not do.

        Args:
            encoder: hash of the model that is to encode it.
            settings: how it is to be looked at, see `settings_of`.

        Raises:
            VideoError: the video is gone.
        """
        if not self.target.exists():
            return State.MISSING, ""
        if not is_ours(self.target):
            return State.FOREIGN, "it is no encoded video of this version"
        try:
            about = read_about(self.target)
        except VideoError as error:
            return State.STALE, error.problem
        if about.origin is None or not about.origin.is_at(self.video, self.target.parent):
            return State.FOREIGN, "another video is in it"
        if about.encoder != encoder:
            return State.FOREIGN, f"{about.model} encoded it, which is another model"
        differing = about.differences(settings)
        if differing:
            return State.FOREIGN, differing
        if not about.origin.is_same(self.video):
            return State.STALE, "the video has changed since"
        return State.DONE, ""


@dataclass(frozen=True)
class Outcome:
    """What became of a video.

    Attributes:
        entry: the video.
        num_tokens: that it was encoded into; 0 if it was not.
        problem: why it could not be; "" if it could.
        fix: what to do about that.
        was_there: whether it was encoded already, and left alone.
    """

    entry: Entry
    num_tokens: int
    problem: str = ""
    fix: str = ""
    was_there: bool = False


def has_videos(folder: Path) -> bool:
    """Whether a path is a folder with a video in it or below it."""
    return folder.is_dir() and any(path.suffix.lower() in VIDEO_SUFFIXES for path in folder.rglob("*"))


def list_entries(folder: Path, library: Path) -> list[Entry]:
    """The videos below a folder, in order of name, and where each goes.

    Args:
        folder: of videos, in folders or not.
        library: that they go to.

    Raises:
        InputError: there is no such folder, or it has no videos.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}.", fix="name a folder of videos.")
    inside, outside = library.resolve(), folder.resolve()
    is_below = outside in inside.parents  # what lies in the library is no video to be encoded then
    videos = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in VIDEO_SUFFIXES
        and path.is_file()
        and not (is_below and inside in path.resolve().parents)
    )
    if not videos:
        raise InputError(
            f"{folder} has no videos.", fix=f"name a folder that holds some ({', '.join(VIDEO_SUFFIXES)})."
        )
    return [Entry(video, library / video.relative_to(folder).with_name(video.name + SUFFIX)) for video in videos]


def pending(entries: Iterable[Entry], encoder: str, settings: dict[str, Any], *, overwrite: bool) -> list[Entry]:
    """Those that are to be encoded.

    Args:
        entries: of a library.
        encoder: hash of the model that is to encode them.
        settings: how they are to be looked at.
        overwrite: encode again what another model encoded, or this one in another way.

    Raises:
        InputError: there is such, and it may not be overwritten.
        VideoError: a video is gone.
    """
    states = [(entry, *entry.state(encoder, settings)) for entry in entries]
    others = [(entry, reason) for entry, state, reason in states if state is State.FOREIGN]
    if others and not overwrite:
        raise foreign(*others[0], num_others=len(others) - 1)
    return [entry for entry, state, _ in states if state is not State.DONE]


def foreign(entry: Entry, reason: str, num_others: int = 0) -> InputError:
    """Says that something else is where an encoded video would go.

    Args:
        entry: the video.
        reason: why that will not do.
        num_others: in the library that are like it.
    """
    others = f", and {num_others:,} more are like it" if num_others else ""
    return InputError(
        f"{entry.target} is there already, and is not what would be written: {reason}{others}.",
        fix="name another place (--out), give the same options, or encode again (--overwrite).",
    )


def alone_in(library: Path) -> AbstractContextManager[None]:
    """Keep other runs out of a library.

    Raises:
        InputError: another one is at work there, or it cannot be written to.
    """
    return alone(library, f"another process encodes into {library}.", fix="wait for it, or name another folder.")


def encode_each(entries: Iterable[Entry], encode: Callable[[Path], EncodedVideo]) -> Iterator[Outcome]:
    """Encode videos one after the other, and keep each as soon as it is done.

    Args:
        entries: that are to be encoded.
        encode: encodes a video.

    Yields:
        what became of each; a video that cannot be read does not stop the others.

    Raises:
        InputError: a file cannot be written; no room is left, say.
    """
    for entry in entries:
        try:
            encoded = encode(entry.video)
        except BimbaError as error:
            yield Outcome(entry, 0, error.problem, error.fix)
            continue
        keep(encoded, entry)
        yield Outcome(entry, len(encoded.features))


def keep(encoded: EncodedVideo, entry: Entry) -> None:
    """Write an encoded video to its place.

    Raises:
        InputError: it cannot be written.
    """
    try:
        entry.target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{entry.target.parent} cannot be made: {error.strerror}.", fix="name another place (--out)."
        ) from error
    encoded.save(entry.target)


def sweep(entries: Iterable[Entry]) -> None:
    """Remove what a run that was killed had begun to write; only who is `alone` may."""
    for entry in entries:
        for partial in partials_of(entry.target):
            partial.unlink(missing_ok=True)
