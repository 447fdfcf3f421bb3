"""An answer and the options' texts in, the number of the one option that it says out, or None."""

import re
import unicodedata
from collections.abc import Sequence

_SURROUNDINGS = " \n\t.,;:!?\"'`()[]{}<>\u2018\u2019\u201c\u201d\u3002"
_ARTICLE = re.compile(r"^(?:a|an|the) (?=\d|\S\S)")
"""What is left must be a word or a number: "a d" is not the letter."""

_LEAD = re.compile(
    r"^(?:(?:so|therefore|thus|well|hence)[ ,]+)?(?:(?:the |my |final |best |correct |right )*(?:answer|option|choice)"
    r"(?: is| would be|:|=)*|it is|it's|it was|this is|that is|there (?:is|are|was|were)|they are)[ :]+"
)
_DENIED = re.compile(r"\b(?:not|neither|nor|none|never|no|wrong|incorrect|rather than|instead of)\b|n't\b")
_FEWEST = 4
"""Characters of a text that may stand anywhere in an answer; shorter ones ("2", "no") are there too easily."""


def option_of_text(said: str, options: Sequence[str], *, anywhere: bool) -> int | None:
    """Find the one option whose text an answer says; the very text counts for more than one after "it is" or "a".

    Args:
        said: the answer.
        options: texts in order; equal ones are never told apart.
        anywhere: a text may also stand inside the answer, which must then hold no other option's and deny nothing.

    Returns:
        its number; None if no option or several are said.
    """
    texts = [_normal(text) for text in options]
    answer = _normal(said)
    forms = {answer, _ARTICLE.sub("", answer), _normal(_LEAD.sub("", answer))}
    forms |= {_ARTICLE.sub("", form) for form in forms}
    same = [number for number, text in enumerate(texts) if text and text == answer] or [
        number for number, text in enumerate(texts) if text and (text in forms or _ARTICLE.sub("", text) in forms)
    ]
    if same or not anywhere:
        return _only(same, texts)
    inside = [number for number, text in enumerate(texts) if text and _holds(answer, text)]
    widest = [number for number in inside if all(_holds(texts[number], texts[other]) for other in inside)]
    found = _only(widest, texts)
    if found is None or _may_be_cut_short(answer, texts[found], texts):
        return None
    if _opens_with(answer, texts[found]):
        return found
    is_denied = _DENIED.search(answer.replace(texts[found], " ")) is not None
    return None if is_denied or len(texts[found]) < _FEWEST else found


def _only(numbers: Sequence[int], texts: Sequence[str]) -> int | None:
    """A number if there is but one, and no other option has the same text."""
    if len(numbers) != 1 or texts.count(texts[numbers[0]]) != 1:
        return None
    return numbers[0]


def _normal(text: str) -> str:
    """A text without what makes no difference."""
    folded = unicodedata.normalize("NFKC", text).casefold().replace("\u2019", "'").replace("\u2018", "'")
    return " ".join(folded.split()).strip(_SURROUNDINGS)


def _may_be_cut_short(answer: str, text: str, texts: Sequence[str]) -> bool:
    """Whether an answer that holds a text ends with the beginning of another one, which may have been meant."""
    place = answer.find(text)
    ends = {answer[place:], *(answer[word.start() :] for word in re.finditer(r"(?<!\w)\w", answer[: place + 1]))}
    is_between_words = answer.endswith(text)
    return any(
        other != text and other.startswith(end) and not (is_between_words and other[len(end) : len(end) + 1].isalnum())
        for other in texts
        for end in ends
    )


def _opens_with(answer: str, text: str) -> bool:
    """Whether a text is said first, and a comma or a full stop follows: "Yes, he does."."""
    return answer.startswith(text) and re.match(r"\s*[,.;:!\u2014]", answer[len(text) :]) is not None


def _holds(answer: str, text: str) -> bool:
    """Whether a text stands in another between words."""
    return re.search(rf"(?<!\w){re.escape(text)}(?!\w)", answer) is not None
