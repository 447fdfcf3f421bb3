"""An encoded video with its prompt in, the answer out, whole or piece by piece.

Shapes: L tokens of the prompt, V tokens of the video, D width.
"""

import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    StoppingCriteriaList,
    TextStreamer,
)

from bimba.errors import GenerationError, InputError
from bimba.inference.answer import Answer
from bimba.inference.clip import Clip
from bimba.inference.evidence import Evidence, Method, find_evidence
from bimba.inference.prefix import Prefix
from bimba.inference.request import Request
from bimba.inference.stopwatch import Stopwatch
from bimba.models.kinds import VideoFeatures, VideoModel, VideoProcessor


@dataclass(frozen=True)
class Run:
    """A question whose video is encoded; `finish` generates the answer.

    Args:
        model: that answers.
        processor: its processor.
        request: prompt and frames.
        features: of the video, None without one.
        settings: how to generate.
        watch: the stages up to here.
        prefix: what was read of earlier prompts, which this one may begin with.
    """

    model: VideoModel
    processor: VideoProcessor
    request: Request
    features: VideoFeatures | None
    settings: GenerationConfig
    watch: Stopwatch
    prefix: Prefix | None = None

    def finish(
        self, on_text: Callable[[str], None] | None = None, stopping: StoppingCriteriaList | None = None
    ) -> Answer:
        """Generate the answer.

        Args:
            on_text: called with pieces of the text as they come.
            stopping: more reasons to stop than the settings'.

        Raises:
            GenerationError: the scores of a token are no numbers.
        """
        ids = torch.tensor([self.request.input_ids], device=self.model.input_device)
        listener = Listener(self.processor.tokenizer, on_text)
        with_beams = self.settings.num_beams not in (None, 1)  # transformers streams no beams
        read = nullcontext() if with_beams or self.prefix is None else self.prefix.reading(self.request.input_ids)
        with self.watch.stage("generate"), read as cache:
            known: dict[str, Any] = {} if cache is None else {"past_key_values": cache}
            generate: Any = self.model.generate
            output = generate(
                ids,
                attention_mask=torch.ones_like(ids),
                video_features=None if self.features is None else [self.features],
                generation_config=self.settings,
                tokenizer=self.processor.tokenizer,
                streamer=None if with_beams else listener,
                stopping_criteria=stopping,
                logits_processor=LogitsProcessorList([_OnlyNumbers()]),
                **known,
            )
        if listener.first_token_seconds is not None:
            self.watch.add("first_token", listener.first_token_seconds)
        token_ids = output[0, ids.shape[1] :].tolist()
        self.watch.seconds["total"] = self.watch.total()
        clip = self.request.clip
        return Answer(
            text=self.processor.tokenizer.decode(token_ids, skip_special_tokens=True),
            token_ids=token_ids,
            frame_seconds=[] if clip is None else list(clip.frame_seconds),
            num_video_tokens=0 if self.features is None else len(self.features),
            num_prompt_tokens=len(self.request.input_ids),
            finish_reason="length" if self._hit_the_limit(token_ids) else "stop",
            timings=dict(self.watch.seconds),
        )

    def evidence(self, answer: Answer | str, *, method: Method) -> Evidence:
        """Where in the video an answer comes from, see `find_evidence`; of a text, as if it had been the answer.

        Raises:
            InputError: the answer is one to another prompt, as far as can be seen; or as `find_evidence`.
        """
        if isinstance(answer, Answer):
            self._check_is_of(answer)
            ids = answer.token_ids
        else:
            ids = self.processor.tokenizer(answer, add_special_tokens=False)["input_ids"]
        return find_evidence(self.model, self.processor, self.request, self.features, ids, method=method)

    def _check_is_of(self, answer: Answer) -> None:
        """Refuse an answer to another prompt."""
        clip, num_tokens = self.request.clip, len(self.request.input_ids)
        seconds = [] if clip is None else list(clip.frame_seconds)
        if answer.num_prompt_tokens != num_tokens or answer.frame_seconds != seconds:
            raise InputError(
                f"the answer is one to a prompt of {answer.num_prompt_tokens:,} tokens about "
                f"{len(answer.frame_seconds)} frames with times; this prompt has {num_tokens:,}, and {len(seconds)}.",
                fix="pass the video, the question and the options with which it was asked.",
            )

    def _hit_the_limit(self, token_ids: Sequence[int]) -> bool:
        ends = self.settings.eos_token_id
        ends = ends if isinstance(ends, list) else [ends]
        return len(token_ids) >= (self.settings.max_new_tokens or 0) and token_ids[-1] not in ends


