"""No compression: video tokens [B, T, H, W, D] in, the same tokens out."""

from torch import Tensor, nn


class NoCompressor(nn.Module):
    """Every token goes on to the language model: the rival without compression of BIMBA's paper (arXiv 2503.09590).

    Shapes: B batch, T frames, H x W patches a frame, D width.

    Args:
        pool: taken only to be refused where it would pool.

    Raises:
        ValueError: a factor is not 1.
    """

    def __init__(self, *, pool: tuple[int, int, int] = (1, 1, 1)) -> None:
        super().__init__()
        if tuple(pool) != (1, 1, 1):
            raise ValueError(f"without compression pool is (1, 1, 1), not {pool}.")
        self.pool = pool

    def output_grid(self, frames: int, height: int, width: int) -> tuple[int, int, int]:
        """Grid (T', H', W') that a grid of frames x height x width tokens becomes: itself."""
        return frames, height, width

    def forward(self, tokens: Tensor, queries: Tensor | None = None) -> Tensor:
        """[B, T, H, W, D] -> the same tensor.

        Raises:
            ValueError: tokens do not have five dimensions, or queries are given, which nothing would fill.
        """
        if tokens.ndim != 5:
            raise ValueError(f"video tokens are [B, T, H, W, D]; these have the shape {tuple(tokens.shape)}.")
        if queries is not None:
            raise ValueError(f"without compression there is nothing to fill queries {tuple(queries.shape)} with.")
        return tokens
