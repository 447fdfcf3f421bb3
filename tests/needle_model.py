"""A tiny random model with a token a word of needle videos, for tests that train from a checkpoint."""

from pathlib import Path

import torch

from bimba.models.bimba.configuration import BimbaConfig
from bimba.models.bimba.modeling import BimbaForConditionalGeneration
from bimba.models.bimba.processing import BimbaProcessor
from bimba.models.bimba.tiny import tiny_config
from bimba.models.bimba.word_tokenizer import word_tokenizer
from bimba.needles.vocabulary import needle_words

VOCABULARY = 1024


def make_needle_model(folder: Path) -> Path:
    """Write a model of 4 x 4 patches a frame and width 64 that reads needle videos' questions."""
    tiny = tiny_config(VOCABULARY)
    tiny.vision_config.image_size = 28
    tiny.vision_config.patch_size = 7
    config = BimbaConfig(
        vision_config=tiny.vision_config,
        text_config=tiny.text_config,
        spatial_pooling=4,
        pool_mode="average",
        newline_position="no_token",
        time_sentence=False,
    )
    processor = BimbaProcessor.from_config(config, word_tokenizer(needle_words()))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = BimbaForConditionalGeneration(config)
    ends = processor.tokenizer.eos_token_id
    model.generation_config.eos_token_id = [ends]
    model.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    model.generation_config.do_sample = False
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
