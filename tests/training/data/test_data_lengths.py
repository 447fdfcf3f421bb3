"""Lengths of all samples and the check of a data set, in one process and in several."""

import json
import logging
import os
from pathlib import Path

import pytest
import torch
from sample_files import dataset_of, entry, example, failure

from bimba.models.bimba.processing import BimbaProcessor
from bimba.models.bimba.tiny import tiny_tokenizer
from bimba.training.data import Report, Spread, TrainingDataset, check_samples, measure_lengths
from bimba.training.recipe.data_settings import Frames

# Coverage in a worker that had nothing to do warns of it, which would end the worker.
pytestmark = pytest.mark.filterwarnings("ignore:Module bimba was previously imported")


@pytest.fixture
def dataset(video: Path, picture: Path, processor: BimbaProcessor, tmp_path: Path) -> TrainingDataset:
    """A video, a picture, text, a missing file and a malformed entry."""
    (tmp_path / "clip.mp4").write_bytes(video.read_bytes())
    entries = [entry(video="clip.mp4"), entry(image=picture.name), entry("Why?"), entry(video="absent.mp4"), {}]
    return dataset_of(tmp_path, entries, processor)


def expected_lengths(dataset: TrainingDataset) -> list[int]:
    return [len(example(dataset, index).ids) for index in range(3)] + [0, 0]


@pytest.mark.parametrize("workers", [0, 2])
def test_lengths_are_those_of_the_examples(dataset: TrainingDataset, workers: int) -> None:
    told: list[tuple[int, int]] = []
    lengths, failures = measure_lengths(
        dataset, workers=workers, on_progress=lambda done, total: told.append((done, total))
    )
    assert lengths == expected_lengths(dataset)
    assert failures == [failure(dataset, 3), failure(dataset, 4)]
    assert told[-1] == (5, 5)
    assert told == sorted(set(told))


def test_measuring_draws_nothing_from_the_generator_of_the_training(dataset: TrainingDataset) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    measure_lengths(dataset, workers=0)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the samples that were measured."""
    seen: list[int] = []
    measure = TrainingDataset.measure

    def counting(self: TrainingDataset, index: int) -> object:
        seen.append(index)
        return measure(self, index)

    monkeypatch.setattr(TrainingDataset, "measure", counting)
    return seen


def test_lengths_are_remembered(dataset: TrainingDataset, counted: list[int], tmp_path: Path) -> None:
    file = tmp_path / "run" / "lengths.json"
    first = measure_lengths(dataset, workers=0, cache_file=file)
    assert len(counted) == 5
    assert measure_lengths(dataset, workers=0, cache_file=file) == first
    assert len(counted) == 5
    assert [path.name for path in file.parent.iterdir()] == ["lengths.json"]


def test_what_changes_lengths_makes_them_anew(
    dataset: TrainingDataset, counted: list[int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "lengths.json"
    store, processor, frames = dataset.store, dataset.processor, dataset.frames

    def measured() -> int:
        before = len(counted)
        measure_lengths(dataset, workers=0, cache_file=file)
        return len(counted) - before

    assert measured() == 5
    assert measured() == 0
    os.utime(tmp_path / "clip.mp4", ns=(1, 1))
    with caplog.at_level(logging.WARNING):
        assert measured() == 5
    assert "other samples, files or settings" in caplog.text
    (tmp_path / "absent.mp4").write_bytes((tmp_path / "clip.mp4").read_bytes())
    assert measured() == 5
    dataset = TrainingDataset(store, processor, Frames(count=2))
    assert measured() == 5
    dataset = TrainingDataset(store, processor, frames, max_tokens=100)
    assert measured() == 5
    pooling = BimbaProcessor(tiny_tokenizer(), image_size=70, patches_per_side=5, temporal_pooling=2)
    dataset = TrainingDataset(store, pooling, frames)
    assert measured() == 5
    other = tiny_tokenizer()
    other.add_tokens(["hello"])
    dataset = TrainingDataset(store, BimbaProcessor(other, image_size=70, patches_per_side=5), frames)
    assert measured() == 5
    assert measured() == 0
    dataset = dataset_of(tmp_path, [entry("Why?")] * 5, processor)
    assert measured() == 5


@pytest.mark.parametrize("damage", ["cut", "list", "types", "short", "binary"])
def test_a_damaged_file_is_measured_anew(
    damage: str, dataset: TrainingDataset, counted: list[int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "lengths.json"
    first = measure_lengths(dataset, workers=0, cache_file=file)
    record = json.loads(file.read_text())
    contents = {
        "cut": file.read_text()[:-10].encode(),
        "list": b"[]",
        "types": json.dumps(record | {"lengths": ["a"] * 5}).encode(),
        "short": json.dumps(record | {"lengths": [1]}).encode(),
        "binary": b"\xff\xfe",
    }
    file.write_bytes(contents[damage])
    with caplog.at_level(logging.WARNING):
        assert measure_lengths(dataset, workers=0, cache_file=file) == first
    assert "measured anew" in caplog.text
    assert len(counted) == 10


def test_a_folder_that_cannot_be_written_costs_only_time(
    dataset: TrainingDataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.WARNING):
        lengths, _ = measure_lengths(dataset, workers=0, cache_file=tmp_path / "file" / "lengths.json")
    assert lengths == expected_lengths(dataset)
    assert "cannot be kept" in caplog.text


# Check ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
def test_a_check_reads_everything(dataset: TrainingDataset, workers: int) -> None:
    report = check_samples(dataset, workers=workers)
    good = [example(dataset, index) for index in range(3)]
    lengths = sorted(len(sample.ids) for sample in good)
    assert report == Report(
        num_samples=5,
        num_by_kind={"video": 2, "image": 1, "text": 1, "damaged": 1},
        failures=(failure(dataset, 3), failure(dataset, 4)),
        tokens=Spread(lengths[0], lengths[1], lengths[2], sum(lengths)),
        learned=Spread.of([sample.num_learned for sample in good]),
        frames=Spread(1, 2.5, 4, 5),
    )
    assert json.loads(json.dumps(report.to_dict()))["frames"] == {"least": 1, "median": 2.5, "most": 4, "total": 5}


def test_a_check_of_nothing_good_has_no_numbers(processor: BimbaProcessor, tmp_path: Path) -> None:
    report = check_samples(dataset_of(tmp_path, [{}], processor), workers=0)
    assert (report.tokens, report.learned, report.frames) == (None, None, None)
