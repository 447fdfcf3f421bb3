"""A conversation in, its token ids and which of them are learned out.

Shapes: L tokens, one of them for each video.
"""

from collections.abc import Sequence
from typing import Literal

from bimba.errors import InputError
from bimba.models.kinds import VideoProcessor
from bimba.models.vamba.processing import VambaProcessor
from bimba.text.labels import IGNORE
from bimba.text.prompts import Message, chatml_turn, with_system

Labels = Literal["released", "assistant_only"]

_HEADER = "<|im_start|>assistant\n"


def ids_and_labels(
    processor: VideoProcessor, messages: Sequence[Message], labels: Labels
) -> tuple[list[int], list[int]]:
    """Ids and labels of a conversation; the ids are the same whatever is learned.

    Args:
        processor: the model's.
        messages: the conversation.
        labels: "released", see `text.labels`; or "assistant_only": what the assistant says and the end of its turn,
            but no header, no marks of others' turns, and not the newline between turns.

    Returns:
        ids [L] and labels [L].

    Raises:
        InputError: the tokenizer cannot tell which letters its tokens stand for, and "assistant_only" asks for it.
    """
    if isinstance(processor, VambaProcessor):
        return processor.training_ids_and_labels(messages, learn_headers=labels == "released")
    if labels == "released" or processor.prompt_style == "template":  # a template's labels know no headers anyway
        return processor.training_ids_and_labels(messages)
    if not processor.tokenizer.is_fast:
        raise InputError(
            "the tokenizer does not tell which letters a token stands for, so that answers cannot be told apart.",
            fix="set data.labels to released, or take a tokenizer with a tokenizer.json.",
        )
    ids: list[int] = []
    learned: list[int] = []
    for message in with_system(messages):
        # Turn by turn, as the released labels are made, so that no token reaches over a turn's end.
        turn = chatml_turn(message)
        encoded = processor.tokenizer(turn, add_special_tokens=False, return_offsets_mapping=True)
        ids += encoded["input_ids"]
        # A token that holds the header's newline and more is not learned: the header is given when it answers.
        first, last = (len(_HEADER), len(turn) - 1) if message.role == "assistant" else (len(turn), 0)
        learned += [
            token if first <= start < last and token != processor.video_token_id else IGNORE
            for token, (start, _) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
        ]
    return ids, learned
