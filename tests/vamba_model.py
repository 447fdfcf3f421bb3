"""Golden files of a tokenizer in, a tiny Vamba whose answers depend on the video out, as a folder."""

from pathlib import Path

import torch

from bimba.models.vamba.processing import VambaProcessor
from bimba.models.vamba.tiny import tiny_config, tiny_vamba

END_OF_TURN = 386


def save_tiny_vamba(golden: Path, folder: Path) -> Path:
    """Save a tiny Vamba with the words of Qwen2-VL's format.

    Args:
        golden: folder of golden data.
        folder: where to.
    """
    config = tiny_config()
    config.text_config.eos_token_id = END_OF_TURN
    model = tiny_vamba(config)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim >= 2:  # fresh weights are so small that all answers are alike
                weight.copy_(torch.randn(weight.shape, generator=generator) * 2 * weight[0].numel() ** -0.5)
    model.save_pretrained(folder)
    released = golden / "vamba" / "config_a_default"
    VambaProcessor.from_pretrained(released, longest_edge=112, shortest_edge=56).save_pretrained(folder)
    return folder
