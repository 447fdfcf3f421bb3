"""The folder of a run: a manifest goes in; what lies there is resumed, refused or cleared, and needles.json is written.

While videos are being made, needles.unfinished.json holds the run's settings; needles.json is written when all of its
videos are there. So an interrupted run is recognised and continued, and a needles.json never names a missing video.
"""

from collections.abc import Sequence
from pathlib import Path

from bimba.errors import InputError
from bimba.files import write_whole
from bimba.needles.records import MANIFEST_NAME, Manifest, parse_manifest, read_needles
from bimba.needles.settings import Container
from bimba.needles.writer import choose_encoding

UNFINISHED_NAME = "needles.unfinished.json"


def video_name(index: int, container: Container) -> str:
    """Return the file name of video `index`; it does not depend on how many videos there are."""
    return f"video_{index:05d}.{container}"


def prepare_folder(folder: Path, manifest: Manifest, names: Sequence[str], *, overwrite: bool) -> None:
    """Make a folder ready for a run's videos.

    Args:
        folder: made if it is not there.
        manifest: of the run, without videos.
        names: files that the run is going to write.
        overwrite: clear away what an earlier run left, instead of continuing or refusing.

    Raises:
        InputError: the folder cannot be made, holds a run with other settings, or holds a file of unknown origin under
            one of the names.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"the folder {folder} cannot be made: {error}.", fix="choose another folder (--out)."
        ) from error
    if overwrite:
        _clear(folder, names)
    else:
        earlier = [name for name in (MANIFEST_NAME, UNFINISHED_NAME) if (folder / name).exists()]
        for name in earlier:
            _check_same_run(folder, manifest, read_needles(folder / name))
        unknown = [name for name in names if (folder / name).exists()]
        if unknown and not earlier:
            raise InputError(
                f"{folder} already has {unknown[0]}, but no {MANIFEST_NAME} that says how it was made.",
                fix="choose another folder (--out), or pass --overwrite to replace it.",
            )
    write_whole(folder / UNFINISHED_NAME, manifest.as_json())


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write needles.json, now that all of its videos are there."""
    write_whole(folder / MANIFEST_NAME, manifest.as_json())
    (folder / UNFINISHED_NAME).unlink(missing_ok=True)


def _check_same_run(folder: Path, asked: Manifest, found: Manifest) -> None:
    """Check that finished videos of the folder may be kept.

    Raises:
        InputError: they were made with other settings, pictures or versions, or are more than were asked for.
    """
    differences = _differences(asked, found)
    if differences:
        raise InputError(
            f"{folder} holds videos of another run: {'; '.join(differences)}.",
            fix="choose another folder (--out), or pass --overwrite to replace them.",
        )
    if asked.settings.num_videos < found.settings.num_videos:
        raise InputError(
            f"{folder} holds a run of {found.settings.num_videos} videos; {asked.settings.num_videos} are asked for.",
            fix=f"ask for at least {found.settings.num_videos} (--videos), choose another folder, or pass --overwrite.",
        )


def _differences(asked: Manifest, found: Manifest) -> list[str]:
    """Return what differs between two runs and matters for their videos, each as "name: found there, asked here"."""
    # The number of videos may grow; of the pictures their content counts, wherever the folder lies today.
    here = asked.settings.model_dump(mode="json", exclude={"num_videos", "pictures"})
    there = found.settings.model_dump(mode="json", exclude={"num_videos", "pictures"})
    here |= {"bimba": asked.bimba_version, **asked.library_versions}
    there |= {"bimba": found.bimba_version, **found.library_versions}
    differences = [
        f"{name} is {there.get(name)} there and {here.get(name)} here"
        for name in {**here, **there}
        if here.get(name) != there.get(name)
    ]
    if asked.pictures != found.pictures:
        differences.append(f"its {len(found.pictures)} picture files are not the {len(asked.pictures)} of today")
    return differences


def _clear(folder: Path, names: Sequence[str]) -> None:
    """Remove the run that lies in a folder: its JSON first, so that it never names a missing video."""
    left = set(names)
    for manifest_name in (MANIFEST_NAME, UNFINISHED_NAME):
        path = folder / manifest_name
        if not path.exists():
            continue
        try:
            found = parse_manifest(path.read_text(encoding="utf-8"), path)
            container = choose_encoding(found.settings).container
        except (InputError, UnicodeDecodeError):
            pass  # of a run that cannot be read, only what is in the way is replaced
        else:
            earlier = {video_name(index, container) for index in range(found.settings.num_videos)}
            left |= earlier & {file.name for file in folder.iterdir()}
        path.unlink()
    for name in sorted(left):
        (folder / name).unlink(missing_ok=True)
