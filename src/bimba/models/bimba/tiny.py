"""A seed in, a tiny BIMBA model with random weights and its processor out: for tests, demos and benchmarks.

Everything is there at small size (SigLIP, projector, compressor, Qwen2, a tokenizer of bytes), so whatever runs on
it runs on the released model. Its words mean nothing.
"""

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from bimba.models.bimba.configuration import BimbaConfig
from bimba.models.bimba.modeling import BimbaForConditionalGeneration
from bimba.models.bimba.processing import BimbaProcessor

SPACE = "\u0120"
"""How a byte-level vocabulary writes a space."""

END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer whose tokens are bytes, with the ChatML marks: 259 ids."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({byte: index for index, byte in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([END_OF_TEXT, TURN_START, TURN_END])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=TURN_END, pad_token=END_OF_TEXT)


def tiny_config(vocab_size: int) -> BimbaConfig:
    """Sizes of the tiny model: 5 x 5 patches a frame, width 64, two layers."""
    vision = {
        "model_type": "siglip_vision_model",
        "hidden_size": 48,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": 70,
        "patch_size": 14,
        "vision_use_head": False,
    }
    text = {
        "model_type": "qwen2",
        "vocab_size": vocab_size,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 32768,
    }
    return BimbaConfig(vision_config=vision, text_config=text)


def tiny_model(seed: int = 0) -> tuple[BimbaForConditionalGeneration, BimbaProcessor]:
    """The tiny model and its processor; the same seed gives the same weights."""
    tokenizer = tiny_tokenizer()
    config = tiny_config(vocab_size=320)
    processor = BimbaProcessor.from_config(config, tokenizer)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = BimbaForConditionalGeneration(config)
        model.eval()  # type: ignore[no-untyped-call] # untyped there
        for name, parameter in model.named_parameters():
            if name.endswith("out_proj.weight") and name.startswith("compressor."):
                torch.nn.init.normal_(parameter, std=0.02)  # a compressor that does something
    # Bytes that no terminal can show are left out, and no letter is said all the time.
    vocabulary = tokenizer.get_vocab()
    model.generation_config.suppress_tokens = sorted(
        index for token, index in vocabulary.items() if len(token) == 1 and not token.isascii() and token != SPACE
    )
    model.generation_config.repetition_penalty = 1.3
    ends = [tokenizer.convert_tokens_to_ids(token) for token in (TURN_END, END_OF_TEXT)]
    model.generation_config.eos_token_id = ends
    model.generation_config.pad_token_id = ends[1]
    return model, processor
