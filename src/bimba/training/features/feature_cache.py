"""A clip and frame numbers in, features [T, P, Dv] that a frozen vision tower once made of them out, from the disk.

    <folder>/features/3f/9a/<key>.safetensors   features of one clip, with what they were made of in words
    <folder>/contents/c0/<key>.json             content hashes (see `content_hashes`)
    <folder>/unfinished/                        what is being written; it is renamed when it is whole

A key is a hash of everything that decides the features: what the file holds (wherever it lies), or what a needle video
is drawn from; which frames of it, how they become pixels, the tower with its weights, the layer that is read, and the
precision. So files of different models, sizes and choices of frames live in one folder, and nothing in it is ever out
of date.

Shapes: T frames of a clip, P patches of a frame, Dv width of the vision tower.
"""

import hashlib
import json
import logging
import os
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

import bimba
from bimba.errors import InputError, TrainingError
from bimba.training.data.example import FeatureSource
from bimba.training.data.streams import StreamPlace
from bimba.training.features.content_hashes import ContentHashes

logger = logging.getLogger(__name__)

Found = TypeVar("Found")

FORMAT = 1
"""Raised when the same facts come to mean other features, e.g. by another way to make pixels."""

_NAME = "features"
_FOLDERS = ("pictures", "haystack", "photos")
"""Settings of needle videos that name what they are drawn from."""
_NOT_OF_PIXELS = ("num_videos", "num_questions", "codec", "pixel_format", "container")
"""Settings of needle videos that change nothing of a video that is drawn and not stored."""
_ABANDONED_SECONDS = 3600.0
"""After so long, nobody is still writing a file."""


@dataclass(frozen=True)
class MadeBy:
    """What besides a file and its frames decides features.

    Attributes:
        tower: digest of the vision tower's settings and weights.
        layer: which of its hidden states is read.
        strategy: which patches of it.
        precision: "bf16" or "float32", as of training.
        image_size: rows and columns of a frame's pixels.
        image_mean: of each colour.
        image_std: of each colour.
        feature_shape: (P, Dv).
    """

    tower: str
    layer: int
    strategy: str
    precision: Literal["bf16", "float32"]
    image_size: int
    image_mean: tuple[float, ...]
    image_std: tuple[float, ...]
    feature_shape: tuple[int, int]


