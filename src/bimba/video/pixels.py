"""Pixels: uint8 RGB frames go in, the vision tower's normalised float32 input comes out; in two steps, or in one.

The arithmetic is that of SigLIP's image processor: Pillow's bicubic resize on bytes to a square (the aspect ratio is
not kept), division by 255, then (value - mean) / std for each colour. Letters: T frames, H rows, W columns.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image


def make_pixels(
    frames: Iterable[npt.NDArray[np.uint8]], *, size: int, mean: Sequence[float], std: Sequence[float]
) -> torch.Tensor:
    """Resize and normalise frames, read one by one: of an iterator's full-size frames two at most are held at a time.

    Args:
        frames: T arrays, uint8 RGB [H, W, 3]; an array [T, H, W, 3] serves as well.
        size: rows and columns of the result.
        mean: 3 means of red, green, blue on the scale 0 to 1.
        std: 3 standard deviations on the same scale.

    Returns:
        float32 [T, 3, size, size].

    Raises:
        ValueError: there is no frame, a frame is not uint8 [H, W, 3], or mean and std are not 3 numbers each.
    """
    return normalise(resize_frames(frames, size=size), mean=mean, std=std)


def resize_frames(frames: Iterable[npt.NDArray[np.uint8]], *, size: int) -> torch.Tensor:
    """Resize frames to squares: bytes, a quarter of what pixels take, until they are where the tower is.

    Args:
        frames: as of `make_pixels`.
        size: rows and columns of the result.

    Returns:
        uint8 [T, size, size, 3].

    Raises:
        ValueError: there is no frame, or a frame is not uint8 [H, W, 3].
    """
    resized = [_resized(frame, size) for frame in frames]
    if not resized:
        raise ValueError("frames is empty, but pixels need at least one frame")
    return torch.from_numpy(np.stack(resized))


def normalise(resized: torch.Tensor, *, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """Resized frames as the tower reads them, on the device where they are.

    Args:
        resized: uint8 [T, S, S, 3].
        mean: 3 means of red, green, blue on the scale 0 to 1.
        std: 3 standard deviations on the same scale.

    Returns:
        float32 [T, 3, S, S].

    Raises:
        ValueError: mean and std are not 3 numbers each.
    """
    if len(mean) != 3 or len(std) != 3:
        raise ValueError(f"mean and std need 3 numbers each, got {len(mean)} and {len(std)}")
    pixels = resized.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
    pixels /= 255
    pixels -= pixels.new_tensor(mean)[:, None, None]
    pixels /= pixels.new_tensor(std)[:, None, None]
    return pixels


def _resized(frame: npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.uint8]:
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        raise ValueError(f"a frame must be uint8 [H, W, 3], got {frame.dtype} {list(frame.shape)}")
    # np.array copies, so that the tensor made from it is writable.
    return np.array(Image.fromarray(frame).resize((size, size), Image.Resampling.BICUBIC))
