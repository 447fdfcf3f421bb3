"""What a model said about a multiple-choice question in, the letter it means out; or nothing, never a guess.

`option` is the rule of this package: a named letter (`letters`), else the text of an option (`texts`). `released` is
the rule of the public BIMBA code, kept to reproduce its figures.
"""

from bimba.evaluation.extraction.option import LETTERS, extract_option
from bimba.evaluation.extraction.released import released_first_word

__all__ = ["LETTERS", "extract_option", "released_first_word"]
