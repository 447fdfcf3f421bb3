"""A video file or folder in, by what it will be known again out; later: whether it is still the same."""

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path

from bimba.errors import VideoError
from bimba.video.info import FileStamp
from bimba.video.pictures.folder import PICTURE_SUFFIXES

_SAMPLE_BYTES = 1 << 20
"""Of the beginning, the middle and the end of a file are hashed: a video of many gigabytes is known again at once."""


@dataclass(frozen=True)
class Origin:
    """Where an encoded video comes from.

    Attributes:
        path: of the video, as it is reached from the folder of the encoded file.
        num_bytes: its size; of a folder, of its pictures together.
        modified_ns: when it was last written; 0 for a folder.
        sample: SHA-256 of its size and three pieces of it; of a folder, of the names of its pictures and all of that
            of each.
    """

    path: str
    num_bytes: int
    modified_ns: int
    sample: str

    @classmethod
    def of(cls, video: Path, beside: Path) -> "Origin":
        """What a video is now.

        Args:
            video: a file or folder.
            beside: the folder that the encoded file goes to.

        Raises:
            VideoError: it is gone.
        """
        stamp = _stamp(video)
        return cls(_reached_from(beside, video), stamp.num_bytes, stamp.modified_ns, _sample(video))

    def seen_from(self, beside: Path, video: Path) -> "Origin":
        """The same, from another folder.

        Args:
            beside: the folder that the encoded file goes to.
            video: where the video is.
        """
        return replace(self, path=_reached_from(beside, video))

    def found_from(self, beside: Path) -> Path | None:
        """The video, if it is still where it was."""
        path = beside.resolve() / self.path
        return path if path.exists() else None

    def is_at(self, video: Path, beside: Path) -> bool:
        """Whether this is where it comes from.

        Args:
            video: a file or folder.
            beside: the folder of the encoded file.
        """
        return (beside.resolve() / self.path).resolve() == video.resolve()

    def is_same(self, video: Path) -> bool:
        """Whether a video is what it was, wherever it lies and whenever it was copied there.

        Raises:
            VideoError: it is gone.
        """
        stamp = _stamp(video)
        if stamp.num_bytes != self.num_bytes:
            return False
        return (stamp.modified_ns == self.modified_ns and not video.is_dir()) or _sample(video) == self.sample


def _reached_from(folder: Path, video: Path) -> str:
    # Names as they are, not as links call them: ".." leads up from where a folder is.
    there = video.resolve()
    try:
        return Path(os.path.relpath(there, folder.resolve())).as_posix()
    except ValueError:  # on another drive
        return there.as_posix()


def _stamp(video: Path) -> FileStamp:
    if video.is_dir():
        return FileStamp(sum(size for _, size in _listed(video)), 0)
    return FileStamp.of(video)


def _listed(folder: Path) -> list[tuple[str, int]]:
    """Names and sizes of the pictures of a folder; what else lies there are no frames."""
    pictures = (path for path in folder.iterdir() if path.is_file() and path.suffix.lower() in PICTURE_SUFFIXES)
    return sorted((path.name, path.stat().st_size) for path in pictures)


def _sample(video: Path) -> str:
    digest = hashlib.sha256()
    files = [video / name for name, _ in _listed(video)] if video.is_dir() else [video]
    for path in files:
        if path != video:
            digest.update(f"{path.name}\n".encode())
        try:
            with path.open("rb") as file:
                num_bytes = path.stat().st_size
                digest.update(str(num_bytes).encode())
                for start in (0, num_bytes // 2, num_bytes - _SAMPLE_BYTES):
                    file.seek(max(start, 0))
                    digest.update(file.read(_SAMPLE_BYTES))
        except OSError as error:
            raise VideoError(
                f"{path} cannot be read: {error.strerror}.", fix="ask for the right to read it."
            ) from error
    return digest.hexdigest()
