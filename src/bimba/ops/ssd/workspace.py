"""Names and shapes in, tensors that are used again for each part of a sequence out."""

import torch
from torch import Tensor


class Workspace:
    """Tensors that are filled anew for each piece: on a CPU fresh memory costs more than the arithmetic on it.

    Args:
        like: a tensor on the device.
        dtype: of all tensors.
    """

    def __init__(self, like: Tensor, dtype: torch.dtype) -> None:
        self._device, self._dtype = like.device, dtype
        self._tensors: dict[tuple[str, tuple[int, ...]], Tensor] = {}

    def __call__(self, name: str, *shape: int) -> Tensor:
        """The tensor of that name and shape, with whatever it holds."""
        key = (name, shape)
        if key not in self._tensors:
            self._tensors[key] = torch.empty(shape, dtype=self._dtype, device=self._device)
        return self._tensors[key]
