"""An answer in, the letters out that it names as its choice: those of the surest kind of phrase that it has."""

import re
from collections.abc import Sequence

_OPEN, _CLOSE = r"""[(\[{<"'\u2018\u201c\u3010]*""", r"""[)\]}>"'\u2019\u201d\u3011]*"""
_LATIN = r"A-Za-z0-9\u00c0-\u024f\u0370-\u04ff"
"""What words are made of where spaces part them; a letter behind a Chinese word stands by itself."""
_BEFORE, _BEHIND = rf"(?<![{_LATIN}'\u2019])", rf"(?![{_LATIN}]|['\u2019-][{_LATIN}])"
_LETTER = rf"{_OPEN}(?P<letter>[A-Za-z]){_CLOSE}{_BEHIND}"

_WHOLE = re.compile(rf"(?:(?:option|choice|answer) )?{_LETTER}[\s.,:;!)]*", re.IGNORECASE)
_FRONT = re.compile(_LETTER)
_DECLARED = re.compile(
    r"""(?ix)
    (?: \b(?:answer|choice|option|response|selection|solution)\b | \u7b54\u6848 )
    (?: \s+(?:to|for|of)\s+(?:the|this)\s+question )?
    \s* (?: (?:is|was|would\s+be|should\s+be|must\s+be|will\s+be|seems\s+to\s+be|appears\s+to\s+be) \b \s* [:=]?
          | [:=\uff1a] | \u662f | \u4e3a )
    \s* (?: (?:the|likely|probably|most\s+likely|definitely|clearly|indeed|therefore)\s+ )*
    (?: (?:option|choice|letter|answer)\s* [:=]? \s* )?
    """
    + _LETTER
)
_CHOSEN = re.compile(
    r"""(?ix)
    \b(?: choose | chose | choosing | select | selected | pick | picked | go\s+with | going\s+with | opt\s+for
        | went\s+with )
    \s+ (?: (?:the\s+)? (?:option|choice|answer|letter) \s* [:=]? \s* )?
    """
    + _LETTER
)
_NAMED = re.compile(rf"\b(?:option|choice|letter)\s*[:=]?\s*{_LETTER}", re.IGNORECASE)
_IN_BRACKETS = re.compile(r"[(\[{<](?P<letter>[A-Za-z])[)\]}>]")
_BY_ITSELF = re.compile(rf"{_BEFORE}(?P<letter>[A-Z]){_BEHIND}")
_LINE_OF_ITS_OWN = re.compile(rf"(?m)^{_OPEN}(?P<letter>[A-Za-z]){_CLOSE}[.:)]?$")

_ANOTHER = re.compile(
    rf"\s*(?:,|/|&|\||\bor\b|\band\b|\bto\b|\bthrough\b)\s*(?:\bor\b|\band\b)?\s*(?:option |choice )?"
    rf"{_OPEN}(?P<letter>[A-Za-z]){_CLOSE}{_BEHIND}",
    re.IGNORECASE,
)
_STOPS = re.compile(r"\s*(?:$|[.,:;!?)\]\n\u2014\u2013]|-(?=\s|$)|=|\()")
_VERB = re.compile(
    r"\s+(?:is|was|because|since|as|due|would|seems|appears|looks|best|matches|fits|describes|for|given|based|therefore"
    r"|correct)\b",
    re.IGNORECASE,
)
_DENIED = re.compile(
    r"\b(?:not|never|neither|nor|none|wrong|incorrect|false|except|cannot|rather than|instead of|unlikely|rule[sd]? out"
    r"|eliminate[sd]?|exclude[sd]?)\b|n['\u2019]t\b",
    re.IGNORECASE,
)
_WORDS = frozenset("AI")
"""Capital letters that are also words."""


def named_letters(said: str, options: Sequence[str]) -> set[str]:
    """Capital letters that an answer names, several if it is undecided, none if it names none.

    Args:
        said: without typesetting.
        options: of the question; a letter behind a text of several ones, as in a listing of them all, is none.
    """
    whole = _WHOLE.fullmatch(said)
    if whole is not None:
        return {whole["letter"].upper()}
    is_listing = _is_listing(said, options)
    front = set() if is_listing else _front(said)
    if front:
        return front
    declared = _all(_DECLARED, said)
    if declared:
        return declared
    if _DENIED.search(said) is not None or is_listing:
        return set()
    for phrase in (_CHOSEN, _NAMED):
        found = _all(phrase, said)
        if found:
            return found
    for phrase in (_LINE_OF_ITS_OWN, _IN_BRACKETS):
        found = {match["letter"].upper() for match in phrase.finditer(said)}
        if found:
            return found
    return {match["letter"] for match in _BY_ITSELF.finditer(said) if _is_letter(said, match)}


def _front(said: str) -> set[str]:
    """Letters that an answer begins with."""
    match = _FRONT.match(said)
    if match is None or not _is_letter(said, match):
        return set()
    if _DENIED.match(said[match.end() :].lstrip(" .,:;-").removeprefix("is ")) is not None:
        return set()
    return {match["letter"].upper()} | _others(said, match.end())


def _all(phrase: re.Pattern[str], said: str) -> set[str]:
    """Letters behind a phrase, wherever it stands; and those that follow a letter with "or"."""
    found: set[str] = set()
    for match in phrase.finditer(said):
        if _is_letter(said, match):
            found |= {match["letter"].upper()} | _others(said, match.end())
    return found


def _others(said: str, place: int) -> set[str]:
    """Letters that are named along with the one before this place: "A or B", "A, B and C"."""
    found: set[str] = set()
    while match := _ANOTHER.match(said, place):
        if not _is_letter(said, match):
            break
        found.add(match["letter"].upper())
        place = match.end()
    return found


def _is_letter(said: str, match: re.Match[str]) -> bool:
    """Whether a letter is one, and not the word "a" or "I", or the beginning of something else."""
    letter, is_alone = match["letter"], match.end() == match.end("letter")
    if not is_alone or _STOPS.match(said, match.end()) or _ANOTHER.match(said, match.end()):
        return True
    if _VERB.match(said, match.end()):
        return letter.upper() != "I"
    return letter.isupper() and letter not in _WORDS


def _is_listing(said: str, options: Sequence[str]) -> bool:
    """Whether an answer repeats the question: it holds the text of several options behind their letters."""
    lowered = said.lower()
    return sum(f"{letter}. {text.lower()}" in lowered for letter, text in zip("abcdefghij", options, strict=False)) > 1
