"""Questions and a folder of videos in; each video's file, or what is wrong with it, out, before a model is loaded."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from bimba.errors import InputError, VideoError
from bimba.evaluation.benchmarks.benchmark import Benchmark
from bimba.evaluation.benchmarks.question import Footage, Question
from bimba.inference.clip import ClipFile
from bimba.inference.encoded import SUFFIX
from bimba.inference.encoded.video import read_about
from bimba.inference.opening import Opened, is_encoded, open_video
from bimba.video.info import VIDEO_SUFFIXES
from bimba.video.probe import probe
from bimba.video.source import Video


@dataclass(frozen=True)
class VideoCheck:
    """What became of the videos of a benchmark.

    Attributes:
        found: file by name, of those that can be read.
        missing: names without a file.
        unreadable: what is wrong, by name; or by the part of a video that it does not have.
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


def find_video(folder: Path, footage: Footage, benchmark: Benchmark) -> Path | None:
    """The file of a video: under its name, or without the folders of its name, or with another known suffix.

    Where there is none, what `bimba encode` made of it; or the folder of its pictures, if it may be one.

    Args:
        folder: of the benchmark's videos.
        footage: what a question is about.
        benchmark: whose videos may lie in other folders, too, or may not be taken from elsewhere by their name.
    """
    name = footage.video
    places = [folder / name, *(folder / more / name for more in benchmark.more_folders)]
    if not benchmark.in_folders:
        places.append(folder / Path(name).name)
    files = [path for place in places for path in (place, *map(place.with_suffix, VIDEO_SUFFIXES))]
    encoded = [path.with_name(path.name + SUFFIX) for path in files] + [place.with_suffix(SUFFIX) for place in places]
    pictures = [] if footage.images_per_second is None else filter(_is_folder, places)
    return next(chain(filter(_is_file, files + encoded), pictures), None)


def open_footage(path: Path, footage: Footage) -> Opened:
    """Open what a question is about.

    Args:
        path: of the video, as `find_video` has it.
        footage: which part of it.

    Raises:
        VideoError: it cannot be read, or has no such part.
        InputError: a part is meant of a video that was encoded as a whole.
    """
    if footage.segment is None and not path.is_dir():
        return open_video(path)
    refuse_encoded_part(path, footage)
    start, end = (None, None) if footage.segment is None else (footage.segment.start, footage.segment.end)
    rate = footage.images_per_second if path.is_dir() else None
    try:
        return ClipFile(Video(path, start=start, end=end, image_fps=rate))
    except InputError as error:  # annotations name parts that some videos do not have; the others go on
        raise VideoError(
            f"{path}: {error.problem}", fix="get the annotations and the video again; they do not fit each other."
        ) from error


def refuse_encoded_part(path: Path, footage: Footage) -> None:
    """Refuse a video that was encoded before where a part of it is meant.

    Raises:
        InputError: it is one.
    """
    if footage.segment is not None and is_encoded(path):
        raise InputError(
            f"{path} was encoded as a whole, and a question is about a part of it ({footage.segment}).",
            fix="name the folder of the videos themselves (--videos DIR).",
        )


def check_videos(
    questions: Iterable[Question],
    folder: Path,
    benchmark: Benchmark,
    *,
    read: bool = True,
    on_video: Callable[[int, int], None] | None = None,
) -> VideoCheck:
    """Find the videos of questions, and look into each.

    Args:
        questions: of a benchmark.
        folder: of the videos.
        benchmark: that they are of.
        read: read each file's packets and decode its first picture; else only look whether it is there.
        on_video: told how many are through and how many there are.
    """
    asked: dict[str, dict[Footage, None]] = {}
    for question in questions:
        asked.setdefault(question.video, {})[question.footage] = None
    found: dict[str, Path] = {}
    missing: list[str] = []
    unreadable: dict[str, str] = {}
    for number, (name, parts) in enumerate(asked.items(), start=1):
        path = find_video(folder, next(iter(parts)), benchmark)
        problem = None if path is None or not read else _problem(path)
        if path is None:
            missing.append(name)
        elif problem is not None:
            unreadable[name] = problem
        else:
            found[name] = path
            unreadable |= _parts_not_there(path, parts) if read else {}
        if on_video is not None:
            on_video(number, len(asked))
    return VideoCheck(found, tuple(missing), unreadable)


def _is_file(path: Path) -> bool:
    """Whether a file is there; none is under a name that the system cannot hold."""
    try:
        return path.is_file()
    except OSError:
        return False


def _is_folder(path: Path) -> bool:
    """Whether a folder is there."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _problem(path: Path) -> str | None:
    try:
        read_about(path) if is_encoded(path) else probe(path)
    except VideoError as error:
        return error.problem
    return None


def _parts_not_there(path: Path, parts: Iterable[Footage]) -> dict[str, str]:
    """What is wrong with parts that a video does not have."""
    wrong = {}
    for footage in parts:
        if footage.segment is not None:
            try:
                open_footage(path, footage)
            except (VideoError, InputError) as error:
                wrong[footage.title] = error.problem
    return wrong
