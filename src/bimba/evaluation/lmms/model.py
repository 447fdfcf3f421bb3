"""Requests of lmms-eval in, what our model says to each, or how surprised it is, out.

A video that several requests in a row are about is decoded and looked at once.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from accelerate import Accelerator  # type: ignore[import-untyped] # untyped there
from lmms_eval.api.instance import Instance
from lmms_eval.api.model import lmms
from tqdm import tqdm  # type: ignore[import-untyped] # untyped there

import bimba
from bimba.errors import InputError
from bimba.evaluation.answering import Asker, Query, Seen
from bimba.evaluation.lmms.visuals import Shown, shown
from bimba.inference import VideoQA
from bimba.inference.request import messages_about
from bimba.text.prompts import VIDEO_TOKEN, Message

logger = logging.getLogger(__name__)

MAX_NEW_TOKENS = 256
"""Of an answer where a task does not say."""
_TAKEN = ("temperature", "top_p", "top_k", "num_beams", "do_sample", "repetition_penalty", "length_penalty")
"""Options of a task's `generation_kwargs` that transformers knows by the same name."""
_LENGTHS = ("max_new_tokens", "max_gen_toks")
_UNTIL = "until"


class BimbaModel(lmms):  # type: ignore[misc] # untyped there
    """`--model bimba --model_args pretrained=DIR,num_frames=64`.

    Args:
        pretrained: folder, hub id, or bimba-nano, as `bimba.load` takes it.
        base: of an adapter.
        num_frames: at most so many frames of a video are looked at.
        sampling: "uniform", or "fps": one frame a second where that is at most `num_frames`.
        time_sentence: tell the model when the frames are, if it was trained with that.
        device: as of `bimba.load`; of several processes each takes the GPU of its number.
        dtype: as of `bimba.load`.
        attn_implementation: as of `bimba.load`.
        temporal_pooling: other than the model's own.
        spatial_pooling: other than the model's own.
        max_new_tokens: of an answer where a task does not say.
        batch_size: continuations that are measured at a time; answers are written one by one.
        max_batch_size: lmms-eval passes it on; it changes nothing.

    Raises:
        CheckpointError: the model cannot be loaded.
        InputError: a setting is out of range.
    """

    is_simple = True

    def __init__(
        self,
        pretrained: str = "bimba-nano",
        *,
        base: str | None = None,
        num_frames: int = 64,
        sampling: str = "uniform",
        time_sentence: bool = True,
        device: str = "auto",
        dtype: str = "auto",
        attn_implementation: str | None = None,
        temporal_pooling: int | None = None,
        spatial_pooling: int | None = None,
        max_new_tokens: int = MAX_NEW_TOKENS,
        batch_size: int | str = 1,
        max_batch_size: int | None = None,
    ) -> None:
        super().__init__()
        del max_batch_size
        self.accelerator = Accelerator()
        self._rank, self._world_size = self.accelerator.process_index, self.accelerator.num_processes
        pooling = {"temporal_pooling": temporal_pooling, "spatial_pooling": spatial_pooling}
        self.qa: VideoQA = bimba.load(
            pretrained,
            base=base,
            device=str(self.accelerator.device) if self._world_size > 1 else device,
            dtype=dtype,
            attn_implementation=attn_implementation,
            config_overrides={name: value for name, value in pooling.items() if value is not None} or None,
        )
        self._num_frames, self._sampling, self._time_sentence = num_frames, sampling, time_sentence
        self._max_new_tokens, self._batch_size = max_new_tokens, int(batch_size)
        self._askers: dict[str, Asker] = {}
        self._looked: tuple[tuple[Any, ...], Shown, Seen] | None = None
        self._left_out: set[str] = set()

    @property
    def device(self) -> torch.device:
        """Where numbers are gathered from all processes."""
        return self.qa.model.input_device

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """Answer each request in words, up to the first of its stop texts.

        Raises:
            InputError: a request cannot be asked.
            VideoError: a video cannot be read.
        """
        said = []
        for request in self._counted(requests, "answers"):
            context, settings, doc_to_visual, doc_id, task, split = request.args
            features, query = self._question(context, doc_to_visual, self.task_dict[task][split][doc_id])
            [reply] = self._asker(settings).answer(features, [query])
            text = _up_to(reply.said, settings.get(_UNTIL))
            self.cache_hook.add_partial("generate_until", (context, settings), text)
            said.append(text)
        return said

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """The loss of each request's continuation, and whether it is what greedy decoding writes.

        A loss, the mean over tokens, in spite of the method's name: lmms-eval takes the smallest for the best, since
        its models return one.

        Raises:
            InputError: a request cannot be asked.
            VideoError: a video cannot be read.
        """
        found = []
        for request in self._counted(requests, "losses"):
            context, target, doc_to_visual, doc_id, task, split = request.args
            doc = self.task_dict[task][split][doc_id]
            features, query = self._question(context, doc_to_visual, doc)
            continuation = target(doc) if callable(target) else target
            found += self._asker({}).losses(features, query, [str(continuation)])
        return found

    def generate_until_multi_round(self, requests: list[Instance]) -> list[str]:
        """Refused: nothing here keeps a conversation with tools.

        Raises:
            InputError: always.
        """
        raise InputError(
            f"{len(requests)} requests want several rounds, which --model bimba does not have.",
            fix="leave this task out.",
        )

    def _counted(self, requests: list[Instance], what: str) -> Iterable[Instance]:
        """Requests one by one, with a bar on the first process."""
        bar: Iterable[Instance] = tqdm(requests, desc=what, disable=self._rank > 0)
        return bar

    def _question(
        self, context: str, doc_to_visual: Callable[[Any], Any], doc: Mapping[str, Any]
    ) -> tuple[Seen | None, Query]:
        """What is known of what is shown, None of nothing, and the question with the user's whole turn."""
        seen = shown(doc_to_visual(doc), self._num_frames, self._sampling)
        words = context.replace(VIDEO_TOKEN, "").strip()
        if seen is None:
            return None, Query(words, turn=words)
        tell = self._time_sentence and self.qa.processor.time_sentence
        [turn] = messages_about(seen.clip, [Message("user", words)], tell)
        return self._look(seen), Query(words, turn=turn.content)

    def _look(self, seen: Shown) -> Seen:
        """What is known of it, kept until something else is shown."""
        if seen.key is not None and self._looked is not None and self._looked[0] == seen.key:
            return self._looked[2]
        self._looked = None
        features = self._asker({}).look(seen.clip.frames())
        if seen.key is not None:
            self._looked = (seen.key, seen, features)
        return features

    def _asker(self, settings: Mapping[str, Any]) -> Asker:
        """One for each way to generate."""
        given = {name: value for name, value in settings.items() if value is not None}
        length = next((int(given[name]) for name in _LENGTHS if name in given), self._max_new_tokens)
        options = {name: given[name] for name in _TAKEN if name in given}
        self._mention(set(given) - {*_LENGTHS, *_TAKEN, _UNTIL})
        if not options.get("do_sample", options.get("temperature", 0) > 0):
            options = {name: value for name, value in options.items() if name not in ("temperature", "top_p", "top_k")}
        key = repr((length, sorted(options.items())))
        if key not in self._askers:
            self._askers[key] = Asker(self.qa, max_new_tokens=length, batch_size=self._batch_size, generation=options)
        return self._askers[key]

    def _mention(self, names: set[str]) -> None:
        """Say once which options of a task mean nothing here."""
        for name in sorted(names - self._left_out):
            logger.warning("the task's generation option %r means nothing to --model bimba, and is left out.", name)
        self._left_out |= names


def _up_to(text: str, until: str | Sequence[str] | None) -> str:
    """A text up to the first of some stop texts."""
    stops = [until] if isinstance(until, str) else list(until or ())
    places = [text.find(stop) for stop in stops if stop]
    return text[: min((place for place in places if place >= 0), default=len(text))]
