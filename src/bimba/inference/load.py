"""A model's name in, a VideoQA ready to be asked out."""

from pathlib import Path
from typing import Any

import torch

from bimba.checkpoints.loading import LoadOptions, load_model
from bimba.inference.video_qa import VideoQA


def load(
    model: str | Path,
    *,
    base: str | Path | None = None,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    attn_implementation: str | None = None,
    quantization: Any = None,
    config_overrides: dict[str, Any] | None = None,
) -> VideoQA:
    """Load a model to ask questions about videos.

    Args:
        model: a folder or hub id: the released adapter, a released base alone, or a model of ours.
        base: folder or hub id of the adapter's base; if not given, the one that the adapter names is used.
        device: "auto" (all GPUs, one, or the CPU), "cpu", "cuda", "cuda:1", "mps".
        dtype: "auto" (as stored), "float32", "bfloat16", "float16" or a torch dtype.
        attn_implementation: "sdpa", "eager", "flash_attention_2", ... as transformers names them.
        quantization: "4bit", "8bit" (extra `gpu`) or a quantization config of transformers.
        config_overrides: settings other than the checkpoint's, e.g. `{"temporal_pooling": 4}`.

    Raises:
        CheckpointError: files are missing, unsafe, or do not fit each other.
        InputError: an option is unknown or cannot be had on this machine.
    """
    options = LoadOptions(device, dtype, attn_implementation, quantization, config_overrides)
    return VideoQA(*load_model(model, base, options))
