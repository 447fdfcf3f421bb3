"""Settings of needle videos in; the videos on disk, and their questions as training entries, out."""

import difflib
import inspect
import json
from collections.abc import Callable

from bimba.errors import InputError
from bimba.needles import Progress, Question, make_needles, read_needles
from bimba.needles.questions.asking import LETTERS
from bimba.text.prompts import VIDEO_TOKEN
from bimba.training.recipe.data_settings import Needles

# `overwrite` would make the videos anew each time that a run goes on.
_NOT_OFFERED = ("out", "overwrite", "on_progress")
_OPTIONS = tuple(name for name in inspect.signature(make_needles).parameters if name not in _NOT_OFFERED)

_LETTER_QUESTION = (
    "Select the best answer to the following multiple-choice question based on the video. Respond with only the "
    "letter ({letters}) of the correct option.\n{question}\n{options}\nThe best answer is:"
)
"""The released evaluation's wording, which is about four options."""


def make_needle_videos(needles: Needles, on_progress: Callable[[int, int], None] | None = None) -> None:
    """Make the videos that are not there yet; in a run of several processes this is for one of them.

    Args:
        needles: where they go and what they are like.
        on_progress: called with the frames that are done and the frames there are.

    Raises:
        InputError: an option is unknown or out of range, or the folder holds another run.
        VideoError: a picture cannot be opened, or a file could not be written to its end.
    """
    _check(needles)

    def show(progress: Progress) -> None:
        if on_progress is not None:
            done = progress.video * progress.num_frames + progress.frame
            on_progress(done, progress.num_videos * progress.num_frames)

    make_needles(needles.folder, **needles.options, on_progress=show)


def needle_entries(needles: Needles) -> list[str]:
    """JSON texts of the entries that a folder of needle videos makes, a question each.

    Raises:
        InputError: the folder holds no finished run.
    """
    manifest = read_needles(needles.folder)
    return [
        json.dumps({"id": question.id, "video": video.file, "conversations": _conversation(question, needles.ask)})
        for video in manifest.videos
        for question in video.questions
    ]


def _conversation(question: Question, ask: str) -> list[dict[str, str]]:
    if ask == "open":
        asked, answer = question.question, question.answer
    else:
        letters = LETTERS[: len(question.options)]
        options = "\n".join(f"{letter}. {option}" for letter, option in zip(letters, question.options, strict=True))
        named = f"{', '.join(letters[:-1])} or {letters[-1]}"
        asked = _LETTER_QUESTION.format(letters=named, question=question.question, options=options)
        answer = question.answer_letter
    return [{"from": "human", "value": f"{VIDEO_TOKEN}\n{asked}"}, {"from": "gpt", "value": answer}]


def _check(needles: Needles) -> None:
    """Check what `make_needles` takes for granted: the names, and what is a text and what a list.

    Raises:
        InputError: an option is unknown, or of a kind that it cannot be.
    """
    for name in needles.options:
        if name not in _OPTIONS:
            near = difflib.get_close_matches(name, _OPTIONS, n=1, cutoff=0.5)
            raise InputError(
                f"needle videos have no option {name!r}.",
                fix=f"use {near[0]!r}." if near else f"use one of {', '.join(_OPTIONS)}.",
            )
    size = needles.options.get("size", "448x336")
    if not isinstance(size, str) and not (isinstance(size, list | tuple) and len(size) == 2):
        raise InputError(f"the needle videos' size is {size!r}.", fix='write it like "448x336".')
    kinds = needles.options.get("kinds")
    names = kinds if isinstance(kinds, list | tuple) else [kinds or ""]
    if not all(isinstance(name, str) for name in names):
        raise InputError(f"the needle videos' kinds are {kinds!r}.", fix='write them like "shape,digit".')
