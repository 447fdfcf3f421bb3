"""What a model said and what is right in, whether it is right out: exact match of normalised words."""

import re
import unicodedata

_ARTICLE = re.compile(r"(?:a|an|the) +")
_QUOTES = "\"'`\u2018\u2019\u201c\u201d\u00ab\u00bb"


def normalise(answer: str) -> str:
    """Return an answer without what makes no difference: case, white space, quotes, one full stop, one article.

    Quotes go where they enclose the answer; an apostrophe inside stays. Nothing else is taken off: "it is red" is not
    "red".
    """
    text = " ".join(unicodedata.normalize("NFKC", answer).lower().split())
    text = _without_quotes(text)
    text = _without_quotes(text.removesuffix(".").rstrip())
    article = _ARTICLE.match(text)
    return text if article is None else _without_quotes(text[article.end() :])


def is_right(said: str, answer: str) -> bool:
    """Whether what was said is the answer, both normalised."""
    return normalise(said) == normalise(answer)


def _without_quotes(text: str) -> str:
    """A text without the quotes around it, if there are some on both sides."""
    inner = text.strip(_QUOTES)
    is_quoted = text[:1] in _QUOTES and text[-1:] in _QUOTES and bool(inner)
    return inner.strip() if is_quoted else text
