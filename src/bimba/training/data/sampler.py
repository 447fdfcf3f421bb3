"""A number of samples, a seed and an epoch in, the order in which they are trained on out."""

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

from bimba.training.data.example_dataset import BLANK

_MEGA = 50
"""Batches that are sorted by length together: more would make the order predictable, fewer would pad more."""


class GlobalOrder(Sampler[int]):
    """The order of an epoch: every sample once, whatever the number of processes.

    It is a function of seed and epoch alone. Its length is a multiple of the global batch; places that no sample fills
    are -1, so that no sample is trained on twice and all processes make the same number of steps. Processes deal each
    global batch among themselves, so that an optimizer step sees the same samples with any number of them.

    Args:
        num_samples: of the data set.
        global_batch: samples of one optimizer step, over all processes.
        seed: of the run.
        lengths: tokens of each sample; if given, samples of like length are batched together, and the longest ones
            come first, so that running out of memory shows at once.

    Raises:
        ValueError: a number is below 1, or lengths are not one a sample.
    """

    def __init__(self, num_samples: int, global_batch: int, seed: int, lengths: Sequence[int] | None = None) -> None:
        if min(num_samples, global_batch) < 1:
            raise ValueError(f"num_samples {num_samples} and global_batch {global_batch} are at least 1")
        if lengths is not None and len(lengths) != num_samples:
            raise ValueError(f"there are {len(lengths)} lengths for {num_samples} samples")
        self.num_samples, self.global_batch, self.seed, self.epoch = num_samples, global_batch, seed, 0
        self.lengths: npt.NDArray[np.int64] | None = None if lengths is None else np.array(lengths, dtype=np.int64)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, from 0, whose order is next."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Places of an epoch, blank ones too."""
        return -(-self.num_samples // self.global_batch) * self.global_batch

    def __iter__(self) -> Iterator[int]:
        """Numbers of samples, -1 for a blank place."""
        rng = np.random.default_rng((self.seed, self.epoch))
        order = np.full(len(self), BLANK, dtype=np.int64)
        order[: self.num_samples] = rng.permutation(self.num_samples)
        if self.lengths is not None:
            order = self._grouped(order, self.lengths, rng)
        return iter(order.tolist())

    def samples_of(self, num_steps: int | None) -> list[int]:
        """Numbers, ascending, of the samples that the first steps see; all of them if None."""
        if num_steps is None or num_steps * self.global_batch >= len(self):
            return list(range(self.num_samples))
        return sorted(set(islice(self, num_steps * self.global_batch)) - {BLANK})

    def _grouped(
        self, order: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64], rng: np.random.Generator
    ) -> npt.NDArray[np.int64]:
        """The order, with samples of like length in the same global batch."""
        lengths = np.append(lengths, -1)  # found by the index of a blank place, which is shorter than any sample
        size = _MEGA * self.global_batch
        megas = [order[start : start + size] for start in range(0, len(order), size)]
        in_megas = np.concatenate([mega[np.argsort(-lengths[mega], kind="stable")] for mega in megas])
        batches = in_megas.reshape(-1, self.global_batch)
        batches = batches[rng.permutation(len(batches))]
        longest = int(np.argmax(lengths[batches].max(axis=1)))
        batches[[0, longest]] = batches[[longest, 0]]
        return batches.reshape(-1)
