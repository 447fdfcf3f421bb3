"""Questions to a model about itself, which no video answers: what it can be asked."""

import numpy as np

from bimba.needles.questions.story import one

ABOUT_ITSELF = (
    "I can tell which shapes, digits, letters, captions and pictures appear in a video, what colour, how often, "
    "in which part and in which order"
)
"""What a model that knows needles alone says of itself."""

_QUESTIONS = (
    "What can you answer?",
    "What can you do?",
    "What can you tell me?",
    "What can I ask?",
    "What can I ask you?",
    "What do you know?",
    "What are you?",
    "Who are you?",
    "Which questions can you answer?",
    "Which questions can I ask?",
    "help",
)


def ask_about_itself(rng: np.random.Generator) -> str:
    """Return a question whose answer is `ABOUT_ITSELF`."""
    return one(_QUESTIONS, rng)
