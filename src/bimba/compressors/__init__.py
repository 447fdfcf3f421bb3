"""Compressors: video tokens [B, T, H, W, D] in, fewer of them [B, T', H', W', D] out.

`SelectiveScanCompressor` is BIMBA; its rivals stand beside it and are called alike.
"""

from bimba.compressors.no_compression import NoCompressor
from bimba.compressors.perceiver import PerceiverResampler
from bimba.compressors.pooling import PoolingCompressor
from bimba.compressors.selective_scan import SelectiveScanCompressor
from bimba.compressors.self_attention import SelfAttentionCompressor

__all__ = [
    "NoCompressor",
    "PerceiverResampler",
    "PoolingCompressor",
    "SelectiveScanCompressor",
    "SelfAttentionCompressor",
]
