"""A question about a video in, the prompt's ids out, in two parts; and the ids that answering an option would take."""

from collections.abc import Collection
from dataclasses import dataclass

from bimba.models.bimba.processing import BimbaProcessor
from bimba.text.prompts import VIDEO_TOKEN, Message


@dataclass(frozen=True)
class Prompt:
    """A question as the language model reads it.

    Attributes:
        beginning: ids up to the last placeholder of the video, which all questions about it share.
        rest: ids behind it.
    """

    beginning: list[int]
    rest: list[int]


def about_video(question: str) -> Message:
    """The turn that asks a question, worded as in training on needle videos: no times are told."""
    return Message("user", f"{VIDEO_TOKEN}\n{question}")


def write_prompt(processor: BimbaProcessor, question: str, num_video_tokens: int) -> Prompt:
    """Write the prompt of one question.

    Args:
        processor: the model's.
        question: as a user types it.
        num_video_tokens: placeholders that the video takes.
    """
    ids = _ids(processor, processor.render([about_video(question)]))
    place = ids.index(processor.video_token_id)
    return Prompt(ids[:place] + [processor.video_token_id] * num_video_tokens, ids[place + 1 :])


def option_ids(processor: BimbaProcessor, question: str, option: str, ends: Collection[int]) -> list[int]:
    """Ids that follow the prompt where the model answers with this option: its words and the end of the turn.

    Args:
        processor: the model's.
        question: that is asked.
        option: what the model would say.
        ends: ids that end an answer; the first that the chat format writes behind the option is the last of the result.
    """
    turns = [about_video(question), Message("assistant", option)]
    before = processor.render(turns[:1])
    whole = processor.render(turns, add_generation_prompt=False)
    if not whole.startswith(before):  # a template that writes a turn otherwise once it is over
        return [*_ids(processor, option), *sorted(ends)[:1]]
    ids = _ids(processor, whole[len(before) :])
    last = next((place for place, token in enumerate(ids) if token in ends), len(ids) - 1)
    return ids[: last + 1]


def _ids(processor: BimbaProcessor, text: str) -> list[int]:
    ids: list[int] = processor.tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids
