"""Frames and questions in; for each question what the model says, and the likelihood of each option, out.

Shapes: T frames, S patches a frame, Dv width of the vision tower.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from types import MappingProxyType
from typing import Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bimba.errors import InputError
from bimba.evaluation.answering.beginning import Beginning
from bimba.evaluation.answering.prompt import Prompt, Query, letter_ids, option_ids, text_ids, write_prompt
from bimba.inference import VideoQA
from bimba.inference.generation import generation_settings
from bimba.models.bimba.encoding import FRAMES_PER_STEP
from bimba.models.bimba.modeling import BimbaForConditionalGeneration
from bimba.models.bimba.processing import BimbaProcessor
from bimba.models.kinds import VideoFeatures, VideoModel, VideoProcessor
from bimba.models.vamba.modeling import VambaForConditionalGeneration
from bimba.models.vamba.patches import Patches
from bimba.models.vamba.processing import VambaProcessor

T = TypeVar("T")


@dataclass(frozen=True)
class Reply:
    """What a model answers.

    Attributes:
        said: in its own words, the likeliest token each time.
        token_ids: of that, the end of the turn included if it came.
        scores: log-probability of each option as the whole answer, the end of the turn included.
    """

    said: str
    token_ids: tuple[int, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True)
class Tokens:
    """A video that is encoded, for any question.

    Attributes:
        features: what the language model reads of it.
        num_frames: that they are of.
    """

    features: VideoFeatures
    num_frames: int


Seen = Tensor | Tokens
"""What is known of a video: features [T, S, Dv] of its frames, or what the language model reads of them."""


Chunk = Tensor | Patches | Tokens
"""Pixels of some frames, [t, 3, S, S] for BIMBA and bytes of patches for Vamba; or a video that is encoded."""


class Asker:
    """Asks a model many questions about one video; the answers are those that `VideoQA.ask` gives to each by itself.

    Args:
        qa: model and processor.
        max_new_tokens: at most so many tokens are answered.
        batch_size: prompts that the language model reads at a time; it changes nothing beyond rounding.
        generation: options of `VideoQA.ask`; greedy without.

    Raises:
        InputError: an option is unknown or out of range.
    """

    def __init__(
        self,
        qa: VideoQA,
        *,
        max_new_tokens: int,
        batch_size: int,
        generation: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self._qa = qa
        self._model: VideoModel = qa.model
        self._processor: VideoProcessor = qa.processor
        self._batch_size = batch_size
        self._settings = generation_settings(qa.model.generation_config, max_new_tokens, dict(generation))
        self._max_new_tokens = max_new_tokens
        ends = self._settings.eos_token_id
        self._ends = frozenset([] if ends is None else ends if isinstance(ends, list) else [ends])

    def check(self, num_frames: int) -> None:
        """Refuse a video that is too short or too long for the model before any is encoded.

        Raises:
            InputError: it is.
        """
        if isinstance(self._processor, BimbaProcessor):  # Vamba's videos take no room in the prompt
            self._check_length(num_frames, self._processor.num_video_tokens(num_frames))

    def look(self, frames: Iterable[NDArray[np.uint8]]) -> Seen:
        """Look at frames, each uint8 ``[H, W, 3]``; few pixels are in memory at a time."""
        # As many as the tower takes at once, so that the features are to the bit those of all pixels together.
        return self.look_at(self.pixels(frames))

    def pixels(self, frames: Iterable[NDArray[np.uint8]]) -> Iterator[Chunk]:
        """Pixels of frames, as many at a time as the tower takes at once; needs no model."""
        for some in _batches(frames, FRAMES_PER_STEP):
            if isinstance(self._processor, BimbaProcessor):
                yield self._processor.make_pixels(some)
            else:
                yield self._processor.resize_frames(some)

    def look_at(self, chunks: Iterable[Chunk]) -> Seen:
        """Look at pixels; what was encoded before is looked at no more."""
        iterator = iter(chunks)
        first = next(iterator)
        if isinstance(first, Tokens):
            return first
        every = chain([first], iterator)
        if isinstance(self._model, BimbaForConditionalGeneration):
            return self._features(chunk for chunk in every if isinstance(chunk, Tensor))
        return self._read(self._model, (chunk for chunk in every if isinstance(chunk, Patches)))

    def _read(self, model: VambaForConditionalGeneration, chunks: Iterable[Patches]) -> Tokens:
        """A video's keys and values."""
        num_frames = 0
        processor = cast("VambaProcessor", self._processor)

        def pixels() -> Iterator[Patches]:
            nonlocal num_frames
            for chunk in chunks:
                num_frames += chunk.grid[0] * model.config.vision_config.temporal_patch_size
                yield processor.normalise(chunk.to(model.input_device))

        return Tokens(model.encode_stream(pixels(), 0), num_frames)

    @torch.no_grad()
    def _features(self, pixels: Iterable[Tensor]) -> Tensor:
        model = cast("BimbaForConditionalGeneration", self._model)
        return torch.cat([model.get_vision_features(chunk) for chunk in pixels])

    @torch.no_grad()
    def answer(self, seen: Seen | None, queries: Sequence[Query]) -> list[Reply]:
        """Ask about a video that was looked at, in words and by the likelihood of options.

        Without a video each query is one about no video; its turn says all.

        Raises:
            InputError: a prompt is longer than the language model reads.
        """
        replies = []
        for beginning, prompts, asked in self._begin(seen, queries):
            said = self._say(beginning, prompts)
            scores = self._score(beginning, prompts, asked)
            replies += [
                Reply(self._text(ids), tuple(ids), tuple(likelihoods))
                for ids, likelihoods in zip(said, scores, strict=True)
            ]
        return replies

    @torch.no_grad()
    def choose(self, seen: Seen, queries: Sequence[Query], letters: Sequence[str]) -> list[list[float]]:
        """Log-probability of each letter as the beginning of the answer to each query, in one pass.

        Args:
            seen: the video.
            queries: whose turns ask for a letter.
            letters: of the options.

        Raises:
            InputError: a prompt is longer than the language model reads, or a letter is no token.
        """
        ids = torch.tensor(letter_ids(self._processor, letters))
        scores: list[list[float]] = []
        for beginning, prompts, _ in self._begin(seen, queries):
            for batch in _batches(prompts, self._batch_size):
                logits = beginning.logits([prompt.rest for prompt in batch], num_kept=1)
                scores += logits[:, -1].log_softmax(-1).cpu()[:, ids].double().tolist()
        return scores

    @torch.no_grad()
    def losses(self, seen: Seen | None, query: Query, continuations: Sequence[str]) -> list[tuple[float, bool]]:
        """How surprising each continuation of a prompt is: mean negative log-probability of its tokens, in nats.

        Args:
            seen: the video; None without one.
            query: whose prompt is continued.
            continuations: texts, not empty.

        Returns:
            of each its loss, and whether greedy decoding would write it.

        Raises:
            InputError: the prompt is longer than the language model reads, or a continuation is empty.
        """
        ids = [text_ids(self._processor, text) for text in continuations]
        if not all(ids):
            raise InputError("a continuation is empty, so that nothing can be measured.", fix="give it some text.")
        found: list[tuple[float, bool]] = []
        for beginning, [prompt], _ in self._begin(seen, [query]):
            for batch in _batches(ids, self._batch_size):
                rests = [prompt.rest + more for more in batch]
                width = 1 + max(map(len, batch))
                for row, more in zip(beginning.logits(rests, width), batch, strict=True):
                    shares = row[-len(more) - 1 : -1].log_softmax(-1)
                    wanted = torch.tensor(more, device=row.device)
                    loss = -shares.gather(1, wanted[:, None]).double().mean()
                    found.append((float(loss), bool((shares.argmax(-1) == wanted).all())))
        return found

    def _begin(
        self, seen: Seen | None, queries: Sequence[Query]
    ) -> Iterator[tuple[Beginning, list[Prompt], Sequence[Query]]]:
        """The video read once, and the prompts that go on from there; once a query if the compressor reads it."""
        if not queries:
            return
        if seen is None:
            for query in queries:
                yield self._prompts(None, 0, [query])
            return
        if isinstance(seen, Tokens):
            video = seen.features
            if isinstance(video, Tensor):
                video = video.to(self._model.input_device, self._model.dtype)
            yield self._prompts(video, seen.num_frames, queries)
            return
        model = cast("BimbaForConditionalGeneration", self._model)
        if not model.config.reads_question:
            [video] = model.encode_features(seen)
            yield self._prompts(video, len(seen), queries)
            return
        for query in queries:
            ids = torch.tensor(self._processor.question_ids(query.question), device=model.input_device)
            words = model.get_input_embeddings()(ids)
            [video] = model.encode_features(seen, questions=[words])
            yield self._prompts(video, len(seen), [query])

    def _prompts(
        self, video: VideoFeatures | None, num_frames: int, queries: Sequence[Query]
    ) -> tuple[Beginning, list[Prompt], Sequence[Query]]:
        """Prompts about an encoded video."""
        prompts = [write_prompt(self._processor, query, 0 if video is None else len(video)) for query in queries]
        self._check_length(num_frames, max(len(prompt.beginning) + len(prompt.rest) for prompt in prompts))
        return Beginning(self._model, prompts[0].beginning, video), prompts, queries

    def _text(self, ids: list[int]) -> str:
        text: str = self._processor.tokenizer.decode(ids, skip_special_tokens=True)
        return text

    def _say(self, beginning: Beginning, prompts: Sequence[Prompt]) -> list[list[int]]:
        """Ids of the answer to each prompt."""
        answers = []
        for batch in _batches(prompts, self._batch_size):
            answers += beginning.generate(
                [prompt.rest for prompt in batch],
                generation_config=self._settings,
                tokenizer=self._processor.tokenizer,
            )
        return [self._up_to_its_end(ids) for ids in answers]

    def _up_to_its_end(self, ids: list[int]) -> list[int]:
        """An answer without the padding that waits for longer ones."""
        return ids[: next((place for place, token in enumerate(ids, start=1) if token in self._ends), len(ids))]

    def _score(self, beginning: Beginning, prompts: Sequence[Prompt], queries: Sequence[Query]) -> list[list[float]]:
        """Log-probability of each option of each question."""
        asked = [
            (number, prompt.rest, option_ids(self._processor, query, option, self._ends))
            for number, (prompt, query) in enumerate(zip(prompts, queries, strict=True))
            for option in query.options
        ]
        scores: list[list[float]] = [[] for _ in queries]
        for batch in _batches(asked, self._batch_size):
            num_kept = 1 + max(len(answer) for _, _, answer in batch)
            logits = beginning.logits([rest + answer for _, rest, answer in batch], num_kept)
            for row, (number, _, answer) in zip(logits, batch, strict=True):
                likelihoods = row[-len(answer) - 1 : -1].log_softmax(-1)
                chosen = likelihoods.gather(1, torch.tensor(answer, device=row.device)[:, None])
                scores[number].append(float(chosen.double().sum()))
        return scores

    def _check_length(self, num_frames: int, num_tokens: int) -> None:
        limit = self._qa.context_length
        if limit is not None and num_tokens + self._max_new_tokens > limit:
            raise InputError(
                f"a prompt about {num_frames} frames has {num_tokens:,} tokens or more, and {self._max_new_tokens} may "
                f"be answered; the language model reads {limit:,} at most.",
                fix="take shorter videos (--frames), or pool more frames together (--temporal-pooling 4)."
                if self._model.reads_videos_once
                else "ask shorter questions, or allow shorter answers (--max-new-tokens).",
            )


def _batches(values: Iterable[T], size: int) -> Iterator[list[T]]:
    """Values in order, so many at a time."""
    left = iter(values)
    while batch := list(islice(left, size)):
        yield batch
