"""Questions that no needle answers, so that a model learns to say that it cannot tell.

Some are about the world, with words of daily talk; some ask about a needle that is not there.
"""

import re

import numpy as np

from bimba.needles.contents import COLOURS, GLYPHS, SHAPES, descriptions_of
from bimba.needles.questions.kinds import PLACES
from bimba.needles.questions.story import Story, one
from bimba.needles.settings import NeedleKind, Split

CANNOT_TELL = "I cannot tell"

MADE_UP = 0.3
"""Share of the words about the world that are made up."""

_WHO = "man woman boy girl teacher driver player singer cook doctor nurse farmer child baby crowd team speaker artist"
_DO = "running walking cooking eating talking singing dancing reading writing swimming driving cleaning sleeping"
_WHAT = "door table kitchen street garden river beach forest room wall floor road school office shop market stage field"
_HOW = "happy sad angry tired young old tall busy late ready afraid proud alone hungry rich famous quiet careful"

_TEMPLATES = (
    "What is the {who} doing?",
    "Who is {do} in the video?",
    "Why is the {who} {how}?",
    "Where is the {who} {do}?",
    "Is the {who} {do} near the {what}?",
    "How many people are {do}?",
    "What does the {who} say?",
    "What is the {who} wearing?",
    "Is anyone {do} in the {what}?",
    "Describe the {what}.",
    "Summarize the video.",
    "What happens after the {what}?",
    "Tell me a story about the {what}.",
    "What is the weather like?",
    "What language does the {who} speak?",
    "How does the {who} feel?",
    "What is the name of the {who}?",
    "What is two plus two?",
    "Who made this video?",
    "What will the {who} do next?",
    "Which {what} is the {who} going to?",
    "Can you hear music?",
    "What sound does the {who} make?",
    "Does the {who} look {how}?",
)
_TEST_TEMPLATES = (
    "What did the {who} bring to the {what}?",
    "Who looks {how}?",
    "Explain why the {who} left the {what}.",
    "Give a title for this video.",
    "What is behind the {what}?",
    "When did the {who} start {do}?",
    "How old is the {who}?",
)
"""Asked in the validation and test splits alone."""

_ABOUT_KINDS: dict[NeedleKind, tuple[str, ...]] = {
    "shape": ("Which shape appears in the video?", "What shape is shown?"),
    "digit": ("Which digit is shown?", "What digit appears?"),
    "letter": ("Which letter is shown?", "What letter appears?"),
    "caption": ("What does the caption say?", "Which words does the caption show?"),
    "picture": ("Which picture appears in the video?", "What picture is shown?"),
}
"""Asked where there is nothing of that kind."""


def words_of_unknown() -> str:
    """Return a text with every word that questions about the world hold."""
    text = " ".join((*_TEMPLATES, _WHO, _DO, _WHAT, _HOW))
    return re.sub(r"\{\w+\}|[?.,:]", " ", text)


def cannot_tell(answer: str) -> bool:
    """Whether an answer says that the model cannot tell."""
    return answer.strip().rstrip(".") == CANNOT_TELL


def ask_unknown(story: Story, rng: np.random.Generator, split: Split) -> str:
    """Return a question that the video does not answer.

    Args:
        story: what happens in the video.
        rng: random generator.
        split: train has other wordings than the rest.
    """
    if rng.random() < 0.6:
        template = one(_TEMPLATES if split == "train" else _TEST_TEMPLATES, rng)
        fillers = {"who": _WHO, "do": _DO, "what": _WHAT, "how": _HOW}
        return template.format(**{name: _word(texts, story, rng) for name, texts in fillers.items()})
    return _about_nothing(story, rng)


def _word(texts: str, story: Story, rng: np.random.Generator) -> str:
    """A word of a text, or letters that are no word: a model shall not take what it cannot read for what it knows.

    What is there (a picture of a door) is not asked about.
    """
    if rng.random() < MADE_UP:
        letters = rng.choice(list("aabcdeeefghiijklmnooprsttuvwyz"), size=int(rng.integers(3, 9)))
        return "".join(letters)
    return one([word for word in texts.split() if word not in story.times], rng)


def _about_nothing(story: Story, rng: np.random.Generator) -> str:
    """A question about something that is not there."""
    questions = [question for kind, asked in _ABOUT_KINDS.items() if not story.of_kind(kind) for question in asked]
    if questions and rng.random() < 0.3:
        return one(questions, rng)
    there = {(kind, name) for needle in story.needles for kind, name in needle.attributes.items()}
    absent_of = {
        kind: [name for name in names if (kind, name) not in there]
        for kind, names in {"shape": SHAPES, **GLYPHS}.items()
    }
    kind = one([kind for kind, names in absent_of.items() if names], rng)
    name = one(absent_of[kind], rng)
    if rng.random() < 0.5:
        return f"What colour is the {name if kind == 'shape' else f'{kind} {name}'}?"
    colour = one(list(COLOURS), rng)
    subject = f"{colour} {name}" if kind == "shape" else f"{kind} {name}"
    pictures = descriptions_of("picture", story.pictures) if story.pictures else []
    absent = [text for text in pictures if text not in story.times]
    if absent and rng.random() < 0.6:
        subject = one(absent, rng)
    return one(
        (
            f"What appears right after the {subject}?",
            f"What appears right before the {subject}?",
            f"In which part of the video is the {subject}: {', '.join(PLACES[:2])} or {PLACES[2]}?",
        ),
        rng,
    )
