"""Patches of some frames with their grid, together on their way from the frames to the vision tower."""

from typing import NamedTuple

import torch
from torch import Tensor


class Patches(NamedTuple):
    """Patches of frames that follow each other.

    Args:
        values: [n, P], bytes or floats.
        grid: (t, h, w) of them.
    """

    values: Tensor
    grid: tuple[int, int, int]

    def to(self, device: torch.device) -> "Patches":
        """The same on a device."""
        return self._replace(values=self.values.to(device))
