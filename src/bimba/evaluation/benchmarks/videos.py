"""Questions and a folder of videos in; each video's file, or what is wrong with it, out, before a model is loaded."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from bimba.errors import InputError, VideoError
from bimba.evaluation.benchmarks.question import Question
from bimba.inference.encoded import SUFFIX
from bimba.inference.encoded.video import read_about
from bimba.inference.opening import is_encoded
from bimba.video.info import VIDEO_SUFFIXES
from bimba.video.probe import probe


@dataclass(frozen=True)
class VideoCheck:
    """What became of the videos of a benchmark.

    Attributes:
        found: file by name.
        missing: names without a file.
        unreadable: what is wrong, by name.
    """

    found: dict[str, Path]
    missing: tuple[str, ...]
    unreadable: dict[str, str]


def checked_folder(folder: Path) -> Path:
    """A folder of videos.

    Raises:
        InputError: it is none.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder of videos.", fix="name the folder that holds them (--videos DIR).")
    return folder


def find_video(folder: Path, name: str) -> Path | None:
    """The file of a video: under its name, or without the folders of its name, or with another known suffix.

    Where there is none, what `bimba encode` made of it.
    """
    places = (folder / name, folder / Path(name).name)
    files = [path for place in places for path in (place, *map(place.with_suffix, VIDEO_SUFFIXES))]
    encoded = [path.with_name(path.name + SUFFIX) for path in files] + [place.with_suffix(SUFFIX) for place in places]
    return next(filter(_is_file, files + encoded), None)


def check_videos(
    questions: Iterable[Question],
    folder: Path,
    *,
    read: bool = True,
    on_video: Callable[[int, int], None] | None = None,
) -> VideoCheck:
    """Find the videos of questions, and look into each.

    Args:
        questions: of a benchmark.
        folder: of the videos.
        read: read each file's packets and decode its first picture; else only look whether it is there.
        on_video: told how many are through and how many there are.
    """
    names = list(dict.fromkeys(question.video for question in questions))
    found: dict[str, Path] = {}
    missing: list[str] = []
    unreadable: dict[str, str] = {}
    for number, name in enumerate(names, start=1):
        path = find_video(folder, name)
        problem = None if path is None or not read else _problem(path)
        if path is None:
            missing.append(name)
        elif problem is not None:
            unreadable[name] = problem
        else:
            found[name] = path
        if on_video is not None:
            on_video(number, len(names))
    return VideoCheck(found, tuple(missing), unreadable)


def _is_file(path: Path) -> bool:
    """Whether a file is there; none is under a name that the system cannot hold."""
    try:
        return path.is_file()
    except OSError:
        return False


def _problem(path: Path) -> str | None:
    try:
        read_about(path) if is_encoded(path) else probe(path)
    except VideoError as error:
        return error.problem
    return None
