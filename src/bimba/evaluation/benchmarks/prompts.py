"""A question in, the words of the user's turn out: as the public BIMBA code asks, or as the benchmark's own does.

The wording is frozen: `released` letter by letter by golden prompts, `official` by the version in the benchmark's file.
"""

from collections.abc import Sequence

from bimba.evaluation.benchmarks.benchmark import Benchmark
from bimba.evaluation.benchmarks.question import Question
from bimba.evaluation.extraction import LETTERS
from bimba.text.prompts import VIDEO_TOKEN, time_strings

PROMPTS = ("released", "official")
RELEASED_VERSION = 1
"""Changes with any word of the released prompt."""

_INSTRUCTION = (
    "Select the best answer to the following multiple-choice question based on the video. "
    "Respond with only the letter ({letters}) of the correct option."
)
_TIMES = "The video lasts for {duration:.2f} seconds, and {count} frames are uniformly sampled from it. "
_WHERE = "These frames are located at {times}.\n"
_SUBTITLES = "This video's subtitles are listed below:\n{subtitles}\n"
_LAST_WITHOUT_COMMA = 4
"""With so many options or fewer the public code writes "A, B or C", with more "A, B, C, D, or E"."""


def write_question(
    benchmark: Benchmark,
    question: Question,
    prompt: str,
    *,
    duration_seconds: float | None = None,
    frame_seconds: Sequence[float] = (),
    subtitles: str = "",
) -> str:
    """The user's turn, the video's placeholder first.

    Args:
        benchmark: whose own wording "official" is.
        question: with its options.
        prompt: "released" or "official".
        duration_seconds: of the video; the time sentence is left out if it is not given.
        frame_seconds: when the frames are.
        subtitles: lines that go in front of the question; none if empty.

    Raises:
        ValueError: there is no such prompt.
    """
    if prompt not in PROMPTS:
        raise ValueError(f"prompt is {prompt!r}, not one of {', '.join(PROMPTS)}")
    body = _released(question) if prompt == "released" else _official(benchmark, question)
    told = _SUBTITLES.format(subtitles=subtitles) if subtitles else ""
    return VIDEO_TOKEN + _time_sentence(duration_seconds, frame_seconds) + told + body


def prompt_version(benchmark: Benchmark, prompt: str) -> str:
    """Name and version of a wording, as results state it."""
    return f"{prompt} {RELEASED_VERSION if prompt == 'released' else benchmark.prompt.version}"


def letters_listed(count: int) -> str:
    """Letters as the released prompt lists them."""
    letters = LETTERS[:count]
    if count <= _LAST_WITHOUT_COMMA:
        return f"{', '.join(letters[:-1])} or {letters[-1]}"
    return f"{', '.join(letters[:-1])}, or {letters[-1]}"


def _released(question: Question) -> str:
    instruction = _INSTRUCTION.format(letters=letters_listed(len(question.options)))
    options = _lines(question, "{letter}. {text}")
    return f"{instruction}\n{question.question}\n{options}\nThe best answer is:"


def _official(benchmark: Benchmark, question: Question) -> str:
    letters = LETTERS[: len(question.options)]
    comma = "," if len(letters) > 2 else ""
    listed = f"{', '.join(letters[:-1])}{comma} or {letters[-1]}"
    # One replacement after the other would look for names inside a question.
    parts = {"question": question.question, "options": _lines(question, benchmark.prompt.option), "letters": listed}
    return benchmark.prompt.official.format(**parts)


def _lines(question: Question, line: str) -> str:
    numbered = zip(LETTERS, question.options, strict=False)
    return "\n".join(line.format(letter=letter, text=text) for letter, text in numbered)


def _time_sentence(duration_seconds: float | None, frame_seconds: Sequence[float]) -> str:
    """The time sentence of the public evaluation, which differs from the one in training; none without times."""
    if not duration_seconds or not frame_seconds:
        return ""
    told = _TIMES.format(duration=duration_seconds, count=len(frame_seconds))
    return told + _WHERE.format(times=time_strings(frame_seconds))
