"""Questions, answers and frame times in, the text that the language model reads out. The wording is frozen.

Source: the prompts of the released models, BIMBA and Vamba; every word is compared with golden ones.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

PROMPT_VERSION = "1"
"""Changes with any word of a prompt; travels with every result."""

VIDEO_TOKEN = "<image>"  # noqa: S105 - a placeholder, not a secret
"""Where the video goes in a prompt (the public model calls it an image, too)."""

SYSTEM_PROMPT = "You are a helpful assistant."

VISION_MARKS = "<|vision_start|><|vision_end|>"
"""What stands where a video or an image goes in Vamba's prompts; nothing of it is ever put in between."""

# Whoever writes the placeholder alone in front of a question puts a space or a newline behind it, which goes, too.
_VISION_PLACEHOLDERS = ("<video>", VIDEO_TOKEN)


@dataclass(frozen=True)
class Message:
    """One turn of a conversation; a user's content may hold `VIDEO_TOKEN` where a video goes."""

    role: Literal["system", "user", "assistant"]
    content: str


def time_strings(frame_seconds: Iterable[float]) -> str:
    """Times as the time sentence lists them: `0.00s,3.57s`."""
    return ",".join(f"{seconds:.2f}s" for seconds in frame_seconds)


def time_sentence(duration_seconds: float, frame_seconds: Sequence[float]) -> str:
    """What the released model is told of the frames' times (no space before *Please*, as in training)."""
    return (
        f"The video lasts for {duration_seconds:.2f} seconds, and {len(frame_seconds)} frames are uniformly sampled "
        f"from it. These frames are located at {time_strings(frame_seconds)}."
        "Please answer the following questions related to this video."
    )


def question_about_video(question: str, sentence: str | None = None) -> str:
    """User turn that asks about a video: the placeholder first, the time sentence (if any), then the question.

    A question that says itself where the video goes (it holds the placeholder once) keeps its place.
    """
    body = question if sentence is None else f"{sentence}\n{question}"
    return body if VIDEO_TOKEN in question else VIDEO_TOKEN + body


def training_question(value: str, sentence: str | None = None) -> str:
    """First user turn of a training sample as the released data set builds it.

    The time sentence goes in front of the question, the placeholder and a newline in front of both. Where the
    placeholder was followed by a newline, that newline stays: two newlines before the question, as in training.
    """
    if sentence is None or VIDEO_TOKEN not in value:
        return value
    return f"{VIDEO_TOKEN}\n{sentence}\n{value.replace(VIDEO_TOKEN, '', 1)}"


def chatml_turn(message: Message) -> str:
    """One turn in ChatML."""
    return f"<|im_start|>{message.role}\n{message.content}<|im_end|>\n"


def with_system(messages: Sequence[Message]) -> list[Message]:
    """The conversation with the released system prompt in front, unless it brings its own."""
    if messages and messages[0].role == "system":
        return list(messages)
    return [Message("system", SYSTEM_PROMPT), *messages]


def chatml(messages: Sequence[Message], *, add_generation_prompt: bool = True) -> str:
    """A conversation in ChatML, as the released model reads it, ready for the assistant's next turn."""
    text = "".join(map(chatml_turn, with_system(messages)))
    return text + "<|im_start|>assistant\n" if add_generation_prompt else text


def with_vision_marks(text: str, *placeholders: str) -> str:
    """A text with Vamba's marks for each `<image>` and `<video>`, and for the space or newline behind it.

    Args:
        text: of a user.
        placeholders: others than these two.

    The public code takes a placeholder only with a space behind it, and `<image>` only where there is no `<video>`;
    others stay in its prompt as words. Here none does.
    """
    words = "|".join(map(re.escape, placeholders or _VISION_PLACEHOLDERS))
    return re.sub(f"(?:{words})[ \n]?", VISION_MARKS, text)


def vamba_messages(messages: Sequence[Message]) -> list[Message]:
    """The conversation as Vamba reads it: the released system prompt, and marks for the placeholders of user turns."""
    return [
        Message("user", with_vision_marks(message.content)) if message.role == "user" else message
        for message in with_system(messages)
    ]


def vamba_prompt(messages: Sequence[Message], *, add_generation_prompt: bool = True) -> str:
    """A conversation in ChatML, as Vamba reads it, ready for the assistant's next turn."""
    return chatml(vamba_messages(messages), add_generation_prompt=add_generation_prompt)
