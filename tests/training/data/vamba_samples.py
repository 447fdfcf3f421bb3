"""Entries of a data set in, samples of a Vamba out, for the tests."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sample_files import write

from bimba.models.vamba.processing import VambaProcessor
from bimba.training.data import Example, VambaDataset, read_samples
from bimba.training.recipe.data_settings import Frames, Source


def vamba_data(
    folder: Path, entries: Sequence[Any], processor: VambaProcessor, media: Path, count: int = 4, **options: Any
) -> VambaDataset:
    """A data set of entries whose media lie in a folder."""
    source = Source(json_path=write(folder / "train.json", entries), video_folder=media)
    frames = Frames(count=count, sampling=options.pop("sampling", "middle"), time_sentence=False)
    return VambaDataset(read_samples([source], seed=0), processor, frames, **options)


def made(dataset: VambaDataset, index: int = 0) -> Example:
    """A sample that can be read."""
    found = dataset[index]
    assert isinstance(found, Example), found
    return found
