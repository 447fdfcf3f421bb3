"""Pure tensor functions, the arithmetic of the compressors: tensors in, tensors out, no config and no module state."""

from bimba.ops.causal_conv1d import causal_conv1d
from bimba.ops.interleave import interleave, query_positions
from bimba.ops.pool import PoolMode, pool_video, pooled_shape
from bimba.ops.selective_scan import selective_scan

__all__ = [
    "PoolMode",
    "causal_conv1d",
    "interleave",
    "pool_video",
    "pooled_shape",
    "query_positions",
    "selective_scan",
]
