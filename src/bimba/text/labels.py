"""Token ids of a conversation in, the labels that training learns out.

Shapes: L tokens of the conversation.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from bimba.text.prompts import VIDEO_TOKEN, Message, chatml_turn, vamba_messages, with_system

IGNORE = -100
"""Label of a token that is not learned."""

NEWLINE_ID = 198
"""Id of a newline on its own in Qwen2's vocabulary; the released training code names it by number."""

Tokenize = Callable[[str], list[int]]


class Render(Protocol):
    """Writes a conversation as text."""

    def __call__(self, messages: Sequence[Message], *, add_generation_prompt: bool) -> str:
        """The conversation, and the words before an answer if asked."""


def training_ids_and_labels(
    messages: Sequence[Message], tokenize: Tokenize, video_token_id: int
) -> tuple[list[int], list[int]]:
    """Ids and labels of a conversation as the released training has them.

    Assistant turns are learned whole, their header `<|im_start|>assistant` included; of the other turns the ChatML
    marks and newlines of their own are learned, too. Placeholders of videos are not.

    Args:
        messages: the conversation; the released system prompt is put in front if it brings none.
        tokenize: text -> ids, special tokens in the text as their ids, nothing added.
        video_token_id: id of the placeholder.

    Returns:
        ids [L] and labels [L].
    """
    marks = {NEWLINE_ID, *tokenize("<|im_start|>"), *tokenize("<|im_end|>")}
    ids: list[int] = []
    labels: list[int] = []
    for message in with_system(messages):
        turn = tokenize(chatml_turn(message))
        learned = message.role == "assistant"
        ids += turn
        labels += [token if (learned or token in marks) and token != video_token_id else IGNORE for token in turn]
    return ids, labels


def vamba_ids_and_labels(
    messages: Sequence[Message], tokenize: Tokenize, *, learn_headers: bool = True
) -> tuple[list[int], list[int]]:
    """Ids and labels of a conversation as the released training of Vamba has them.

    Learned is what the assistant says, from the newline in front of its header to the end of its turn, and nothing
    else. No newline follows the last turn. Headers are tokenised apart from answers, so that the ids in front of an
    answer are those that a question ends with.

    Args:
        messages: the conversation; the released system prompt is put in front if it brings none. Placeholders of
            videos and images become marks (`with_vision_marks`).
        tokenize: text -> ids, special tokens in the text as their ids, nothing added.
        learn_headers: as released; otherwise what the assistant says and the end of its turn alone.

    Returns:
        ids [L] and labels [L].
    """
    ids: list[int] = []
    labels: list[int] = []
    for message in vamba_messages(messages):
        lead = "\n" if ids else ""
        if message.role == "assistant":
            header, answer = tokenize(f"{lead}<|im_start|>assistant\n"), tokenize(f"{message.content}<|im_end|>")
            turn = header + answer
            labels += turn if learn_headers else [IGNORE] * len(header) + answer
        else:
            turn = tokenize(lead + chatml_turn(message).removesuffix("\n"))
            labels += [IGNORE] * len(turn)
        ids += turn
    return ids, labels


def template_ids_and_labels(
    messages: Sequence[Message], render: Render, tokenize: Tokenize, video_token_id: int
) -> tuple[list[int], list[int]]:
    """Ids and labels of a conversation in a language model's own chat template.

    What the assistant says is learned, from the end of the generation prompt to the end of the turn; the rest is not.
    The template must write a conversation as a beginning of every longer one, as nearly all do.

    Args:
        messages: the conversation.
        render: conversation -> text, with the generation prompt behind it if asked (`BimbaProcessor.render`).
        tokenize: text -> ids, special tokens in the text as their ids, nothing added.
        video_token_id: id of the placeholder.

    Returns:
        ids [L] and labels [L].

    Raises:
        ValueError: the template writes the beginning of a conversation otherwise once it goes on.
    """
    ids: list[int] = []
    labels: list[int] = []
    written = ""

    def write(text: str, *, learned: bool) -> None:
        nonlocal written
        if not text.startswith(written):
            raise ValueError(f"the chat template does not go on from {written[-40:]!r}; its answers cannot be told.")
        turn = tokenize(text[len(written) :])
        ids.extend(turn)
        labels.extend(token if learned and token != video_token_id else IGNORE for token in turn)
        written = text

    for index, message in enumerate(messages):
        if message.role == "assistant":
            write(render(messages[:index], add_generation_prompt=True), learned=False)
            write(render(messages[: index + 1], add_generation_prompt=False), learned=True)
    write(render(messages, add_generation_prompt=False), learned=False)
    return ids, labels


def expand_placeholders(
    ids: Sequence[int], labels: Sequence[int], video_token_id: int, num_tokens: Sequence[int]
) -> tuple[list[int], list[int]]:
    """One placeholder for each token of each video; none of them is learned.

    Args:
        ids: [L] with one placeholder for each video.
        labels: [L].
        video_token_id: id of the placeholder.
        num_tokens: tokens of each video, in order.

    Raises:
        ValueError: there are not as many placeholders as videos.
    """
    held = sum(token == video_token_id for token in ids)
    if held != len(num_tokens):
        raise ValueError(f"the conversation holds {held} {VIDEO_TOKEN} for {len(num_tokens)} videos, not one for each.")
    counts = iter(num_tokens)
    long_ids: list[int] = []
    long_labels: list[int] = []
    for token, label in zip(ids, labels, strict=True):
        repeat = next(counts) if token == video_token_id else 1
        long_ids += [token] * repeat
        long_labels += [IGNORE if token == video_token_id else label] * repeat
    return long_ids, long_labels
