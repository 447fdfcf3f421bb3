"""A number goes in, a case comes out: which clip, damaged how, and how it is read; the tests take the first 200."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.fuzz.clips import CLIPS, write_clips
from benchmarks.fuzz.mutations import MUTATIONS
from bimba.video.sampling import uniform_indices
from bimba.video.source import Video

NUM_CASES, NUM_TESTED = 2000, 200
NUM_FRAMES = 8
_KINDS = tuple(MUTATIONS)
# As a file is read mostly; then with what only some users pass, since both take other ways through the code.
_READINGS: tuple[Mapping[str, Any], ...] = ({}, {"allow_truncated": True}, {"start": 0.5, "end": 1.25})


@dataclass(frozen=True)
class Case:
    """One damaged file.

    Attributes:
        number: by which it is run again; the seed of its damage.
        clip: name of the good file.
        kind: of damage.
        reading: arguments of `Video`.
    """

    number: int
    clip: str
    kind: str
    reading: Mapping[str, Any] = field(default_factory=dict)

    def write(self, clip: bytes, folder: Path) -> Path:
        """Damage the good file's content, and write the result under a name of its own."""
        path = folder / f"{self.number}{Path(self.clip).suffix}"
        path.write_bytes(MUTATIONS[self.kind](clip, self.number))
        return path


def case(number: int) -> Case:
    """The case of a number; consecutive numbers take other clips, then other kinds, then other readings."""
    rest, clip = divmod(number, len(CLIPS))
    reading, kind = divmod(rest, len(_KINDS))
    return Case(number, CLIPS[clip].name, _KINDS[kind], _READINGS[reading % len(_READINGS)])


def read_clips(folder: Path) -> dict[str, bytes]:
    """Write the good files into a folder, and return their content by name."""
    return {path.name: path.read_bytes() for path in write_clips(folder)}


def decode(video: Video) -> int:
    """Decode frames spread over a video, or over its part, and return how many came.

    Raises:
        BimbaError: the file is damaged, as it should be.
        AssertionError: a frame is not what was promised.
    """
    part = video.indices
    wanted = [part[index] for index in uniform_indices(len(part), NUM_FRAMES)]
    shape = (video.info.height, video.info.width, 3)
    num_frames = 0
    for frame in video.frames(wanted):
        if frame.shape != shape or frame.dtype != "uint8":
            raise AssertionError(f"a frame is {frame.dtype} {frame.shape}, but uint8 {shape} was promised")
        num_frames += 1
    if num_frames != len(wanted):
        raise AssertionError(f"{num_frames} frames came of {len(wanted)} wanted")
    return num_frames
