"""The words of needle videos: every word that a question or an answer about them can hold comes out.

A model that is trained on needles alone needs no other words; a test asks thousands of questions and finds none.
"""

from bimba.needles.contents import (
    CAPTION_FIRST_WORDS,
    CAPTION_SECOND_WORDS,
    COLOURS,
    DIGITS,
    LETTERS,
    SHAPES,
)
from bimba.needles.openmoji import concepts
from bimba.needles.questions.kinds import PLACES, PLURALS
from bimba.needles.questions.unknown import CANNOT_TELL, words_of_unknown

QUESTION_WORDS = """
    a about an and any anything are as at before between caption colour color could do does else everything ever first
    following for from happen happened has have here how I in is it its kind last list letter letters long many me
    name next no not object of often on or order part picture please right say see seen set shape show shown shows
    something tell than that the them then there these thing things this time times to two video was were what when
    where which word words yes appear appears appeared after all digit copies same seconds nothing
    Which What How Does Is In List Tell Where When Show Name Was Do Did Are Please
"""
CHAT_WORDS = "system user assistant You are a helpful assistant"


def needle_words() -> list[str]:
    """Return every word of questions and answers about needle videos, in a fixed order, each once."""
    texts = [
        CHAT_WORDS,
        QUESTION_WORDS,
        CANNOT_TELL,
        words_of_unknown(),
        *DIGITS,
        *LETTERS,
        *COLOURS,
        *SHAPES,
        *PLACES,
        *PLURALS.values(),
        *PLURALS,
        *CAPTION_FIRST_WORDS,
        *CAPTION_SECOND_WORDS,
        *(concept.name for concept in concepts()),
        "At",  # at the end, so that the words before it keep their ids
    ]
    return list(dict.fromkeys(word for text in texts for word in text.split()))
