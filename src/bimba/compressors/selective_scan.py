"""BIMBA: video tokens [B, T, H, W, D] in, the query tokens that a bidirectional scan has filled [B, T', H', W', D] out.

Shapes: B batch, T frames, H x W patches a frame, S = T H W video tokens, Q queries, L = S + Q, D width.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from bimba.compressors.joint_sequence import JointSequenceCompressor
from bimba.compressors.learned_queries import QuerySource
from bimba.compressors.mixer import BidirectionalMixer
from bimba.compressors.norms import ExactRMSNorm
from bimba.compressors.one_pass import fill_queries
from bimba.compressors.public_names import from_public_state_dict, to_public_state_dict
from bimba.compressors.query_filler import QueryFiller
from bimba.ops import PoolMode
from bimba.ops.interleave import QueryPosition


class CompressorLayer(nn.Module):
    """norm -> bidirectional Mamba block -> residual, on the joint sequence of tokens and queries.

    Args:
        dim: D.
        norm: normalise first (RMSNorm).
        residual: add the input.
        mixer: the block.
        chunk_size: places that `fill_queries` reads at a time.
    """

    def __init__(
        self,
        dim: int,
        mixer: BidirectionalMixer,
        *,
        norm: bool,
        norm_eps: float,
        residual: bool,
        chunk_size: int | None = None,
    ) -> None:
        super().__init__()
        self.norm = ExactRMSNorm(dim, eps=norm_eps) if norm else nn.Identity()
        self.mixer = mixer
        self.residual, self.chunk_size = residual, chunk_size

    def forward(self, sequence: Tensor, queries: Tensor | None = None, positions: Tensor | None = None) -> Tensor:
        """What a joint sequence becomes, or with `queries` and `positions` what these become, for half the work.

        Args:
            sequence: tokens and queries [B, L, D]; or the tokens alone [B, S, D], with
            queries: [B, Q, D], to be read as standing at
            positions: rising int64 [Q], in the joint sequence.

        Returns:
            [B, L, D]; with queries, that at the positions [B, Q, D].
        """
        if queries is None or positions is None:
            mixed: Tensor = self.mixer(self.norm(sequence))
            return sequence + mixed if self.residual else mixed
        filled = fill_queries(self.mixer, sequence, queries, positions, prepare=self.norm, chunk_size=self.chunk_size)
        return queries + filled if self.residual else filled

    def filler(self, positions: Tensor, num_tokens: int, *, is_growing: bool = False) -> QueryFiller:
        """What takes this layer's tokens and queries in pieces, see `QueryFiller`; `finish` ends it."""
        return QueryFiller(
            self.mixer,
            positions,
            num_tokens,
            prepare=self.norm,
            chunk_size=self.chunk_size,
            is_growing=is_growing,
        )

    def finish(self, filler: QueryFiller) -> Tensor:
        """What a filler's queries become [B, Q, D]."""
        filled = filler.finish()
        return filler.queries + filled if self.residual else filled


class SelectiveScanCompressor(JointSequenceCompressor):
    """Compress a video's tokens into a few queries by a bidirectional selective scan (BIMBA, arXiv 2503.09590).

    Queries are pooled from the tokens, spread evenly among them, and the joint sequence goes through the layers; only
    the queries are returned. A fresh compressor returns its queries unchanged (the last projection starts at zero).

    Example:
        >>> import torch
        >>> from bimba.compressors import SelectiveScanCompressor
        >>> compressor = SelectiveScanCompressor(dim=32, pool=(2, 2, 2))
        >>> compressor(torch.zeros(1, 4, 5, 5, 32)).shape
        torch.Size([1, 2, 3, 3, 32])

    Args:
        dim: width D of the tokens.
        pool: factors (pt, ph, pw) by which queries are pooled from the tokens over time, height and width.
        pool_mode: "bilinear" (sizes rounded up), "average" or "max" (rounded down).
        num_layers: layers of norm, scan and residual.
        state_dim: N, entries of the state a channel.
        conv_width: K, taps of the convolution before the scan.
        expand: inner width over D.
        bidirectional: scan both ways (one way is the paper's ablation).
        query_position: "interleaved" (the paper's best), "start" or "end".
        norm: normalise before each scan.
        norm_eps: epsilon of that RMSNorm.
        residual: add each layer's input to its output.
        multi_scale: between layers, keep the tokens of every second frame only (no effect with one layer).
        queries: "pooled" from the tokens, or "learned" (the paper's ablation).
        learned_grid: (T', H', W') of learned queries, T' for the longest video.
        question_conditioned: the caller puts the question's tokens in front of each video's (the paper's variant; see
            `forward`). It changes no weight, and is kept here so that a model knows what it was trained with.
        scan_implementation: which implementation of `bimba.ops.selective_scan` runs, "auto" for the best.
        chunk_size: places of the sequence that the last layer reads at a time; by default as many as take 16 MB
            (CPU) or 64 MB a tensor in float32. It bounds the memory and changes nothing else.

    Raises:
        ValueError: a size is below 1, or learned queries and their grid do not come together.
    """

    def __init__(
        self,
        dim: int,
        *,
        pool: tuple[int, int, int] = (1, 2, 2),
        pool_mode: PoolMode = "bilinear",
        num_layers: int = 1,
        state_dim: int = 16,
        conv_width: int = 4,
        expand: int = 2,
        bidirectional: bool = True,
        query_position: QueryPosition = "interleaved",
        norm: bool = True,
        norm_eps: float = 1e-6,
        residual: bool = True,
        multi_scale: bool = True,
        queries: QuerySource = "pooled",
        learned_grid: Sequence[int] | None = None,
        question_conditioned: bool = False,
        scan_implementation: str = "auto",
        chunk_size: int | None = None,
    ) -> None:
        if (queries == "learned") != (learned_grid is not None):
            raise ValueError(f"queries are {queries}, learned_grid is {learned_grid}: learned queries need their grid.")
        smallest = min(dim, num_layers, state_dim, conv_width, expand, 1 if chunk_size is None else chunk_size, *pool)
        if smallest < 1:
            raise ValueError("dim, num_layers, state_dim, conv_width, expand, chunk_size and pool must be at least 1.")
        super().__init__(
            dim,
            pool=pool,
            pool_mode=pool_mode,
            query_position=query_position,
            multi_scale=multi_scale,
            learned_grid=learned_grid,
        )
        self.question_conditioned = question_conditioned

        def layer() -> CompressorLayer:
            mixer = BidirectionalMixer(
                dim,
                state_dim=state_dim,
                conv_width=conv_width,
                expand=expand,
                bidirectional=bidirectional,
                scan_implementation=scan_implementation,
            )
            return CompressorLayer(dim, mixer, norm=norm, norm_eps=norm_eps, residual=residual, chunk_size=chunk_size)

        self.layers = nn.ModuleList(layer() for _ in range(num_layers))

    def load_public_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Load weights under the key names of the public compressor (`layers.0.mixer.x_proj_b.weight`, ...).

        Raises:
            ValueError: names or shapes that do not fit this compressor, all of them listed.
        """
        own = {name: tensor.shape for name, tensor in self.state_dict().items()}
        self.load_state_dict(from_public_state_dict(state, own))

    def public_state_dict(self) -> dict[str, Tensor]:
        """These weights under the key names of the public compressor."""
        return to_public_state_dict(self.state_dict())

    def extra_repr(self) -> str:
        """Settings shown by print(module)."""
        return f"dim={self.dim}, pool={self.pool}, pool_mode={self.pool_mode!r}, query_position={self.query_position!r}"
