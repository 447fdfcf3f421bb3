"""An answer in words and the options in, the letter of the one that is meant out, or None."""

import re
import unicodedata
from collections.abc import Sequence

from bimba.evaluation.extraction.letters import named_letters
from bimba.evaluation.extraction.texts import option_of_text

LETTERS = "ABCDEFGHIJ"
"""Of the options, in order; no benchmark has more."""

_THOUGHT = re.compile(r".*</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
_BOXED = re.compile(r"\\boxed\s*\{\s*(?:\\text\s*\{)?([^{}]*)\}?\s*\}")
_MARKS = re.compile(r"[*`$#]+|(?<![A-Za-z0-9])_+|_+(?![A-Za-z0-9])")
_TAGS = re.compile(r"</?(?:answer|ans|option|choice|strong|em)>|<\|[a-z_]+\|>|</[bi]>|<[bi]>(?=.*</[bi]>)")


def extract_option(answer: str, options: Sequence[str]) -> str | None:
    """Find the option that an answer names: by its letter, or by its text.

    Understood are a letter by itself or in front ("B", "(b)", "**B**", "B. a dog", "B because ..."), a letter that is
    declared ("The answer is B", "Answer: b", "I would choose option B"), a single letter in brackets or at the end of a
    sentence behind a punctuation mark ("In short: B"), and the text of exactly one option ("a dog", "It is a dog.").
    A letter counts for more than a text behind it. Case, white space, Markdown, LaTeX boxes and what a model thought
    aloud (`</think>`) make no difference.

    What names no option, several ones ("(A) a cat (B) a dog"), a letter that no option has, or one that is said to be
    wrong, is not understood: such an answer is wrong, and counted as unparsed. Where the options call a person C, "C is
    cooking" names no letter. Nothing is ever guessed.

    Args:
        answer: what the model said.
        options: texts of the options in order, without letters.

    Returns:
        a capital letter, or None.

    Raises:
        ValueError: there are no options, or more than ten.
    """
    if not 1 <= len(options) <= len(LETTERS):
        raise ValueError(f"there are {len(options)} options; 1 to {len(LETTERS)} have letters.")
    said, plain = _plain(answer), [_plain(option) for option in options]
    whole = _of_whole_text(answer, options)
    if whole is None:
        whole = _of_whole_text(said, plain)
    if whole is not None:
        return LETTERS[whole]
    named = named_letters(said, plain)
    if named:
        [letter, *more] = sorted(named)
        return letter if not more and letter in LETTERS[: len(options)] else None
    found = option_of_text(said, plain, anywhere=True)
    return None if found is None else LETTERS[found]


def _of_whole_text(said: str, options: Sequence[str]) -> int | None:
    """Number of the option whose text an answer is; a text that is but the letter of an option is never meant."""
    lone = re.compile(rf"""[\s.,:;!?"'(\[]*[{LETTERS[: len(options)]}][\s.,:;!?"')\]]*""", re.IGNORECASE)
    texts = ["" if lone.fullmatch(option) else option for option in options]
    return option_of_text(said, texts, anywhere=False)


def _plain(text: str) -> str:
    """A text without thoughts and typesetting, each line without white space around it."""
    text = _THOUGHT.sub("", unicodedata.normalize("NFKC", text))
    text = _TAGS.sub(" ", _BOXED.sub(r" \1 ", text))
    lines = (" ".join(line.split()) for line in _MARKS.sub("", text).splitlines())
    return "\n".join(line for line in lines if line)
