"""Units by video in, what their shares would be in other draws of videos out.

Questions about one video are answered alike, so that whole videos are drawn: the cluster bootstrap (A. C. Davison and
D. V. Hinkley, Bootstrap Methods and their Application, 1997, section 3.8).

Shapes: C videos, G groups, R draws.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from bimba.evaluation.metrics.official import Unit

Array = NDArray[np.float64]

NUM_DRAWS = 5000
SEED = 2503_09590
_CHUNK = 250
"""Draws at a time, so that five thousand videos take 10 MB."""


class UnitsByVideo:
    """Sums of units of each video in each group.

    Args:
        units: at least one.
        groups: in order; a unit may stand in none of them.

    Attributes:
        right: [C, G], how many are right.
        count: [C, G], how many there are.
    """

    def __init__(self, units: Sequence[Unit], groups: Sequence[str], videos: Sequence[str]) -> None:
        rows = {video: row for row, video in enumerate(videos)}
        columns = {group: column for column, group in enumerate(groups)}
        self.right = np.zeros((len(rows), len(columns)))
        self.count = np.zeros_like(self.right)
        for unit in units:
            place = rows[unit.video], columns[unit.group]
            self.count[place] += 1
            self.right[place] += unit.right


def mean_of_groups(right: Array, count: Array) -> Array:
    """Mean over groups of the share that is right.

    Args:
        right: [..., G].
        count: [..., G]; a group of which nothing was drawn is left out.

    Returns:
        [...]; not a number where nothing at all was drawn.
    """
    some = count > 0
    shares = np.divide(right, count, out=np.zeros_like(right), where=some)
    number = some.sum(-1)
    return np.where(number > 0, shares.sum(-1) / np.maximum(number, 1), np.nan)


def over_draws(num_videos: int, statistic: Callable[[Array], Array], *, num_draws: int = NUM_DRAWS) -> Array:
    """Compute a statistic for many draws of videos, with replacement.

    Args:
        num_videos: C.
        statistic: takes how often each video is drawn, [r, C], and gives [r, ...].
        num_draws: R.

    Returns:
        [R, ...].
    """
    generator = np.random.default_rng(SEED)
    found = []
    for start in range(0, num_draws, _CHUNK):
        size = min(_CHUNK, num_draws - start)
        drawn = generator.integers(0, num_videos, (size, num_videos)) + num_videos * np.arange(size)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=size * num_videos).reshape(size, num_videos)
        found.append(statistic(weights.astype(np.float64)))
    return np.concatenate(found)


def interval(values: Array) -> tuple[float, float]:
    """The middle 95 % of a statistic's values; draws without any are left out."""
    low, high = np.nanquantile(values, [0.025, 0.975])
    return float(low), float(high)
