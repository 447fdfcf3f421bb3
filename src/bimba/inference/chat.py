"""A video in, encoded once; questions about it in, one after the other, and their answers out.

Shapes: V tokens of the video, D width.
"""

from dataclasses import replace
from typing import Any

from bimba.errors import InputError
from bimba.inference.answer import Answer
from bimba.inference.clip import Clip
from bimba.inference.generation import generation_settings
from bimba.inference.prefix import Prefix
from bimba.inference.request import RequestBuilder, check_length, checked_turns
from bimba.inference.run import AnswerStream, Run
from bimba.inference.stopwatch import Stopwatch
from bimba.models.kinds import VideoModel, VideoProcessor
from bimba.text.prompts import Message


class Chat:
    """A conversation about one video (or none); made by `VideoQA.chat`.

    Questions and answers so far go in front of each new question; what the language model has read of them is not read
    again. An answer that is given up halfway is forgotten,
    and its question with it.

    Args:
        model: that answers.
        processor: its processor.
        builder: writes the prompts.
        clip: the video's frames with their features; None without one.
        context_length: tokens that the language model can read; None for no limit.
        timings: seconds of each stage of encoding.

    Attributes:
        turns: the conversation so far.
        timings: seconds of each stage of encoding, which no answer takes again.
    """

    def __init__(
        self,
        model: VideoModel,
        processor: VideoProcessor,
        builder: RequestBuilder,
        clip: Clip | None,
        context_length: int | None,
        timings: dict[str, float],
    ) -> None:
        self._model, self._processor = model, processor
        self._builder, self._clip = builder, clip
        self._features = None if clip is None else clip.features
        self._context_length = context_length
        self._prefix = Prefix(model.text_model)
        self.turns: list[Message] = []
        self.timings = timings

    @property
    def clip(self) -> Clip | None:
        """The frames that the model saw, to be decoded again by `clip.frames()`."""
        return self._clip

    @property
    def num_video_tokens(self) -> int:
        """Tokens of the video that each answer reads."""
        return 0 if self._features is None else len(self._features)

    def ask(self, question: str, *, max_new_tokens: int = 512, **generation: Any) -> Answer:
        """Answer a question.

        Args:
            question: what you want to know.
            max_new_tokens: at most so many tokens are generated.
            generation: options of transformers' GenerationConfig.

        Raises:
            InputError: the question is empty, an option out of range, or the conversation longer than the language
                model reads.
        """
        answer = self._run(question, max_new_tokens, generation).finish()
        self._keep(question, answer)
        return answer

    def stream(self, question: str, *, max_new_tokens: int = 512, **generation: Any) -> AnswerStream:
        """As `ask`, but the text comes in pieces as it is generated.

        Raises:
            InputError: as `ask`, or beam search is asked for, whose text is known only at its end.
        """
        if generation_settings(self._model.generation_config, max_new_tokens, generation).num_beams not in (None, 1):
            raise InputError("beam search cannot be streamed.", fix="use ask, or num_beams=1.")

        def keep(answer: Answer) -> None:
            self._keep(question, answer)

        return AnswerStream(self._run(question, max_new_tokens, generation), on_answer=keep)

    def reset(self) -> None:
        """Forget the conversation; the video stays."""
        self.turns.clear()

    def _run(self, question: str, max_new_tokens: int, generation: dict[str, Any]) -> Run:
        settings = generation_settings(self._model.generation_config, max_new_tokens, generation)
        watch = Stopwatch(self._model.input_device)
        with watch.stage("prompt"):
            turns = checked_turns([*self.turns, Message("user", question)], has_video=self._clip is not None)
            request = replace(self._builder, turns=turns).about(self.clip)
            fix = "start the conversation anew (/reset), or ask for fewer new tokens (max_new_tokens)."
            check_length(request, self._context_length, max_new_tokens, lambda: fix)
        return Run(self._model, self._processor, request, self._features, settings, watch, self._prefix)

    def _keep(self, question: str, answer: Answer) -> None:
        self.turns += [Message("user", question), Message("assistant", answer.text)]
