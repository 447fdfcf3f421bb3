"""A list of words in, a tokenizer with one token a word out: for small models that know few words.

Words that it does not know are spelled, letter by letter, so that every question can be read.
"""

import string
from collections.abc import Sequence

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from bimba.models.bimba.tiny import END_OF_TEXT, TURN_END, TURN_START

UNKNOWN = "<|unknown|>"
"""Stands for a character that is not ASCII."""


def word_tokenizer(words: Sequence[str]) -> PreTrainedTokenizerFast:
    """A tokenizer of words; white space only separates them, punctuation marks are words of their own.

    Args:
        words: each becomes one token, in this order, behind the marks and the letters.
    """
    letters = [character for character in string.printable if not character.isspace()]
    marks = [END_OF_TEXT, TURN_START, TURN_END, UNKNOWN]
    pieces = [*marks, *letters, *(f"##{letter}" for letter in letters), *words]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=UNKNOWN, max_input_chars_per_word=64))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(Regex(r"[^\w\s]"), "isolated")]
    )
    tokenizer.decoder = decoders.WordPiece(cleanup=True)
    tokenizer.add_special_tokens(marks)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=TURN_END, pad_token=END_OF_TEXT, unk_token=UNKNOWN
    )
