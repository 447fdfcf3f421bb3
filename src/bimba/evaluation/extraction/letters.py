"""An answer in, the letters out that it names as its choice: those of the surest kind of phrase that it has."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_OPEN, _CLOSE = r"""[(\[{<"'\u2018\u201c\u3010]{0,4}""", r"""[)\]}>"'\u2019\u201d\u3011]{0,4}"""
_LATIN = r"A-Za-z0-9\u00c0-\u024f\u0370-\u04ff"
"""What words are made of where spaces part them; a letter behind a Chinese word stands by itself."""
_BEFORE, _BEHIND = rf"(?<![{_LATIN}'\u2019])", rf"(?![{_LATIN}]|['\u2019-][{_LATIN}])"
_LETTER = rf"{_OPEN}(?P<letter>[A-Za-z]){_CLOSE}{_BEHIND}"
_CAPITAL = rf"{_OPEN}(?P<letter>(?-i:[A-Z])){_CLOSE}{_BEHIND}"
_SURELY = r"(?: (?:the|likely|probably|most\s+likely|definitely|clearly|indeed|therefore) \s+ )*"

_WHOLE = re.compile(rf"(?:(?:option|choice|answer) )?{_LETTER}[\s.,:;!?)\u3002]*", re.IGNORECASE)
_FRONT = re.compile(rf"(?:(?:option|choice|answer)\s+)?{_LETTER}", re.IGNORECASE)
_DECLARED = re.compile(
    rf"""(?ix)
    (?: (?: \b | _ ) (?:answer|choice|option|response|selection|solution) \b ["'\u2019]?
        (?: \s+(?:to|for|of)\s+(?:the|this)\s+question )?
        \s* (?: (?:is|was|would\s+be|should\s+be|must\s+be|will\s+be|seems\s+to\s+be|appears\s+to\s+be) \b \s* [:=]?
              | [:=\uff1a] )
      | \u7b54\u6848 \s* [:=\uff1a\u662f\u4e3a] )
    \s* {_SURELY}
    (?: (?:option|choice|letter|answer)\s* [:=]? \s* )?
    {_LETTER}
    """
)
"""The answer is B; "answer": "B"."""
_CONFIRMED = re.compile(
    rf"""(?ix) {_BEFORE} {_CAPITAL}
    \s+ (?:is|was|would\s+be|must\s+be|seems|appears|looks) \s+ (?:to\s+be\s+)? {_SURELY}
    (?: (?:most\s+)? (?:correct|right|best|likely|accurate|appropriate|suitable) \s+ (?:answer|option|choice|one) \b
      | (?:answer|correct|right) (?= \s* (?: $ | [.,;!\n] | \b(?:because|since|as|and|but)\b ) ) )
    """
)
"""B is the best answer; B is correct."""
_CHOSEN = re.compile(
    rf"""(?ix)
    (?: \b(?: choose | chose | choosing | select | selected | pick | picked | go\s+with | going\s+with | opt\s+for
            | went\s+with ) \s+
      | [\u9078\u9009][\u64c7\u62e9]? \s* )
    (?: (?:the\s+)? (?:option|choice|answer|letter) \s* [:=]? \s* )?
    {_LETTER}
    """
)
_NAMED = re.compile(rf"\b(?:option|choice|letter)\s*[:=]?\s*{_LETTER}", re.IGNORECASE)
_BELIEVED = re.compile(
    rf"""(?ix)
    \b (?: i (?: ['\u2019]d | \s+would )? \s+ (?:think|say|believe|guess|suppose) (?: \s+ that )?
         | (?:it|this|that|guess) (?: ['\u2019]s | \s+ (?:is|would\s+be|must\s+be|should\s+be) ) )
    \s+ {_SURELY} {_CAPITAL} (?= \s* (?: $ | [.,;!\n] | (?:because|since|as)\b ) )
    """
)
"""I think B; it is B."""
_LINE_OF_ITS_OWN = re.compile(rf"(?m)^{_LETTER}[.:)]?$")
_IN_BRACKETS = re.compile(r"[(\[{<](?P<letter>[A-Za-z])[)\]}>]")
_AT_THE_END = re.compile(
    rf"(?m)(?:^[^\w\s]?|(?P<mark>[^\w\s])\s+|[^\w\s\x00-\x7f]){_OPEN}(?P<letter>[A-Z]){_CLOSE}{_BEHIND}"
    r"(?=[.!?:)\u3002]*$|[.!?:)]+\s)"
)
"""Behind a line break or a punctuation mark, where a sentence ends with it: "Based on the video: B"."""
_ABBREVIATED = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|St|Prof|Jr|Sr|vs|No|[A-Z])\.\s*$")

_JOINING = (
    r"\b(?:or|and|to|through|then|maybe|perhaps|possibly|probably|also|even|either|option|choice|answer|letter)\b"
)
_NEXT = re.compile(rf"(?P<between>[\W_]*?(?:{_JOINING}[\W_]*?)*)(?!e\.g|i\.e|[ap]\.m){_LETTER}", re.IGNORECASE)
_OPTION_OF_A_SENTENCE = re.compile(r"[.!?\n][\W_]*(?:option|choice|answer|letter)\b", re.IGNORECASE)
_JOINED = re.compile(r"\b(?:or|and)\b|[/&|+]", re.IGNORECASE)
_PREVIOUS = re.compile(
    rf"{_BEFORE}(?P<letter>[A-Za-z]){_CLOSE}\s*(?:[,/&|+]|\b(?:or|and|nor)\b)\s*(?:(?:option|choice)\s+)?{_OPEN}$",
    re.IGNORECASE,
)
_OPTION_FORM = re.compile(
    rf"(?m)^{_OPEN}(?P<line>[A-Za-z]){_CLOSE}{_BEHIND}(?:[.):]?$|[.):](?=\s)|\s+[-\u2013\u2014]\s)"
    r"|(?<![^\s(])(?P<inside>[A-Z])(?::|\.(?=\s+\S))|(?<!\S)(?P<half>[A-Za-z])\)|[(\[{<](?P<brackets>[A-Za-z])[)\]}>]"
)
"""As options are listed: "(A) text", "A) text", "A. text" or "A: text"."""

_AS_A_WORD = re.compile(
    rf"(?<![{_LATIN}'\u2019.])(?P<letter>[B-HJ-Zb-hj-z]|(?<=[a-z] )A|A(?=\s*(?:$|[^\w\s'\u2019-]))"
    rf"|A(?=\s(?:is|was|and|or)\b)|(?<=\()a(?=\))){_BEHIND}(?!\.[A-Za-z])"
)
"""The article "a" is none, nor what begins an abbreviation: "e.g."."""
_LABEL = re.compile(rf"{_BEFORE}{_OPEN}(?P<letter>[A-Ja-j])[.):\]]+")
_OF_A_WORD = re.compile(r"[^\W_]")
_STOPS = re.compile(
    r"\s*(?:$|[.,:;!?)\]}>=(|]|[^\w\s\x00-\x7f\u2018\u2019\u201c\u201d\u20ac\u00a3\u00a5]|-(?=\s|$))|\n"
)
_VERB = re.compile(
    r"\s+(?:is|was|because|since|as|due|would|seems|appears|looks|best|matches|fits|describes|for|given|based|therefore"
    r"|correct)\b",
    re.IGNORECASE,
)
_REASON = re.compile(r"\s+(?:because|since|as|due|given|based)\b", re.IGNORECASE)
_EXPLICIT = re.compile(rf"\b(?:option|choice)\s+{_OPEN}$", re.IGNORECASE)
_FARTHEST = 200
"""Characters before a letter that are looked at."""
_WORDS = frozenset("AI")
"""Capital letters that are also words."""

_DENIED = re.compile(
    r"\b(?:not|never|neither|nor|none|wrong|incorrect|false|except|cannot|rather than|instead of|unlikely|rule[sd]? out"
    r"|eliminate[sd]?|exclude[sd]?)\b|n['\u2019]t\b",
    re.IGNORECASE,
)
_CLAUSE = re.compile(
    r"[.,;!?\n]|\b(?:but|so|because|since|and|hence|therefore|thus|while|though|although)\b", re.IGNORECASE
)
_NOT_THIS = re.compile(
    rf"(?:\b(?:not|nor|neither|than|instead of|unlike)|n['\u2019]t)\s+(?:option\s+|choice\s+)?{_OPEN}$", re.IGNORECASE
)
_DENIED_BEHIND = re.compile(
    r"""(?ix)
    (?: \s* (?: [,/&] | \b(?:and|or)\b ){1,2} \s* (?:option\s+|choice\s+)? [(\[]? [A-J] [)\]]? (?!\w) ){0,9}
    \s+
    (?: \w+n['\u2019]t\b | cannot\b
      | (?:is|was|are|were|would|can|could|may|might|should|must|will|does|did|has|have|seems|appears|looks|sounds) \s+
        (?: (?! (?:and|or|but|because|since|as|for|given|while|so|over|rather|instead|not)\b ) [\w'\u2019-]+ \s+ ){0,4}?
        (?: not | never | wrong | incorrect | false | unlikely | impossible | neither | nor | none | ruled\s+out
          | out\s+of\s+the\s+question | eliminated | excluded | \w+n['\u2019]t ) \b )
    """
)
"""A letter is said to be wrong: "B would be wrong", "A and C are incorrect"."""
_DENIED_IN_FRONT = re.compile(
    r"\s+(?:not(?!\s+(?:option |choice )?[(\[]?[A-J]\b)|never|wrong|incorrect|false|unlikely|excluded|eliminated"
    r"|ruled out)\b",
    re.IGNORECASE,
)
"""The same without a verb: "B not turning"; "B not A" is B."""


@dataclass(frozen=True)
class _Answer:
    """What was said to a question, and what is known of its options."""

    said: str
    options: Sequence[str]
    words: frozenset[str]
    """Letters that the options use as words, as where a person is called C; with a word behind they are no letters."""

    def has(self, letter: str) -> bool:
        """Whether there is an option with this letter."""
        return ord(letter) - ord("A") < len(self.options)

    def before(self, place: int) -> str:
        """What was said before a place, as far as it may matter."""
        return self.said[max(0, place - _FARTHEST) : place]

    def place_behind_text(self, letter: str, place: int) -> int:
        """Where the text of a letter's option ends if it follows a place, be it cut short; else that place."""
        option = self.options[ord(letter) - ord("A")] if self.has(letter) else ""
        first, begin = _OF_A_WORD.search(option), _OF_A_WORD.search(self.said, place)
        if first is None or begin is None:
            return place
        text = option[first.start() :].rstrip(" .,;:!?").lower()
        end = min(begin.start() + len(text), len(self.said))
        said = self.said[begin.start() : end].lower()
        is_whole = said == text and not self.said[end : end + 1].isalnum()
        is_cut_short = end == len(self.said) and len(said) > 1 and text.startswith(said)
        return end if is_whole or is_cut_short else place


def named_letters(said: str, options: Sequence[str]) -> set[str]:
    """Capital letters that an answer names, several if it is undecided, none if it names none.

    Args:
        said: without typesetting.
        options: of the question, also without; an answer that repeats several ones behind their letters is undecided.
    """
    whole = _WHOLE.fullmatch(said)
    if whole is not None:
        return {whole["letter"].upper()}
    answer = _Answer(said, options, _letters_as_words(options))
    alone = _with_its_text(answer)
    if alone:
        return alone
    front, declared = _front(answer) | _listed(answer), _all(answer, _DECLARED) | _all(answer, _CONFIRMED)
    if front or declared:
        return declared if declared and len(front) > 1 else front | declared
    for phrase in (_CHOSEN, _NAMED, _BELIEVED):
        found = _all(answer, phrase)
        if found:
            return found
    if _DENIED.search(said) is not None:
        return set()
    return {match["letter"].upper() for match in _LINE_OF_ITS_OWN.finditer(said)} or _loose(answer)


def _with_its_text(answer: _Answer) -> set[str]:
    """The letter of an answer that is a letter and the text of its option, whatever that text holds."""
    match = _FRONT.match(answer.said)
    if match is None:
        return set()
    letter = match["letter"].upper()
    if letter in _WORDS | answer.words and not _STOPS.match(answer.said, match.end("letter")):
        return set()
    end = answer.place_behind_text(letter, match.end())
    is_all = end > match.end() and re.search(r"\w", answer.said[end:]) is None
    return {letter} if is_all else set()


def _front(answer: _Answer) -> set[str]:
    """Letters that an answer begins with, and those in front of other options behind."""
    match = _FRONT.match(answer.said)
    if match is None or not _is_letter(answer, match):
        return set()
    if _DENIED_BEHIND.match(answer.said, match.end()) or _DENIED_IN_FRONT.match(answer.said, match.end()):
        return set()
    letter = match["letter"].upper()
    place = answer.place_behind_text(letter, match.end())
    return {letter} | _others(answer, place)[0] | set(_in_front_of_options(answer, place))


def _all(answer: _Answer, phrase: re.Pattern[str]) -> set[str]:
    """Letters in a phrase, wherever it stands, and those named along with them; none if one is said to be wrong."""
    found: set[str] = set()
    place = 0
    for match in phrase.finditer(answer.said):
        if match.start() < place or not (phrase is _CONFIRMED or _is_letter(answer, match)):
            continue
        if _DENIED_BEHIND.match(answer.said, match.end()):
            return set()
        letters, place = _along(answer, match)
        if _DENIED.search(_CLAUSE.split(answer.before(match.start()))[-1]) is None:
            found |= letters
    return found


def _along(answer: _Answer, match: re.Match[str]) -> tuple[set[str], int]:
    """A letter and those named along with it, "A or B"; and where the last of them ends."""
    letter = match["letter"].upper()
    others, place = _others(answer, answer.place_behind_text(letter, match.end()))
    previous = _PREVIOUS.search(answer.before(match.start("letter")))
    if previous is not None and answer.has(previous["letter"].upper()):
        others |= {previous["letter"].upper()} - answer.words
    return {letter} | others, place


def _others(answer: _Answer, place: int) -> tuple[set[str], int]:
    """Letters that follow at a place with nothing else between, "or B", ". B."; and where the last of them ends."""
    found: set[str] = set()
    unsure: set[str] = set()
    end = place
    while match := _NEXT.match(answer.said, end):
        letter = match["letter"].upper()
        is_foreign = not answer.has(letter) and (letter in _WORDS or match["letter"].islower())
        if is_foreign or _DENIED_BEHIND.match(answer.said, match.end()):
            break
        unsure.add(letter)
        end = answer.place_behind_text(letter, match.end())
        if _stands_along(answer, match):
            found |= unsure
            place = end
    return found, place


def _stands_along(answer: _Answer, match: re.Match[str]) -> bool:
    """Whether a letter that follows another is one, even if nothing more follows it."""
    letter, between, end = match["letter"], match["between"], match.end()
    stops = _STOPS.match(answer.said, end) is not None
    if stops or _OPTION_OF_A_SENTENCE.search(between):
        return stops
    is_word = letter.upper() in answer.words
    if end != match.end("letter") or ((is_word or letter in _WORDS) and _JOINED.search(between)):
        return True
    verb = _REASON if is_word else _VERB
    return letter.upper() != "I" and verb.match(answer.said, end) is not None


def _in_front_of_options(answer: _Answer, place: int) -> Iterator[str]:
    """Letters behind a place that stand as in front of an option, unless they are said to be wrong."""
    for match in _OPTION_FORM.finditer(answer.said, place):
        [letter] = [found.upper() for found in match.groups() if found]
        is_word = letter in answer.words and match["line"] is None
        is_denied = _DENIED_BEHIND.match(answer.said, match.end()) or _NOT_THIS.search(answer.before(match.start()))
        if answer.has(letter) and not is_word and not is_denied:
            yield letter


def _listed(answer: _Answer) -> set[str]:
    """Letters of an answer that repeats the question, with the texts of several options behind them; else none."""
    labels = _LABEL.finditer(answer.said)
    found = {
        label["letter"].upper()
        for label in labels
        if answer.place_behind_text(label["letter"].upper(), label.end()) > label.end()
    }
    return found if len(found) > 1 else set()


def _loose(answer: _Answer) -> set[str]:
    """Letters in brackets, and those that a sentence ends with behind a punctuation mark."""
    found = {match["letter"].upper() for match in _IN_BRACKETS.finditer(answer.said)} - answer.words
    place = 0
    for match in _AT_THE_END.finditer(answer.said):
        is_word = match["letter"] in answer.words and match["mark"] == ","
        if match.start() < place or is_word or _ABBREVIATED.search(answer.before(match.start("letter"))):
            continue
        letters, place = _along(answer, match)
        found |= letters
    return found


def _is_letter(answer: _Answer, match: re.Match[str]) -> bool:
    """Whether a letter is one, and not the word "a" or "I", a word of the options, or what begins something else."""
    letter, end = match["letter"], match.end()
    is_word = letter.upper() in answer.words
    is_of_a_word = is_word and match.re is _NAMED and match[0][:6].lower() == "letter"
    is_cut_short = match.re is _CHOSEN and letter == "a" and match.end("letter") == len(answer.said)
    if is_of_a_word or is_cut_short:
        return False
    if end != match.end("letter") or _STOPS.match(answer.said, end):
        return True
    if is_word:
        is_explicit = _EXPLICIT.search(answer.before(match.start("letter"))) is not None
        return is_explicit or (match.re is not _FRONT and _REASON.match(answer.said, end) is not None)
    if _others(answer, end)[0]:
        return True
    if _VERB.match(answer.said, end):
        return letter.upper() != "I"
    return letter.isupper() and letter not in _WORDS


def _letters_as_words(options: Sequence[str]) -> frozenset[str]:
    """Letters, as capitals, that the options use as words of their own; the article "a" and "I" are none."""
    return frozenset(match["letter"].upper() for option in options for match in _AS_A_WORD.finditer(option))
