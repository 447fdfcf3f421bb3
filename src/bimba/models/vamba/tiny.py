"""A size in, an untrained Vamba of that size out: for tests, benchmarks and trying things out."""

import torch

from bimba.models.vamba.configuration import VambaConfig
from bimba.models.vamba.modeling import VambaForConditionalGeneration


def tiny_config(*, width: int = 64, num_layers: int = 3, vocab_size: int = 416) -> VambaConfig:
    """Settings of a small model with heads of width 16.

    Args:
        width: D, a multiple of 32.
        num_layers: of the language model.
        vocab_size: rows of the embedding.
    """
    text = {
        "vocab_size": vocab_size,
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": num_layers,
        "num_attention_heads": width // 16,
        "num_key_value_heads": width // 32,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0, "mrope_section": [2, 3, 3]},
        "bos_token_id": None,
        "eos_token_id": 0,
    }
    vision = {"depth": 2, "embed_dim": 32, "hidden_size": width, "num_heads": 2}
    mixer = {"d_state": 16, "headdim": 16}
    return VambaConfig(text_config=text, vision_config=vision, mixer=mixer)


def tiny_vamba(config: VambaConfig | None = None, *, seed: int = 0) -> VambaForConditionalGeneration:
    """An untrained model; the weights depend on the seed alone.

    Args:
        config: settings; those of `tiny_config` if not given.
        seed: of the weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = VambaForConditionalGeneration(tiny_config() if config is None else config)
        model.eval()  # type: ignore[no-untyped-call] # untyped there
        return model