class AnswerStream:
    """Pieces of an answer's text as they are generated; `answer` afterwards.

    Iterating starts the generation in a thread; leaving the loop early (or `close()`) stops it after the token in
    hand.

    Args:
        run: what generates.
        on_answer: called with the whole answer, once, when it is there.
    """

    def __init__(self, run: Run, on_answer: Callable[[Answer], None] | None = None) -> None:
        self._run, self._on_answer = run, on_answer
        self._answer: Answer | None = None
        self._pieces = self._generated()

    def __iter__(self) -> Iterator[str]:
        return self._pieces

    def __next__(self) -> str:
        return next(self._pieces)

    def close(self) -> None:
        """Stop the generation."""
        self._pieces.close()

    @property
    def frame_seconds(self) -> list[float]:
        """Times of the frames that the model saw; known before the first piece comes."""
        clip = self._run.request.clip
        return [] if clip is None else list(clip.frame_seconds)

    @property
    def clip(self) -> Clip | None:
        """The frames that the model saw, to be decoded again by `clip.frames()`; None without a video."""
        return self._run.request.clip

    def evidence(self, *, method: Method = "gradient") -> Evidence:
        """Where in the video the answer comes from; nothing of the video is read or encoded again.

        Args:
            method: "gradient", or "occlusion", which takes as many passes as there are moments; see `Evidence`.

        Raises:
            ValueError: the stream has not come to its end.
            InputError: there is no video, or the model's tokens belong to no moments of it.
        """
        return self._run.evidence(self.answer, method=method)

    @property
    def answer(self) -> Answer:
        """The whole answer.

        Raises:
            ValueError: the stream has not come to its end.
        """
        if self._answer is None:
            raise ValueError("the answer is known once the last piece of the stream came.")
        return self._answer

    def _generated(self) -> Generator[str]:
        queue: SimpleQueue[str | BaseException | Answer] = SimpleQueue()
        stop = _StopWhenSet(threading.Event())

        def work() -> None:
            try:
                queue.put(self._run.finish(queue.put, StoppingCriteriaList([stop])))
            except BaseException as error:  # noqa: BLE001 - raised again in the reader's thread
                queue.put(error)

        thread = threading.Thread(target=work, name="bimba-generate", daemon=True)
        thread.start()
        try:
            while not isinstance(item := queue.get(), Answer):
                if isinstance(item, BaseException):
                    raise item
                yield item
            self._answer = item
            if self._on_answer is not None:
                self._on_answer(item)
        except KeyboardInterrupt:
            stop.event.set()  # the thread ends after the token in hand; nobody waits for it
            raise
        finally:
            if not stop.event.is_set():
                stop.event.set()
                thread.join()


class Listener(TextStreamer):
    """Hears the tokens as they come: notes when the first one came, hands text on in whole words.

    Args:
        tokenizer: the language model's.
        on_text: called with each piece, if given.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, on_text: Callable[[str], None] | None) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self._on_text = on_text
        self._start = time.perf_counter()
        self._heard_prompt = False
        self.first_token_seconds: float | None = None

    def put(self, value: Tensor) -> None:
        """Take the prompt (first) or a new token."""
        if not self._heard_prompt:
            self._heard_prompt = True
        elif self.first_token_seconds is None:
            self.first_token_seconds = time.perf_counter() - self._start
        if self._on_text is not None:
            super().put(value)  # type: ignore[no-untyped-call] # untyped there

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """Hand on a piece."""
        del stream_end
        if text and self._on_text is not None:
            self._on_text(text)


class _StopWhenSet(StoppingCriteria):
    """Ends the generation when the reader is gone."""

    def __init__(self, event: threading.Event) -> None:
        self.event = event

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: Any) -> Tensor:  # noqa: ARG002
        return torch.full((input_ids.shape[0],), self.event.is_set(), device=input_ids.device, dtype=torch.bool)


class _OnlyNumbers(LogitsProcessor):
    """Ends an answer whose scores are no numbers; the likeliest of these would be some token, time and again."""

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # noqa: ARG002 - transformers calls it so
        """[B, vocabulary] -> the same.

        Raises:
            GenerationError: a row has one that is no number or infinite, or nothing that could come.
        """
        if not bool(scores.max(-1).values.isfinite().all()):
            raise GenerationError(
                "the model's scores of the next token are no numbers (NaN or infinite).",
                fix="load it with numbers of a larger range (dtype float32 or bfloat16), or fetch its weights again.",
            )
        return scores
