"""Pure tensor functions, the arithmetic of the compressors: tensors in, tensors out, no config and no module state."""

from bimba.ops.causal_conv1d import carried_state, causal_conv1d
from bimba.ops.gated_norm import gated_rms_norm
from bimba.ops.interleave import interleave, query_positions
from bimba.ops.pool import PoolMode, pool_video, pooled_shape
from bimba.ops.selective_scan import selective_scan
from bimba.ops.ssd import ssd

__all__ = [
    "PoolMode",
    "carried_state",
    "causal_conv1d",
    "gated_rms_norm",
    "interleave",
    "pool_video",
    "pooled_shape",
    "query_positions",
    "selective_scan",
    "ssd",
]
