"""Depthwise causal convolution: a sequence [B, L, E] in, each position mixed with the few before it out."""

from bimba.ops.causal_conv1d.reference import causal_conv1d

__all__ = ["causal_conv1d"]
