"""Questions about one video: its needles go in, questions with their answers and options come out.

Every answer follows from the list of needles alone. Needles that share a description are never asked for as if there
were one, so no question has two right answers. `story` is what happens in a video, `kinds` asks each kind of question,
`unknown` asks what no needle answers, `itself` what the model
can be asked, `asking` picks and finishes.
"""

from bimba.needles.questions.asking import ask_questions
from bimba.needles.questions.itself import ABOUT_ITSELF, ask_about_itself
from bimba.needles.questions.kinds import PLACES, QUESTION_KINDS
from bimba.needles.questions.story import Story
from bimba.needles.questions.unknown import CANNOT_TELL, ask_unknown, cannot_tell

__all__ = [
    "ABOUT_ITSELF",
    "CANNOT_TELL",
    "PLACES",
    "QUESTION_KINDS",
    "Story",
    "ask_about_itself",
    "ask_questions",
    "ask_unknown",
    "cannot_tell",
]
