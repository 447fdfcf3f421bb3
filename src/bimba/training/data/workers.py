"""A data set and a question about each of its samples in, the answers out, in order, from several processes."""

from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from bimba.training.data.example_dataset import ExampleDataset

Answer = TypeVar("Answer")

_AT_ONCE = 8
"""Samples that a process answers for before it hands over, at most."""


class _Asked(Dataset[Any], Generic[Answer]):
    """The answers of a data set; small ones, so that no pixels go from process to process."""

    def __init__(self, dataset: ExampleDataset, ask: Callable[[ExampleDataset, int], Answer]) -> None:
        self.dataset, self.ask = dataset, ask

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Answer:
        return self.ask(self.dataset, index)


def ask_all(
    dataset: ExampleDataset,
    ask: Callable[[ExampleDataset, int], Answer],
    *,
    workers: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> Iterator[Answer]:
    """Ask about every sample.

    Args:
        dataset: of the samples.
        ask: called with the data set and the number of a sample; a function of a module, so that it can be sent.
        workers: processes; 0 asks in this one.
        on_progress: called with how many are answered and how many there are.
    """
    loader = DataLoader(
        _Asked(dataset, ask),
        batch_size=max(1, min(_AT_ONCE, len(dataset) // max(1, workers))),
        num_workers=workers,
        collate_fn=list,
        generator=torch.Generator(),  # a seed is drawn for the workers; not from the generator of the training
    )
    done = 0
    for answers in loader:
        done += len(answers)
        if on_progress is not None:
            on_progress(done, len(dataset))
        yield from answers
