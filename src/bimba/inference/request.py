"""A video, a conversation and how to look at it in; the chosen frames and the prompt's ids out. Nothing is decoded yet.

Shapes: L tokens of the prompt.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast

from bimba.errors import InputError
from bimba.inference.budget import AUTO, Fit, Room, Wanted, fit_budget
from bimba.inference.budget_of_frames import fit_frames
from bimba.inference.clip import Clip, ClipFile
from bimba.inference.opening import Opened
from bimba.models.kinds import VideoConfig, VideoProcessor
from bimba.models.vamba.configuration import VambaConfig
from bimba.models.vamba.processing import VambaProcessor
from bimba.text.prompts import VIDEO_TOKEN, Message, question_about_video, time_sentence
from bimba.video.sampling import SamplingOrRate, wanted_rate

Conversation = str | Sequence[Message | Mapping[str, str]]
"""A question, or several turns that end with one: `[{"role": "user", "content": ...}, ...]`."""


@dataclass(frozen=True)
class Request:
    """What will be asked of the model.

    Args:
        clip: the chosen frames, None without a video.
        prompt: the text with one mark for the video.
        input_ids: its ids [L]; of BIMBA's with a placeholder for each video token.
        num_video_tokens: of the video, in the prompt (BIMBA) or beside it (Vamba).
        question_ids: the words of the turn with the video alone [C].
    """

    clip: Clip | None
    prompt: str
    input_ids: list[int]
    num_video_tokens: int
    question_ids: list[int]


@dataclass(frozen=True)
class RequestBuilder:
    """Everything a prompt depends on, so that it can be built again with fewer frames.

    Args:
        processor: the model's.
        video: the opened video, None to ask without one.
        turns: the conversation, checked.
        sampling: "uniform", "middle", "fps" or a number of frames a second.
        time_sentence: tell the model the frames' times, if it was trained with them.
        most_groups: of frames that the model's compressor can make, which learned so many queries; None for any number.
        max_video_tokens: of the video, for which fewer frames are taken; None for whatever the language model can read.
    """

    processor: VideoProcessor
    video: Opened | None
    turns: tuple[Message, ...]
    sampling: SamplingOrRate
    time_sentence: bool
    most_groups: int | None = None
    max_video_tokens: int | None = None

    def build(self, num_frames: int) -> Request:
        """Choose at most `num_frames` frames and write the prompt.

        Raises:
            InputError: no such number of frames, or the placeholder stands where it must not.
        """
        return self.about(None if self.video is None else self.video.choose(num_frames, self.sampling))

    def about(self, clip: Clip | None) -> Request:
        """The prompt about frames that are chosen already.

        Raises:
            InputError: the placeholder stands where it must not.
        """
        tell_times = self.time_sentence and self.processor.time_sentence
        num_tokens = [] if clip is None else [self._num_tokens(clip)]
        prompt, ids = self.processor.write(messages_about(clip, self.turns, tell_times), num_tokens)
        question = next(turn.content for turn in self.turns if turn.role == "user")
        return Request(clip, prompt, ids, sum(num_tokens), self.processor.question_ids(question))

    def _num_tokens(self, clip: Clip) -> int:
        """Tokens that a clip takes, however it was pooled when it was encoded."""
        if clip.features is not None:
            return len(clip.features)
        return self.processor.tokens_of(clip.num_frames, clip.frame_size)

    def auto(self, context_length: int | None, num_answer_tokens: int) -> Fit | None:
        """How many frames "auto" is; None where there is nothing to choose from.

        Raises:
            InputError: they do not fit in any way, or nothing limits them.
        """
        if not isinstance(self.video, ClipFile):
            return None
        rate = wanted_rate(self.sampling)
        if rate is not None:
            self.video.check_timed()
        wanted = Wanted(
            self.video.num_available,
            self.video.average_fps,
            AUTO,
            fps=rate,
            max_video_tokens=self.max_video_tokens,
            may_pool=False,
            most_groups=self.most_groups,
        )
        if isinstance(self.processor, VambaProcessor):
            size = (self.video.info.height, self.video.info.width)
            return fit_frames(wanted, lambda count: self.processor.tokens_of(count, size))
        return fit_budget(wanted, self.processor, Room(context_length, num_answer_tokens, self.num_text_tokens))

    def num_text_tokens(self, num_frames: int, sampling: SamplingOrRate) -> int:
        """Tokens of the prompt beside the video's, with so many frames chosen so."""
        clip = None if self.video is None else self.video.shortened(num_frames, sampling)
        tell_times = self.time_sentence and self.processor.time_sentence
        _, ids = self.processor.write(messages_about(clip, self.turns, tell_times), [] if clip is None else [0])
        return len(ids)

    def most_frames(self, start: int, limit: int) -> int:
        """The largest number of frames below `start` whose prompt has at most `limit` tokens; 0 if none has."""
        too_few = self.processor.least_frames - 1
        low, high = too_few, start
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._length(middle) <= limit else (low, middle)
        return 0 if low == too_few else low

    def within(self, num_frames: int) -> int:
        """The largest number of frames, at most so many, whose tokens are as few as they have to be.

        Raises:
            InputError: a single frame has more.
        """
        limit, low, high = self.max_video_tokens, self.processor.least_frames - 1, num_frames + 1
        if limit is None or self.video is None:
            return num_frames
        while high - low > 1:
            middle = (low + high) // 2
            clip = self.video.shortened(middle, self.sampling)
            low, high = (middle, high) if self._num_tokens(clip) <= limit else (low, middle)
        if low < self.processor.least_frames:
            raise InputError(
                f"the video may have {limit:,} tokens (max_video_tokens), and the fewest frames have more.",
                fix="allow more, or leave the limit out.",
            )
        return low

    def _length(self, num_frames: int) -> int:
        """Tokens of the prompt with so many frames."""
        clip = None if self.video is None else self.video.shortened(num_frames, self.sampling)
        return len(self.about(clip).input_ids)


