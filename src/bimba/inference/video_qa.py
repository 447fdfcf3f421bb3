"""VideoQA: a video and a question in; the model's inputs, an answer, or its pieces as they come out."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Generic, Literal, cast

import torch
from torch import Tensor
from transformers import BatchFeature
from typing_extensions import TypeVar

from bimba.checkpoints.loading import overridden
from bimba.errors import InputError
from bimba.inference.answer import Answer
from bimba.inference.budget import AUTO, ROOM_FOR_ANSWERS
from bimba.inference.chat import Chat
from bimba.inference.clip import Clip, ClipFile
from bimba.inference.compressing import compressing
from bimba.inference.encoded import EncodedVideo, encoder_identity
from bimba.inference.encoded.describing import describe
from bimba.inference.encoder import Progress, encode_clip, read_pixels
from bimba.inference.evidence import Evidence, Method
from bimba.inference.generation import generation_settings, is_whole
from bimba.inference.live import LiveVideo
from bimba.inference.opening import VideoInput, open_video
from bimba.inference.request import (
    Conversation,
    Request,
    RequestBuilder,
    build_request,
    checked_turns,
    context_length,
    most_groups,
)
from bimba.inference.run import AnswerStream, Run
from bimba.inference.stopwatch import Stopwatch
from bimba.models.bimba.modeling import BimbaForConditionalGeneration
from bimba.models.bimba.processing import BimbaProcessor
from bimba.models.kinds import VideoFeatures, VideoModel, VideoProcessor
from bimba.video.sampling import SamplingOrRate

_SHORTEST_QUESTION = "?"

M = TypeVar("M", bound=VideoModel, default=BimbaForConditionalGeneration)
P = TypeVar("P", bound=VideoProcessor, default=BimbaProcessor)


class VideoQA(Generic[M, P]):
    """A model and its processor, ready to be asked about videos; made by `bimba.load`.

    To a type checker it is one of BIMBA; of Vamba it is a `VideoQA[VambaForConditionalGeneration, VambaProcessor]`.

    Args:
        model: a BIMBA or a Vamba.
        processor: its processor.

    Attributes:
        progress: called as frames are read and encoded, if set; see `Progress`.
    """

    def __init__(self, model: M, processor: P) -> None:
        self.model, self.processor = model, processor
        self.progress: Progress | None = None
        self._identity: tuple[tuple[tuple[int, int], ...], str] | None = None

    def __repr__(self) -> str:
        """Family, size and place of the model."""
        kind = self.model.config.text_config.model_type
        size = f"{self.model.num_parameters() / 1e9:.3g} billion parameters"
        return f"VideoQA({kind}, {size}, {self.model.dtype}, {self.model.input_device})"

    def prepare(
        self,
        video: VideoInput | None,
        question: Conversation,
        *,
        num_frames: int | Literal["auto"] = 64,
        sampling: SamplingOrRate = "uniform",
        time_sentence: bool = True,
        max_new_tokens: int = 512,
        **generation: Any,
    ) -> BatchFeature:
        """Keyword arguments of the model's forward for a question.

        Args:
            video: a video or image file, a folder of pictures, a `Video` (a part of one, a pipe, decoded in isolation),
                frames uint8 [T, H, W, 3] (all are taken, their times are unknown), or None.
            question: the question, or a conversation that ends with one.
            num_frames: at most so many frames are chosen; "auto" for one a second, 64 of a short video, and no more
                than the language model can read beside question and answer.
            sampling: "uniform" (from the first to the last, as BIMBA was trained), "middle" (of equal intervals, as
                Vamba was), or "fps": one frame a second where that is at most `num_frames`; a number for so many a
                second. With "auto" the frames are uniform, and a number is the most a second.
            time_sentence: tell the model when the frames are (left out for images and bare frames, and for models that
                were trained without, see `BimbaConfig.time_sentence`).
            max_new_tokens: room kept for the answer in the language model's context.
            generation: checked as in `ask`, and not used.

        Returns:
            `input_ids` and `attention_mask` [1, L]; with a video, of BIMBA `pixel_values_videos` [T, 3, S, S] and
            `num_video_frames` [1], or `video_features` (tokens [V, D]) of one that was encoded before; if the
            compressor reads the question, `question_ids` [1, C] and `question_lengths` [1]; of Vamba
            `pixel_values_videos` [p, values], `video_grid_thw` [1, 3] and `num_videos` [1]; on the model's device.

        Raises:
            VideoError: the video cannot be read.
            InputError: an argument is out of range, or the prompt is longer than the language model reads.
        """
        generation_settings(self.model.generation_config, max_new_tokens, generation)
        watch = Stopwatch(self.model.input_device)
        _, request = self._request(watch, video, question, num_frames, sampling, time_sentence, max_new_tokens)
        ids = torch.tensor([request.input_ids], device=self.model.input_device)
        inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if request.clip is not None and request.clip.features is not None:
            inputs["video_features"] = [self._encode(watch, request.clip)]
        elif request.clip is not None:
            pixels = read_pixels(self.processor, request.clip, watch, progress=self.progress)
            inputs |= {name: value.to(self.model.input_device) for name, value in pixels.items()}
            if self.model.config.reads_question:
                inputs["question_ids"] = torch.tensor([request.question_ids], device=self.model.input_device)
                inputs["question_lengths"] = torch.tensor([len(request.question_ids)])
        return BatchFeature(inputs)

    def ask(
        self,
        video: VideoInput | None,
        question: Conversation,
        *,
        num_frames: int | Literal["auto"] = 64,
        sampling: SamplingOrRate = "uniform",
        time_sentence: bool = True,
        max_new_tokens: int = 512,
        **generation: Any,
    ) -> Answer:
        """Answer a question about a video (or without one: `video=None`).

        Greedy unless asked otherwise, whatever the checkpoint's generation config says of sampling; its repetition
        penalty applies.

        Args:
            video: as in `prepare`.
            question: as in `prepare`.
            num_frames: as in `prepare`.
            sampling: as in `prepare`.
            time_sentence: as in `prepare`.
            max_new_tokens: at most so many tokens are generated.
            generation: options of transformers' GenerationConfig (`temperature=0.7`, `num_beams=4`, ...).

        Raises:
            VideoError: the video cannot be read.
            InputError: an argument is out of range, or the prompt is longer than the language model reads.
        """
        run = self._run(video, question, num_frames, sampling, time_sentence, max_new_tokens, generation)
        return run.finish()

    def stream(
        self,
        video: VideoInput | None,
        question: Conversation,
        *,
        num_frames: int | Literal["auto"] = 64,
        sampling: SamplingOrRate = "uniform",
        time_sentence: bool = True,
        max_new_tokens: int = 512,
        **generation: Any,
    ) -> AnswerStream:
        """As `ask`, but the text comes in pieces as it is generated.

        Returns:
            an iterator of pieces of text; its `answer` holds the `Answer` once the last piece came.

        Raises:
            VideoError: the video cannot be read.
            InputError: as `ask`, or beam search is asked for, whose text is known only at its end.
        """
        if generation_settings(self.model.generation_config, max_new_tokens, generation).num_beams not in (None, 1):
            raise InputError("beam search cannot be streamed.", fix="use ask, or num_beams=1.")
        return AnswerStream(self._run(video, question, num_frames, sampling, time_sentence, max_new_tokens, generation))

    def evidence(
        self,
        video: VideoInput,
        question: Conversation,
        answer: Answer | str,
        *,
        method: Method = "gradient",
        num_frames: int | Literal["auto"] = 64,
        sampling: SamplingOrRate = "uniform",
        time_sentence: bool = True,
        max_new_tokens: int = 512,
    ) -> Evidence:
        """Where in a video an answer comes from; the video is read again, unless it is encoded.

        A stream tells it without reading again: `AnswerStream.evidence`.

        Args:
            video: as in `ask`, as is all that is not told of here.
            question: what was asked.
            answer: what `ask` gave to it; or a text that might have been the answer.
            method: "gradient", or "occlusion", which takes as many passes as there are moments; see `Evidence`.
            num_frames: as in `ask`.
            sampling: as in `ask`.
            time_sentence: as in `ask`.
            max_new_tokens: as in `ask`.

        Raises:
            VideoError: the video cannot be read.
            InputError: an argument is out of range, the answer is one to another prompt, or the model's tokens belong
                to no moments of the video.
        """
        run = self._run(video, question, num_frames, sampling, time_sentence, max_new_tokens, {})
        return run.evidence(answer, method=method)

    def chat(
        self,
        video: VideoInput | None,
        *,
        num_frames: int | Literal["auto"] = 64,
        sampling: SamplingOrRate = "uniform",
        time_sentence: bool = True,
    ) -> Chat:
        """Encode a video once, to ask about it several times.

        Args:
            video: as in `prepare`; it is read and encoded now.
            num_frames: as in `prepare`.
            sampling: as in `prepare`.
            time_sentence: as in `prepare`.

        Raises:
            VideoError: the video cannot be read.
            InputError: an argument is out of range, the video alone is longer than the language model reads, or the
                model reads the question before it compresses the video.
        """
        self.check_reads_no_question()
        watch = Stopwatch(self.model.input_device)
        opener = _SHORTEST_QUESTION
        # Who says how many frames has taken the room for questions into account; "auto" does it here.
        room = ROOM_FOR_ANSWERS if num_frames == AUTO else 1
        builder, request = self._request(watch, video, opener, num_frames, sampling, time_sentence, room)
        clip = request.clip
        if clip is not None:
            clip = replace(clip, features=self._encode(watch, clip))
        return Chat(self.model, self.processor, builder, clip, self.context_length, dict(watch.seconds))

    def encode(
        self,
        video: VideoInput,
        *,
        num_frames: int | Literal["auto"] = 64,
        sampling: SamplingOrRate = "uniform",
        settings: dict[str, Any] | None = None,
    ) -> EncodedVideo:
        """Encode a video once and for all: to be kept in a file (`save`), and asked about in place of the video.

        Args:
            video: as in `prepare`; it is read and encoded now.
            num_frames: as in `prepare`.
            sampling: as in `prepare`.
            settings: what tells encodings of one video apart; number of frames and sampling, if not given.

        Returns:
            its tokens [V, D] and what is known of it.

        Raises:
            VideoError: the video cannot be read.
            InputError: an argument is out of range, the video alone is longer than the language model reads, or the
                model reads the question before it compresses the video.
        """
        model, _ = compressing(self.model, self.processor, "encode a video into a file")
        self.check_reads_no_question()
        watch = Stopwatch(self.model.input_device)
        room = ROOM_FOR_ANSWERS if num_frames == AUTO else 1
        builder, request = self._request(watch, video, _SHORTEST_QUESTION, num_frames, sampling, False, room)
        if builder.video is None or request.clip is None:
            raise InputError("there is no video to encode.", fix="pass one.")
        if isinstance(builder.video, EncodedVideo):
            raise InputError("the video is encoded already.", fix="save it, or pass the video that it comes from.")
        count = num_frames if isinstance(num_frames, str) else int(num_frames)
        looking = {"num_frames": count, "sampling": sampling} if settings is None else settings
        about = describe(builder.video, request.clip, model.config, self.encoder_identity, looking)
        source = builder.video.video if isinstance(builder.video, ClipFile) and about.origin is not None else None
        return EncodedVideo(cast("Tensor", self._encode(watch, request.clip)), about, source)

    def pool_frames(self, temporal_pooling: int) -> None:
        """From now on average so many frames into one: fewer tokens of a video.

        Args:
            temporal_pooling: as in `BimbaConfig`.

        Raises:
            InputError: the model cannot.
        """
        model, processor = compressing(self.model, self.processor, "pool frames")
        overridden(model.config, {"temporal_pooling": temporal_pooling})  # checks it
        model.config.temporal_pooling = processor.temporal_pooling = temporal_pooling
        model.compressor.pool = model.config.pool

    @property
    def encoder_identity(self) -> str:
        """Hash of what encodes videos: who has the same reads the same encoded videos.

        Raises:
            InputError: the model keeps no tokens of a video.
        """
        model, processor = compressing(self.model, self.processor, "encode a video into a file")
        # Torch counts what is written to a tensor: a model that is trained on is another one.
        weights = self.model.state_dict(keep_vars=True).values()
        state = tuple((weight.data_ptr(), weight._version) for weight in weights)  # noqa: SLF001 - torch's own name
        if self._identity is None or self._identity[0] != state:
            self._identity = state, encoder_identity(model, processor)
        return self._identity[1]

    def check_reads_no_question(self) -> None:
        """Refuse to encode a video for several questions with a model that reads the question first.

        Raises:
            InputError: it does.
        """
        if self.model.config.reads_question:
            raise InputError(
                "this model reads the question before it compresses the video, which cannot be encoded for several.",
                fix="ask each question by itself: bimba ask, VideoQA.ask.",
            )

    def watch(
        self, *, max_video_tokens: int | None = None, time_sentence: bool = True, max_new_tokens: int = 512
    ) -> LiveVideo:
        """Watch a video that goes on, whose frames you push, to ask about everything so far at any time.

        Args:
            max_video_tokens: that it takes in a prompt at most; old frames are thinned out when there are more.
            time_sentence: as in `prepare`.
            max_new_tokens: room kept for an answer.

        Raises:
            InputError: the model needs all frames at once, or the budget is too small, or more than it reads.
        """
        model, processor = compressing(self.model, self.processor, "watch a video that goes on")
        return LiveVideo(
            model,
            processor,
            max_video_tokens=max_video_tokens,
            time_sentence=time_sentence,
            max_new_tokens=max_new_tokens,
        )

    def _run(
        self,
        video: VideoInput | None,
        question: Conversation,
        num_frames: int | Literal["auto"],
        sampling: SamplingOrRate,
        time_sentence: bool,
        max_new_tokens: int,
        generation: dict[str, Any],
    ) -> Run:
        """Everything up to the first generated token: read, encode, prompt."""
        settings = generation_settings(self.model.generation_config, max_new_tokens, generation)
        watch = Stopwatch(self.model.input_device)
        _, request = self._request(watch, video, question, num_frames, sampling, time_sentence, max_new_tokens)
        features = None
        if request.clip is not None:
            features = self._encode(watch, request.clip, request.question_ids)
        return Run(self.model, self.processor, request, features, settings, watch)

    def _request(
        self,
        watch: Stopwatch,
        video: VideoInput | None,
        question: Conversation,
        num_frames: int | Literal["auto"],
        sampling: SamplingOrRate,
        time_sentence: bool,
        max_new_tokens: int,
    ) -> tuple[RequestBuilder, Request]:
        if num_frames != AUTO and not is_whole(num_frames, least=1):
            raise InputError(
                f"num_frames is {num_frames!r}.", fix='take a whole number of at least one (--frames 1), or "auto".'
            )
        turns = checked_turns(question, has_video=video is not None)
        with watch.stage("probe"):
            opened = None if video is None else open_video(video)
        if isinstance(opened, EncodedVideo):
            opened.check_encoder(self.encoder_identity, self.model.config.text_config.hidden_size)
        with watch.stage("prompt"):
            groups = most_groups(self.model.config)
            builder = RequestBuilder(self.processor, opened, turns, sampling, time_sentence, groups)
            return builder, build_request(builder, num_frames, self.context_length, max_new_tokens)

    @property
    def context_length(self) -> int | None:
        """Tokens that the language model can read; None where its config sets no limit (recurrent models)."""
        return context_length(self.model.config)

    def _encode(self, watch: Stopwatch, clip: Clip, question_ids: Sequence[int] = ()) -> VideoFeatures:
        """What is read of a video; what was encoded before is there already."""
        if isinstance(clip.features, Tensor):
            return clip.features.to(self.model.input_device, self.model.dtype)
        return encode_clip(self.model, self.processor, clip, watch, question_ids=question_ids, progress=self.progress)
