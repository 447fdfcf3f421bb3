"""The selective scan on GPUs: kernels in Triton, imported on use, since Triton need not be installed."""

from bimba.ops.selective_scan.triton.launch import backward, forward

__all__ = ["backward", "forward"]