def messages_about(clip: Clip | None, turns: Sequence[Message], tell_times: bool) -> list[Message]:
    """The conversation, its first user turn about the video and, if they are known and wanted, its frames' times."""
    if clip is None:
        return list(turns)
    sentence = None
    if tell_times and clip.has_times:
        sentence = time_sentence(clip.duration_seconds, clip.printed_seconds)
    first = next(index for index, turn in enumerate(turns) if turn.role == "user")
    asked = Message("user", question_about_video(turns[first].content, sentence))
    return [*turns[:first], asked, *turns[first + 1 :]]


def build_request(
    builder: RequestBuilder, num_frames: int | Literal["auto"], context_length: int | None, max_new_tokens: int
) -> Request:
    """The request, checked against the language model's context.

    Raises:
        InputError: prompt and answer are longer than the language model can read; says how many frames would fit.
    """
    if isinstance(num_frames, str):
        fit = builder.auto(context_length, max_new_tokens)
        builder = builder if fit is None else replace(builder, sampling=fit.sampling)
        num_frames = 1 if fit is None else fit.num_frames
    request = builder.build(builder.within(num_frames))

    def way_out() -> str:
        fitting = 0
        if request.clip is not None and request.clip.features is not None:
            return "encode the video again into fewer tokens (bimba encode), or shorten the question."
        if request.clip is not None and context_length is not None:
            fitting = builder.most_frames(request.clip.num_frames, context_length - max_new_tokens)
        if not fitting:
            return "shorten the question, or ask for fewer new tokens (max_new_tokens)."
        how = f" (num_frames={fitting}, --frames {fitting})" if request.clip and request.clip.frame_seconds else ""
        return f"take at most {fitting} frames{how}, or a larger temporal_pooling."

    check_length(request, context_length, max_new_tokens, way_out)
    return request


def most_groups(config: VideoConfig) -> int | None:
    """Groups of frames that a model's compressor can make; None for any number."""
    if isinstance(config, VambaConfig) or config.compressor.get("queries") != "learned":
        return None
    return int(config.compressor["learned_grid"][0])


def context_length(config: VideoConfig) -> int | None:
    """Tokens that the language model can read; None where its config sets no limit (recurrent models).

    The attribute follows each family's own name for it (n_positions, ...).
    """
    text_config = config.text_config
    return int(text_config.max_position_embeddings) if hasattr(text_config, "max_position_embeddings") else None


def check_length(request: Request, context_length: int | None, max_new_tokens: int, way_out: Callable[[], str]) -> None:
    """Refuse a prompt that leaves no room for the answer.

    Args:
        request: the prompt.
        context_length: tokens that the language model can read; None for no limit.
        max_new_tokens: room that the answer needs.
        way_out: says what to do; asked only when it is needed.

    Raises:
        InputError: prompt and answer are longer than the language model can read.
    """
    num_tokens = len(request.input_ids)
    if context_length is not None and num_tokens + max_new_tokens > context_length:
        raise InputError(
            f"the prompt has {num_tokens:,} tokens ({request.num_video_tokens:,} of the video), and "
            f"{max_new_tokens:,} may be answered; the language model reads {context_length:,} at most.",
            fix=way_out(),
        )


def checked_turns(question: Conversation, *, has_video: bool) -> tuple[Message, ...]:
    """A conversation as messages.

    Raises:
        InputError: it is empty, does not end with a user's turn, or holds the video placeholder too often.
    """
    try:
        turns = (Message("user", question),) if isinstance(question, str) else tuple(map(_message, question))
    except TypeError as error:
        raise InputError(f"the question is {question!r}.", fix="give a text, or a list of turns.") from error
    for turn in turns:
        if _is_broken(turn.content):
            raise InputError(
                "the question holds bytes that are no text.", fix="write it in the terminal's encoding (UTF-8)."
            )
    if not turns or turns[-1].role != "user":
        raise InputError("the conversation does not end with a question.", fix="end it with a turn of the user.")
    if not turns[-1].content.replace(VIDEO_TOKEN, "").strip():
        raise InputError("the question is empty.", fix='ask something, e.g. "What happens in this video?"')
    first = next(turn for turn in turns if turn.role == "user")
    placeholders = sum(turn.content.count(VIDEO_TOKEN) for turn in turns)
    if placeholders > first.content.count(VIDEO_TOKEN) or placeholders > int(has_video):
        raise InputError(
            f"the conversation holds {VIDEO_TOKEN} {placeholders} times where it means a video.",
            fix=f"leave {VIDEO_TOKEN} out; the video goes in front of the first question by itself.",
        )
    return turns


def _is_broken(text: str) -> bool:
    """Whether a text holds halves of characters, which bytes of another encoding leave behind."""
    return any("\ud800" <= character <= "\udfff" for character in text)


def _message(turn: Message | Mapping[str, str]) -> Message:
    if isinstance(turn, Message):
        return turn
    if not isinstance(turn, Mapping):
        raise InputError(f"a turn is {turn!r}.", fix='give turns as {"role": "user", "content": text}.')
    role = turn.get("role")
    if role not in ("system", "user", "assistant") or not isinstance(turn.get("content"), str):
        raise InputError(
            f"a turn is {dict(turn)!r}.",
            fix='give turns as {"role": "user" | "assistant" | "system", "content": text}.',
        )
    return Message(cast("Literal['system', 'user', 'assistant']", role), turn["content"])