class FeatureCache(FeatureSource):
    """Features on the disk; processes may read and write it at once.

    It holds a few paths and settings, so that worker processes may be forked or spawned with it.

    Args:
        folder: of the cache; made when something is written.
        made_by: what the features are of.
    """

    def __init__(self, folder: Path, made_by: MadeBy) -> None:
        self.folder, self.made_by = folder, made_by
        self.contents = ContentHashes(folder / "contents")

    def key(self, clip: Path | StreamPlace, indices: Sequence[int]) -> str:
        """What the features of some frames of a file or needle video are called.

        Raises:
            VideoError: the file, or a folder that the video is drawn from, cannot be read.
        """
        facts = {
            "format": FORMAT,
            "content": self._recipe_of(clip) if isinstance(clip, StreamPlace) else self.contents.of(clip),
            "indices": list(indices),
            "made_by": asdict(self.made_by),
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def get(self, clip: Path | StreamPlace, indices: Sequence[int]) -> Tensor | None:
        """Features [T, P, Dv] of the frames of a clip with these indices, None if they are not known.

        Raises:
            VideoError: as `key`.
        """
        return self._read(self.key(clip, indices), len(indices), _take_all)

    def has(self, key: str, num_frames: int) -> bool:
        """Whether features of so many frames are there under a key: in a file that is not torn; they are not read."""
        return self._read(key, num_frames, _take_nothing) is not None

    def put(self, key: str, features: Tensor, told: Mapping[str, Any]) -> int:
        """Keep features.

        Args:
            key: of their file and frames.
            features: [T, P, Dv].
            told: what else the file says of them.

        Returns:
            the size of the file in bytes.

        Raises:
            ValueError: they have another shape than this cache's.
            TrainingError: they could not be written.
        """
        if features.shape[1:] != self.made_by.feature_shape:
            raise ValueError(f"features are {list(features.shape)}, not of {list(self.made_by.feature_shape)}.")
        metadata = {"key": key, "format": str(FORMAT)} | {
            name: value if isinstance(value, str) else json.dumps(value)
            for name, value in (asdict(self.made_by) | dict(told)).items()
        }
        place = self._place(key)
        partial = self._unfinished / f"{key}.{os.getpid()}.{uuid.uuid4().hex}"  # two runs may make it at once
        try:
            partial.parent.mkdir(parents=True, exist_ok=True)
            place.parent.mkdir(parents=True, exist_ok=True)
            # Not save_file, which may make files that nobody else may read.
            content = save({_NAME: features.cpu().contiguous()}, metadata)
            with partial.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(place)
        except OSError as error:
            with suppress(OSError):
                partial.unlink()
            raise TrainingError(
                f"the feature cache in {self.folder} could not be written: {error}.",
                fix="free some space there, or name a folder with room that you may write to (data.cache=DIR), and "
                "give the same command again: what is cached already is kept.",
            ) from error
        return len(content)

    def clean(self) -> None:
        """Remove what interrupted runs left half written."""
        with suppress(OSError):
            for path in self._unfinished.iterdir():
                if time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:
                    path.unlink()

    def _recipe_of(self, place: StreamPlace) -> dict[str, Any]:
        """What decides the pixels of a needle video; another version of this package may draw it otherwise."""
        settings = place.stream.settings
        folders = {name: folder for name in _FOLDERS if (folder := getattr(settings, name)) is not None}
        drawn = settings.model_dump(mode="json", exclude={*_NOT_OF_PIXELS, *folders})
        contents = {name: self.contents.of(folder) for name, folder in folders.items()}
        return drawn | contents | {"index": place.index, "bimba": bimba.__version__}

    @property
    def _unfinished(self) -> Path:
        return self.folder / "unfinished"

    def _place(self, key: str) -> Path:
        return self.folder / "features" / key[:2] / key[2:4] / f"{key}.safetensors"

    def _read(self, key: str, num_frames: int, take: Callable[[Any], Found]) -> Found | None:
        """What is taken from the file of a key; None if the file is missing or damaged."""
        place = self._place(key)
        if not place.is_file():
            return None
        expected = [num_frames, *self.made_by.feature_shape]
        try:
            with safe_open(place, framework="pt") as file:
                told, shape = (file.metadata() or {}).get("key"), file.get_slice(_NAME).get_shape()
                if told == key and shape == expected:
                    return take(file)
                logger.warning("%s is not used: it holds %s of key %s, not %s.", place, shape, told, expected)
        except (OSError, SafetensorError) as error:
            logger.warning("%s is damaged and not used: %s", place, error)
        return None


def _take_all(file: Any) -> Tensor:
    features: Tensor = file.get_tensor(_NAME)
    return features


def _take_nothing(file: Any) -> bool:
    """Opening a file compares its size with what its header says."""
    del file
    return True


class FilledCache(FeatureSource):
    """A cache that was filled for a run: a sample whose features it lacks is unreadable.

    Decoding it after all would mix pixels and features in a batch.

    Args:
        cache: with features of all clips that could be read.
        reasons: by key, why there are none of the others.
    """

    def __init__(self, cache: FeatureCache, reasons: Mapping[str, str]) -> None:
        self.cache, self.reasons = cache, dict(reasons)

    def get(self, clip: Path | StreamPlace, indices: Sequence[int]) -> Tensor:
        """Features [T, P, Dv] of the frames of a clip with these indices.

        Raises:
            VideoError: the clip cannot be read.
            InputError: there are none.
        """
        features = self.cache.get(clip, indices)
        if features is not None:
            return features
        name = f"needle video {clip.index}" if isinstance(clip, StreamPlace) else str(clip)
        lost = f"{name} has no features in {self.cache.folder}: one of both changed since training began."
        reason = self.reasons.get(self.cache.key(clip, indices), lost)
        raise InputError(reason, fix="start again: what is missing is made then.")
