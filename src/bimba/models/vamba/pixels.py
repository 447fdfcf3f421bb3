"""Frames in; the patches that Qwen2-VL's vision tower reads, and their grid, out.

A frame is resized twice, both times by Pillow's bicubic filter on bytes: so that its longer side is at most 640 and its
shorter one at least 256 (Vamba's own step), then to multiples of 28 (`smart_resize` of Qwen2-VL). Bytes are cut into
patches before they become floats, so that a video waits in a quarter of the memory.

Shapes: T frames, H rows, W columns, (t, h, w) the grid, n = t * h * w patches, P values of a patch: of 3 colours, of 2
frames, 14 x 14 pixels. Patches go by 2 frames, then by squares of 2 x 2 patches, which the tower merges into one token.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from bimba.errors import InputError

Grid = tuple[int, int, int]
"""Patches (t, h, w) of a video or an image, before 2 x 2 of them are merged."""

# From here on `smart_resize` refuses a picture.
_MOST_ELONGATED = 200


@dataclass(frozen=True)
class PatchSettings:
    """How frames become patches.

    Args:
        longest_edge: frames whose longer side has more pixels are reduced to so many.
        shortest_edge: sides with fewer pixels are then stretched to so many, each by itself.
        min_pixels: pixels of a frame, at least, after the second resize.
        max_pixels: at most.
        patch_size: rows and columns of a patch.
        temporal_patch_size: frames of a patch.
        merge_size: rows and columns of patches that become one token.
        image_mean: mean of each colour, of values between 0 and 1.
        image_std: standard deviation of each colour.

    Raises:
        InputError: a number is out of range.
    """

    longest_edge: int
    shortest_edge: int
    min_pixels: int
    max_pixels: int
    patch_size: int
    temporal_patch_size: int
    merge_size: int
    image_mean: Sequence[float]
    image_std: Sequence[float]

    def __post_init__(self) -> None:
        low, high = self.shortest_edge, self.longest_edge
        if not 1 <= low <= high < _MOST_ELONGATED * low:
            raise InputError(
                f"shortest_edge is {low} and longest_edge {high}.",
                fix=f"take a longest_edge of at least shortest_edge and below {_MOST_ELONGATED} times it, for example "
                "256 and 640, as released.",
            )
        if not 1 <= self.min_pixels <= self.max_pixels:
            raise InputError(
                f"min_pixels is {self.min_pixels} and max_pixels {self.max_pixels}.",
                fix="let min_pixels be at least 1 and at most max_pixels, for example 3136 and 12845056, as released.",
            )
        sizes = (self.patch_size, self.temporal_patch_size, self.merge_size)
        if min(sizes) < 1 or len(self.image_mean) != 3 or len(self.image_std) != 3 or 0 in self.image_std:
            raise InputError(
                f"patches are {sizes} in pixels, frames and merging, image_mean {list(self.image_mean)} and image_std "
                f"{list(self.image_std)}.",
                fix="take them from the preprocessor_config.json of the Qwen2-VL that the model is made of.",
            )

    def sizes(self, height: int, width: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """Rows and columns of a frame after the first and after the second resize."""
        first = _within_edges(height, width, self.shortest_edge, self.longest_edge)
        factor = self.patch_size * self.merge_size
        second = smart_resize(*first, factor=factor, min_pixels=self.min_pixels, max_pixels=self.max_pixels)
        return first, second

    def grid(self, num_frames: int, height: int, width: int) -> Grid:
        """Patches (t, h, w) of so many frames of a size."""
        rows, columns = self.sizes(height, width)[1]
        return -(-num_frames // self.temporal_patch_size), rows // self.patch_size, columns // self.patch_size


def make_patches(frames: Iterable[npt.NDArray[np.uint8]], settings: PatchSettings) -> tuple[Tensor, Grid]:
    """Resize frames and cut them into patches; of an iterator's full-size frames two at most are held at a time.

    Where frames run out within a patch the last one is repeated, as Qwen2-VL does it; an image is one frame. The public
    code leaves such frames out.

    Args:
        frames: T arrays of one size, uint8 RGB [H, W, 3]; an array [T, H, W, 3] serves as well.
        settings: sizes and patches.

    Returns:
        uint8 [n, P], and the grid (t, h, w).

    Raises:
        ValueError: there is no frame, or a frame is not uint8 [H, W, 3].
        InputError: frames differ in size.
    """
    patches = np.empty((0, 3 * settings.temporal_patch_size * settings.patch_size**2), dtype=np.uint8)
    used = num_groups = 0
    for group in _groups(frames, settings):
        piece = _cut(group, settings)
        if used + len(piece) > len(patches):
            # Grown in place, by a quarter: pieces put together in the end would be held twice.
            patches.resize((max(used + len(piece), len(patches) * 5 // 4), patches.shape[1]), refcheck=False)
        patches[used : used + len(piece)] = piece
        used += len(piece)
        num_groups += 1
        rows, columns = group.shape[1:3]
    if not num_groups:
        raise ValueError("frames is empty, but patches need at least one frame")
    patches.resize((used, patches.shape[1]), refcheck=False)
    return torch.from_numpy(patches), (num_groups, rows // settings.patch_size, columns // settings.patch_size)


def normalise(patches: Sequence[Tensor], settings: PatchSettings) -> Tensor:
    """Patches as the vision tower reads them, on the device where they are.

    Args:
        patches: of each video or image, uint8 [n, P]; at least one.
        settings: mean and deviation of the colours.

    Returns:
        float32 [N, P], N patches of them all.
    """
    first = patches[0]
    pixels = torch.empty(sum(map(len, patches)), first.shape[1], dtype=torch.float32, device=first.device)
    begin = 0
    for piece in patches:
        pixels[begin : begin + len(piece)] = piece
        begin += len(piece)
    by_colour = pixels.view(len(pixels), 3, -1)  # changed in place: nothing as large is held beside it
    by_colour /= 255
    by_colour -= pixels.new_tensor(settings.image_mean)[:, None]
    by_colour /= pixels.new_tensor(settings.image_std)[:, None]
    return pixels


def _within_edges(height: int, width: int, shortest: int, longest: int) -> tuple[int, int]:
    """Rows and columns with the longer side at most `longest` and each side at least `shortest`, which may stretch.

    The divisions are those of the public code: done otherwise, one frame size in 18,000 comes out a pixel larger.
    """
    if width >= height and width > longest:
        height, width = int(longest / (width / height)), longest
    elif height > longest:
        height, width = longest, int(longest * (width / height))
    return max(height, shortest), max(width, shortest)


def _groups(frames: Iterable[npt.NDArray[np.uint8]], settings: PatchSettings) -> Iterator[npt.NDArray[np.uint8]]:
    """Resized frames, as many together as a patch is deep: uint8 [2, rows, columns, 3]."""
    waiting: list[npt.NDArray[np.uint8]] = []
    shape: tuple[int, ...] | None = None
    for number, frame in enumerate(frames):
        _check_frame(frame)
        shape = frame.shape if shape is None else shape
        if frame.shape != shape:
            raise InputError(
                f"frame {number} is {frame.shape[0]} x {frame.shape[1]} pixels, the others {shape[0]} x {shape[1]}.",
                fix="scale the frames of a video to one size, or give them as images.",
            )
        waiting.append(_resized(frame, settings))
        if len(waiting) == settings.temporal_patch_size:
            yield np.stack(waiting)
            waiting = []
    if waiting:
        yield np.stack(waiting + waiting[-1:] * (settings.temporal_patch_size - len(waiting)))


def _resized(frame: npt.NDArray[np.uint8], settings: PatchSettings) -> npt.NDArray[np.uint8]:
    image = Image.fromarray(frame)
    for rows, columns in settings.sizes(frame.shape[0], frame.shape[1]):
        image = image.resize((columns, rows), Image.Resampling.BICUBIC)
    return np.asarray(image)


def _cut(frames: npt.NDArray[np.uint8], settings: PatchSettings) -> npt.NDArray[np.uint8]:
    """The frames of one patch in time, uint8 [2, rows, columns, 3] -> patches uint8 [h * w, P]."""
    num_frames, rows, columns, _ = frames.shape
    side, merge = settings.patch_size, settings.merge_size
    squares = side * merge
    split = frames.reshape(num_frames, rows // squares, merge, side, columns // squares, merge, side, 3)
    # -> square's row and column, patch's row and column in it, colour, frame, pixel's row and column
    ordered = split.transpose(1, 4, 2, 5, 7, 0, 3, 6)
    return ordered.reshape(rows * columns // side**2, 3 * num_frames * side**2)


def _check_frame(frame: npt.NDArray[np.uint8]) -> None:
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape:
        raise ValueError(f"a frame must be uint8 [H, W, 3], got {frame.dtype} {list(frame.shape)}")
