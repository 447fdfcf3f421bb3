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
    declared ("The answer is B", "Answer: b", "I would choose option B"), a single letter in brackets, and the text of
    exactly one option ("a dog", "It is a dog."). A letter counts for more than a text behind it. Case, white space,
    Markdown, LaTeX boxes and what a model thought aloud (`</think>`) make no difference.

    What names no option, several ones, or a letter that no option has, is not understood: such an answer is wrong, and
    counted as unparsed. Nothing is ever guessed.

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
    said = _plain(answer)
    whole = option_of_text(said, options, anywhere=False)
    if whole is not None and not re.fullmatch(r"[A-Za-z]\W*", said):
        return LETTERS[whole]
    named = named_letters(said, options)
    if named:
        [letter, *more] = sorted(named)
        return letter if not more and letter in LETTERS[: len(options)] else None
    found = whole if whole is not None else option_of_text(said, options, anywhere=True)
    return None if found is None else LETTERS[found]


def _plain(answer: str) -> str:
    """An answer without thoughts and typesetting, on one line each."""
    text = _THOUGHT.sub("", unicodedata.normalize("NFKC", answer))
    text = _TAGS.sub(" ", _BOXED.sub(r" \1 ", text))
    lines = (" ".join(line.split()) for line in _MARKS.sub("", text).splitlines())
    return "\n".join(line for line in lines if line)
