"""What the tests of training data make: files of entries, samples, data sets."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bimba.models.bimba.processing import BimbaProcessor
from bimba.training.data import Description, Example, Failure, TrainingDataset, read_samples
from bimba.training.recipe.data_settings import Frames, Source

FRAMES = Frames(count=4)


def turns(*values: str) -> list[dict[str, str]]:
    """A conversation: a human's turn, then gpt's, and so on."""
    return [{"from": "human" if place % 2 == 0 else "gpt", "value": value} for place, value in enumerate(values)]


def entry(question: str = "<image>\nWhat?", answer: str = "That.", **others: Any) -> dict[str, Any]:
    """An entry of a training file."""
    return {"id": "one", "conversations": turns(question, answer), **others}


def write(path: Path, entries: Sequence[Any]) -> Path:
    """Write a .json or .jsonl file."""
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(item) + "\n" for item in entries))
    else:
        path.write_text(json.dumps(entries))
    return path


def dataset_of(folder: Path, entries: Sequence[Any], processor: BimbaProcessor, **options: Any) -> TrainingDataset:
    """A data set of entries whose media lie in a folder that may not be written to."""
    settings = {"frames": FRAMES} | options
    source = Source(json_path=write(folder / "train.json", entries), video_folder=settings.pop("media", None))
    return TrainingDataset(read_samples([source], seed=0), processor, **settings)


def example(dataset: TrainingDataset, index: int = 0) -> Example:
    """The example of a good sample."""
    found = dataset[index]
    assert isinstance(found, Example), found
    return found


def failure(dataset: TrainingDataset, index: int = 0) -> Failure:
    """The failure of a bad one."""
    found = dataset[index]
    assert isinstance(found, Failure), found
    return found


def description(dataset: TrainingDataset, index: int = 0) -> Description:
    """What the model sees of a good sample."""
    found = dataset.describe(index)
    assert isinstance(found, Description), found
    return found


def shown(dataset: TrainingDataset, index: int = 0) -> str:
    """The text of a sample, with <image> for a video and what is learned in [brackets]."""
    return "".join(
        f"[{piece.text}]" if piece.learned else piece.text for piece in dataset.pieces(description(dataset, index))
    )
