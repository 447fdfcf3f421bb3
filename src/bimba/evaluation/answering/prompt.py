"""A question about a video in, the prompt's ids out, in two parts; and the ids that answering an option would take."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from bimba.errors import InputError
from bimba.models.kinds import VideoProcessor
from bimba.text.prompts import VIDEO_TOKEN, Message


@dataclass(frozen=True)
class Query:
    """A question, with the options to choose from if there are some.

    Attributes:
        question: in words; of models that read the question before they compress the video, what they read.
        options: texts, each a possible whole answer.
        turn: the user's whole turn, the video's placeholder included; None for the words of training on needle videos.
    """

    question: str
    options: tuple[str, ...] = ()
    turn: str | None = None


@dataclass(frozen=True)
class Prompt:
    """A question as the language model reads it.

    Attributes:
        beginning: ids up to the end of the video, which all questions about it share; without a video, all but the
            last.
        rest: ids behind it.
    """

    beginning: list[int]
    rest: list[int]


def user_turn(query: Query) -> Message:
    """The turn that asks: its own, or worded as in training on needle videos, where no times are told."""
    return Message("user", f"{VIDEO_TOKEN}\n{query.question}" if query.turn is None else query.turn)


def write_prompt(processor: VideoProcessor, query: Query, num_video_tokens: int) -> Prompt:
    """Write the prompt of one question.

    Args:
        processor: the model's.
        query: what is asked.
        num_video_tokens: of the video; 0 of a question without one, whose turn has no place for it.
    """
    _, ids = processor.write([user_turn(query)], [num_video_tokens] if num_video_tokens else [])
    end = processor.end_of_video(ids) if num_video_tokens else len(ids) - 1
    return Prompt(ids[:end], ids[end:])


def option_ids(processor: VideoProcessor, query: Query, option: str, ends: Collection[int]) -> list[int]:
    """Ids that follow the prompt where the model answers with this option: its words and the end of the turn.

    Args:
        processor: the model's.
        query: what is asked.
        option: what the model would say.
        ends: ids that end an answer; the first that the chat format writes behind the option is the last of the result.
    """
    turns = [user_turn(query), Message("assistant", option)]
    before = processor.render(turns[:1])
    whole = processor.render(turns, add_generation_prompt=False)
    if not whole.startswith(before):  # a template that writes a turn otherwise once it is over
        return [*text_ids(processor, option), *sorted(ends)[:1]]
    ids = text_ids(processor, whole[len(before) :])
    last = next((place for place, token in enumerate(ids) if token in ends), len(ids) - 1)
    return ids[: last + 1]


def letter_ids(processor: VideoProcessor, letters: Sequence[str]) -> list[int]:
    """The token of each letter, as an answer begins with it.

    Raises:
        InputError: a letter takes several tokens, or two take the same.
    """
    ids = [text_ids(processor, letter) for letter in letters]
    if any(len(each) != 1 for each in ids) or len({each[0] for each in ids}) < len(letters):
        raise InputError(
            f"the model's tokenizer has no token for each of {', '.join(letters)}, so that no likelihood of a letter "
            "can be read in one pass.",
            fix="let the model answer in words (--score generate).",
        )
    return [each[0] for each in ids]


def text_ids(processor: VideoProcessor, text: str) -> list[int]:
    """Ids of a text that stands inside of a prompt."""
    ids: list[int] = processor.tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids
