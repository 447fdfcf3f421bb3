"""Plain pooling: video tokens [B, T, H, W, D] in, their averages [B, T', H', W', D] out (the base model, no scan)."""

from torch import Tensor, nn

from bimba.ops import PoolMode, pool_video, pooled_shape


class PoolingCompressor(nn.Module):
    """What LLaVA-Video does, and what BIMBA's queries start from: pooling without parameters.

    Shapes: B batch, T frames, H x W patches a frame, D width.

    Args:
        pool: factors (pt, ph, pw) over time, height and width.
        pool_mode: "bilinear" (sizes rounded up), "average" or "max" (rounded down).
    """

    def __init__(self, *, pool: tuple[int, int, int] = (1, 2, 2), pool_mode: PoolMode = "bilinear") -> None:
        super().__init__()
        pooled_shape(*pool, pool, pool_mode)  # wrong factors or an unknown mode are refused here
        self.pool, self.pool_mode = pool, pool_mode

    def output_grid(self, frames: int, height: int, width: int) -> tuple[int, int, int]:
        """Grid (T', H', W') that a grid of frames x height x width tokens becomes."""
        return pooled_shape(frames, height, width, self.pool, self.pool_mode)

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, T, H, W, D] -> [B, T // pt, H', W', D]."""
        return pool_video(tokens, self.pool, self.pool_mode)

    def extra_repr(self) -> str:
        """Settings shown by print(module)."""
        return f"pool={self.pool}, pool_mode={self.pool_mode!r}"
