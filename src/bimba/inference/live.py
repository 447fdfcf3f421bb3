"""Frames of a video that goes on in, one by one; questions about everything so far in, their answers out, at any time.

Shapes: T frames so far, S x S pixels of a resized frame, V tokens of the video, D width.
"""

import math
import threading
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bimba.compressors.growing import FEWEST_GROUPS, can_grow
from bimba.errors import InputError
from bimba.inference.answer import Answer
from bimba.inference.clip import Clip
from bimba.inference.generation import generation_settings, is_whole
from bimba.inference.request import Request, RequestBuilder, check_length, checked_turns, context_length
from bimba.inference.run import AnswerStream, Run
from bimba.inference.stopwatch import Stopwatch
from bimba.models.bimba.encoding import FRAMES_PER_STEP
from bimba.models.bimba.modeling import BimbaForConditionalGeneration
from bimba.models.bimba.processing import BimbaProcessor

USUAL_GROUPS = 64
"""Groups of frames whose tokens are the budget unless another is given: as many frames as a question looks at."""

_LONGEST_TIME = 359_999.99  # a hundred hours less a moment: no time of a live video is written longer
_SHORTEST_QUESTION = "?"


class LiveVideo:
    """A video that is watched while it goes on; made by `VideoQA.watch`.

    Frames may be pushed by one thread while another asks: a question is about the frames that have come when it is
    asked. Each question stands for itself; there is no conversation.

    What the frames become, and what happens when there are more than the budget has room for, tells
    `bimba.compressors.growing`.

    Args:
        model: a BIMBA model.
        processor: its processor.
        max_video_tokens: that the video takes in the prompt at most; as many as 64 groups of frames take, or as fit,
            if not given.
        time_sentence: tell the model when the frames are (left out for models that were trained without).
        max_new_tokens: room kept for an answer in the language model's context.

    Raises:
        InputError: the model cannot take a video that grows, or the budget is too small for it, or too large for the
            language model.
    """

    def __init__(
        self,
        model: BimbaForConditionalGeneration,
        processor: BimbaProcessor,
        *,
        max_video_tokens: int | None = None,
        time_sentence: bool = True,
        max_new_tokens: int = 512,
    ) -> None:
        if model.config.reads_question:
            raise InputError(
                "this model reads the question before it compresses the video, which cannot be done while it goes on.",
                fix="record the video, and ask each question by itself: bimba ask, VideoQA.ask.",
            )
        if not can_grow(model.compressor):
            raise InputError(
                f"this model's compressor ({model.config.compressor['type']}, as it is set) needs all frames at once.",
                fix="record the video and use bimba ask, or take a model with the selective scan in one layer.",
            )
        self._model, self._processor, self._time_sentence = model, processor, time_sentence
        self._context_length = context_length(model.config)
        self.most_groups = self._budget(max_video_tokens, max_new_tokens)
        self._stream = model.grow(self.most_groups)
        self._lock = threading.RLock()
        self._waiting: list[Tensor] = []
        self._times: list[float] = []
        self._last: float | None = None

    @property
    def num_frames(self) -> int:
        """Frames that have come, T."""
        with self._lock:
            return self._stream.num_frames + len(self._waiting)

    @property
    def seconds(self) -> float | None:
        """Time of the last frame; None before the first."""
        return self._last

    @property
    def max_video_tokens(self) -> int:
        """Tokens of the video in a prompt, at most."""
        return self._processor.num_video_tokens(self.most_groups * self._processor.temporal_pooling)

    @property
    def is_thinned(self) -> bool:
        """Whether there were more frames than the budget has room for, so that old ones are thinned out."""
        with self._lock:
            return self._stream.is_thinned

    @property
    def can_be_asked(self) -> bool:
        """Whether enough frames have come: as many as temporal pooling averages."""
        return self.num_frames >= self._processor.temporal_pooling

    def push(self, frame: np.ndarray, seconds: float) -> None:
        """Take the next frame. Now and then this looks at the last ones, and takes as long as that takes.

        Args:
            frame: uint8 RGB [H, W, 3], of any size.
            seconds: its time, from the beginning of the video.

        Raises:
            InputError: the frame is none, or its time lies before the last one's.
        """
        _check_frame(frame)
        if not math.isfinite(seconds) or seconds < 0:
            raise InputError(f"a frame's time is {seconds}.", fix="give seconds from the beginning of the video.")
        resized = self._processor.resize_frames([frame])
        with self._lock:
            if self._last is not None and seconds < self._last:
                raise InputError(
                    f"a frame at {seconds:.2f} s comes after one at {self._last:.2f} s.",
                    fix="push frames in the order of their times.",
                )
            self._waiting.append(resized)
            self._times.append(seconds)
            self._last = seconds
            if len(self._waiting) >= FRAMES_PER_STEP:
                self.catch_up()

    @torch.no_grad()
    def catch_up(self) -> None:
        """Look at the frames that wait, as some do so that several are looked at together; a question does it, too."""
        with self._lock:
            if not self._waiting:
                return
            pixels = self._processor.normalise(torch.cat(self._waiting).to(self._model.input_device))
            tokens = self._model.project(self._model.get_vision_features(pixels))
            self._stream.push(tokens[None], self._times)
            self._waiting, self._times = [], []

    def so_far(self) -> Clip:
        """The video up to now, with its tokens [V, D] as the language model reads them.

        Raises:
            InputError: too few frames have come.
        """
        with self._lock:
            self.catch_up()
            if not self._stream.num_groups:
                raise InputError(
                    f"{self.num_frames} frames have come, fewer than the {self._processor.temporal_pooling} that one "
                    "answer needs.",
                    fix="push frames first.",
                )
            features = self._model.pack(self._stream.finish()[0])
            return replace(_clip(self._stream.seconds), features=features)

    def ask(self, question: str, *, max_new_tokens: int = 512, **generation: Any) -> Answer:
        """Answer a question about everything so far.

        Args:
            question: what you want to know.
            max_new_tokens: at most so many tokens are generated.
            generation: options of transformers' GenerationConfig.

        Returns:
            the answer; its `frame_seconds` end with the time up to which the model has seen.

        Raises:
            InputError: no frame has come, the question is empty, an option out of range, or the prompt longer than the
                language model reads.
        """
        return self._run(question, max_new_tokens, generation).finish()

    def stream(self, question: str, *, max_new_tokens: int = 512, **generation: Any) -> AnswerStream:
        """As `ask`, but the text comes in pieces as it is generated.

        Raises:
            InputError: as `ask`, or beam search is asked for, whose text is known only at its end.
        """
        if generation_settings(self._model.generation_config, max_new_tokens, generation).num_beams not in (None, 1):
            raise InputError("beam search cannot be streamed.", fix="use ask, or num_beams=1.")
        return AnswerStream(self._run(question, max_new_tokens, generation))

    def _run(self, question: str, max_new_tokens: int, generation: dict[str, Any]) -> Run:
        settings = generation_settings(self._model.generation_config, max_new_tokens, generation)
        watch = Stopwatch(self._model.input_device)
        turns = checked_turns(question, has_video=True)
        with watch.stage("encode"):
            clip = self.so_far()
        with watch.stage("prompt"):
            request = RequestBuilder(self._processor, None, turns, "uniform", self._time_sentence).about(clip)
            fix = "shorten the question, ask for fewer new tokens, or watch with a smaller budget (max_video_tokens)."
            check_length(request, self._context_length, max_new_tokens, lambda: fix)
        return Run(self._model, self._processor, request, clip.features, settings, watch)

    def _budget(self, max_video_tokens: int | None, max_new_tokens: int) -> int:
        """Groups of frames that the prompt has room for, now and when the video has become long."""
        if max_video_tokens is not None and not is_whole(max_video_tokens, least=1):
            raise InputError(f"max_video_tokens is {max_video_tokens!r}.", fix="take a whole number, e.g. 13440.")
        if not is_whole(max_new_tokens, least=1):
            raise InputError(f"max_new_tokens is {max_new_tokens!r}.", fix="allow a whole number of at least one.")
        wanted = USUAL_GROUPS if max_video_tokens is None else self._groups_within(max_video_tokens)
        limit, fitting = self._context_length, wanted
        if limit is not None:
            # Longer prompts come later: the first group that is too much.
            fitting = bisect_left(
                range(1, wanted + 1), True, key=lambda num_groups: self._length(num_groups) + max_new_tokens > limit
            )
        if fitting < FEWEST_GROUPS:
            least = self._processor.num_video_tokens(FEWEST_GROUPS * self._processor.temporal_pooling)
            raise InputError(
                f"there is room for {fitting} groups of frames; a video that grows needs {FEWEST_GROUPS}.",
                fix=f"allow at least {least:,} tokens (max_video_tokens, --max-video-tokens), or fewer new tokens.",
            )
        if max_video_tokens is not None and fitting < wanted:
            most = self._processor.num_video_tokens(fitting * self._processor.temporal_pooling)
            raise InputError(
                f"{max_video_tokens:,} tokens of the video, its times, a question and {max_new_tokens:,} new tokens "
                f"are more than the {limit:,} that the language model reads.",
                fix=f"take at most {most:,} (max_video_tokens, --max-video-tokens), or fewer new tokens.",
            )
        return fitting

    def _groups_within(self, num_tokens: int) -> int:
        """The most groups whose tokens, separators included, are at most so many."""
        size = self._processor.temporal_pooling
        first, second = (self._processor.num_video_tokens(count * size) for count in (1, 2))
        return max(0, 1 + (num_tokens - first) // (second - first))

    def _length(self, num_groups: int) -> int:
        """Tokens of the longest prompt that a video of so many groups may give, with the shortest question."""
        size = self._processor.temporal_pooling
        return len(self._shortest([_LONGEST_TIME] * ((num_groups + 1) * size - 1)).input_ids)

    def _shortest(self, seconds: list[float]) -> Request:
        turns = checked_turns(_SHORTEST_QUESTION, has_video=True)
        return RequestBuilder(self._processor, None, turns, "uniform", self._time_sentence).about(_clip(seconds))


def _check_frame(frame: object) -> None:
    what = type(frame).__name__
    if isinstance(frame, np.ndarray):
        if frame.dtype == np.uint8 and frame.ndim == 3 and frame.shape[2] == 3:
            return
        what = f"{frame.dtype} {list(frame.shape)}"
    raise InputError(f"a frame must be a uint8 array [H, W, 3]; this is {what}.", fix="convert it.")


def _clip(seconds: list[float]) -> Clip:
    """Frames that have come and gone."""
    times = tuple(seconds)
    return Clip(len(times), _no_frames, times, times, duration_seconds=times[-1])


def _no_frames() -> Iterator[np.ndarray]:
    raise ValueError("the frames of a live video are not kept.")
