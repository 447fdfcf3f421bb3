"""Entries of training files in, one compact store of samples out that worker processes share.

Shapes: N samples, X bytes of all entries.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bimba.needles import NeedleStream
from bimba.training.data.sample import Sample, entry_id, make_sample, parse_entry
from bimba.training.data.streams import StreamPlace


@dataclass(frozen=True)
class EntryFile:
    """A file that entries come from.

    Attributes:
        path: the file; of a stream its name.
        folder: what the paths in its entries are relative to.
        stream: of needle videos, where entries are nothing but their numbers: first all videos, then all of them again
            with the questions of the next round, and so on.
        turns: questions about a video of the stream that make one conversation.
    """

    path: Path
    folder: Path
    stream: NeedleStream | None = None
    turns: int = 1


Entry = tuple[int, str]
"""Position in its file, from 0, and JSON text."""


class SampleStore:
    """All samples of a run as bytes: a few arrays instead of millions of objects, which forked processes would copy.

    Every read of an object counts references in its memory page, so that each worker ends up with a copy of its own;
    arrays stay shared.

    Args:
        parts: each file with its chosen entries.
    """

    def __init__(self, parts: Iterable[tuple[EntryFile, Iterable[Entry]]]) -> None:
        text = bytearray()
        ends, positions, owners = [0], [], []
        files = []
        for number, (file, entries) in enumerate(parts):
            files.append(file)
            for position, entry in entries:
                # A damaged entry stays as it is, and is refused when it is fetched.
                text += entry.encode("utf-8", "surrogatepass")
                ends.append(len(text))
                positions.append(position)
                owners.append(number)
        self.files = tuple(files)
        self._text = np.frombuffer(text, dtype=np.uint8)
        self._ends: npt.NDArray[np.int64] = np.array(ends, dtype=np.int64)
        self._positions: npt.NDArray[np.int64] = np.array(positions, dtype=np.int64)
        self._owners: npt.NDArray[np.int32] = np.array(owners, dtype=np.int32)
        self._labels = _labels([file.path for file in files])

    def __len__(self) -> int:
        return len(self._positions)

    def __iter__(self) -> Iterator[Sample]:
        """Every sample in order.

        Raises:
            InputError: an entry is no sample.
        """
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Sample:
        """A sample.

        Raises:
            IndexError: there is none of that number.
            InputError: the entry is no sample; the message says why.
        """
        place = self.place(index)
        if place is not None:
            return Sample(self.name(index), "needles", (), (), place)
        file = self.files[int(self._owners[index])]
        return make_sample(parse_entry(self.text(index)), self.name(index), file.folder)

    def place(self, index: int) -> StreamPlace | None:
        """Which video of a stream a sample is, if it is one.

        Raises:
            IndexError: there is no sample of that number.
        """
        file = self.files[int(self._owners[index])]
        if file.stream is None:
            return None
        number, video = divmod(int(self._positions[index]), len(file.stream))
        return StreamPlace(file.stream, video, file.turns, number)

    def stream(self, index: int) -> NeedleStream | None:
        """The stream that a sample is a video of, if it is one.

        Raises:
            IndexError: there is none of that number.
        """
        return self.files[int(self._owners[index])].stream

    def sizes(self) -> dict[str, int]:
        """Samples of each file."""
        counts = np.bincount(self._owners, minlength=len(self.files))
        sizes: dict[str, int] = {}
        for label, count in zip(self._labels, counts, strict=True):
            sizes[label] = sizes.get(label, 0) + int(count)
        return sizes

    def name(self, index: int) -> str:
        """What messages call a sample, damaged ones too: `train.json[12] (id 000123)`."""
        found = entry_id(self.text(index))
        label = f"{self._labels[int(self._owners[index])]}[{int(self._positions[index])}]"
        return label if found is None else f"{label} (id {found})"

    def text(self, index: int) -> str:
        """The JSON text of an entry.

        Raises:
            IndexError: there is none of that number.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        text: bytes = self._text[self._ends[index] : self._ends[index + 1]].tobytes()
        return text.decode("utf-8", "surrogatepass")

    def fingerprint(self) -> str:
        """A hash of all entries, wherever their files lie today."""
        digest = hashlib.sha256()
        for array in (self._text, self._ends, self._owners):
            digest.update(array.tobytes())
        return digest.hexdigest()


def _labels(paths: list[Path]) -> list[str]:
    """File names where they tell the files apart, whole paths elsewhere."""
    names: dict[str, set[Path]] = {}
    for path in paths:
        names.setdefault(path.name, set()).add(path)
    return [path.name if len(names[path.name]) == 1 else str(path) for path in paths]
