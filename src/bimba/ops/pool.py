"""Video tokens [B, T, H, W, D] in, a coarser grid of the same width [B, T', H', W', D] out.

Shapes: B batch, T frames, H x W patches of a frame, D width; (pt, ph, pw) the pooling factors.
"""

from typing import Literal, get_args

from torch import Tensor
from torch.nn import functional

PoolMode = Literal["bilinear", "average", "max"]


def pooled_shape(
    frames: int, height: int, width: int, pool: tuple[int, int, int], mode: PoolMode
) -> tuple[int, int, int]:
    """Grid that `pool_video` returns for a grid of frames x height x width patches.

    Frames that do not fill a group of pt are left out, as in the released model. Bilinear sizes are rounded up
    (27 -> 14), those of average and max down (27 -> 13).

    Raises:
        ValueError: a factor is below 1, the mode is unknown, or nothing is left of the grid.
    """
    if mode not in get_args(PoolMode):
        raise ValueError(f"pool mode {mode!r} is none of {', '.join(get_args(PoolMode))}.")
    if min(pool) < 1:
        raise ValueError(f"pool {pool} needs factors of at least 1.")
    pt, ph, pw = pool
    if mode == "bilinear":
        grid = frames // pt, -(-height // ph), -(-width // pw)
    else:
        grid = frames // pt, height // ph, width // pw
    if min(grid) < 1:
        raise ValueError(f"{frames} x {height} x {width} video tokens pooled by {pool} ({mode}) leave nothing.")
    return grid


def pool_video(tokens: Tensor, pool: tuple[int, int, int], mode: PoolMode = "bilinear") -> Tensor:
    """Average groups of pt frames, then pool each frame over space by (ph, pw).

    Source: the released model's query pooling (BIMBA, arXiv 2503.09590, section 3.2).

    Args:
        tokens: [B, T, H, W, D].
        pool: factors (pt, ph, pw).
        mode: how a frame shrinks: "bilinear" (resampled without antialiasing, pixel centres), "average" or "max".

    Returns:
        [B, T // pt, H', W', D] with H' and W' as `pooled_shape` says.

    Raises:
        ValueError: as `pooled_shape`, or `tokens` does not have five dimensions.
    """
    if tokens.ndim != 5:
        raise ValueError(f"video tokens are [B, T, H, W, D]; these have the shape {tuple(tokens.shape)}.")
    batch, frames, height, width, dim = tokens.shape
    out_frames, out_height, out_width = pooled_shape(frames, height, width, pool, mode)
    pt, ph, pw = pool
    if pt > 1:
        groups = tokens[:, : out_frames * pt].reshape(batch, out_frames, pt, height, width, dim)
        tokens = groups.mean(dim=2)
    if (ph, pw) == (1, 1):
        return tokens
    planes = tokens.reshape(batch * out_frames, height, width, dim).permute(0, 3, 1, 2)
    if mode == "bilinear":
        planes = functional.interpolate(planes, size=(out_height, out_width), mode="bilinear", align_corners=False)
    elif mode == "average":
        planes = functional.avg_pool2d(planes, (ph, pw))
    else:
        planes = functional.max_pool2d(planes, (ph, pw))
    return planes.permute(0, 2, 3, 1).reshape(batch, out_frames, out_height, out_width, dim).to(dtype=tokens.dtype)
