"""Stored samples in, examples for a Vamba out: conversations without a token of a video, and its patches beside them.

Shapes: L tokens, P values of a patch.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from bimba.errors import InputError
from bimba.inference.clip import Clip
from bimba.models.vamba.processing import VambaProcessor
from bimba.needles import StreamedVideo
from bimba.text.labels import IGNORE
from bimba.text.prompts import VIDEO_TOKEN, VISION_MARKS
from bimba.training.data.clips import vamba_clip
from bimba.training.data.conversation import build_messages
from bimba.training.data.example import Example, Failure
from bimba.training.data.example_dataset import Description, ExampleDataset, Piece
from bimba.training.data.learned import Labels, ids_and_labels
from bimba.training.data.sample import Sample
from bimba.training.data.store import SampleStore
from bimba.training.data.streams import StreamPlace, conversations
from bimba.training.recipe.data_settings import Frames


class VambaDataset(ExampleDataset):
    """Examples by the number of their sample; see `ExampleDataset`.

    Args:
        store: the samples.
        processor: the model's.
        frames: which frames of a video are seen.
        labels: "released" or "assistant_only".
        max_tokens: samples with more tokens of text are failures; None for no limit.
        seed: of random frames, together with the number of the sample.
    """

    processor: VambaProcessor

    def __init__(
        self,
        store: SampleStore,
        processor: VambaProcessor,
        frames: Frames,
        labels: Labels = "released",
        max_tokens: int | None = None,
        *,
        seed: int = 0,
    ) -> None:
        super().__init__(store, processor, frames, labels, max_tokens)
        self.seed = seed
        self._marks: list[int] = processor.tokenizer(VISION_MARKS, add_special_tokens=False)["input_ids"]

    def measure(self, index: int) -> int | Failure:
        """Tokens of text and of videos of an example; of a video of a stream its own alone.

        Raises:
            IndexError: there is no sample of that number.
        """
        stream = self.store.stream(index)
        if stream is not None:
            settings = stream.settings
            num_frames = min(settings.num_frames, self.frames.count)
            return self.processor.num_video_tokens(num_frames, settings.height, settings.width)
        found = self.describe(index)
        return found if isinstance(found, Failure) else len(found.ids) + sum(found.num_video_tokens)

    def sizes(self) -> dict[str, Any]:
        """What decides the number of video tokens."""
        settings = self.processor.patch_settings
        edges = [settings.longest_edge, settings.shortest_edge, settings.min_pixels, settings.max_pixels]
        return {
            "sizes": [*edges, settings.patch_size, settings.temporal_patch_size, settings.merge_size],
            "modes": ["vamba"],
        }

    def pieces(self, description: Description) -> list[Piece]:
        """The text of a sample, cut where tokens begin and cease to be learned, and videos behind their marks."""
        # Several conversations about one video mark its place in each.
        counts: Iterator[int] = (
            itertools.cycle(description.num_video_tokens) if description.num_video_tokens else iter(())
        )
        pieces: list[Piece] = []
        start = 0
        for end in self._bounds(description):
            learned = description.labels[start] != IGNORE
            text = self.processor.tokenizer.decode(description.ids[start:end], clean_up_tokenization_spaces=False)
            pieces.append(Piece(str(text), learned))
            if description.ids[max(end - len(self._marks), 0) : end] == self._marks:
                pieces.append(Piece(VIDEO_TOKEN, learned=False, num_video_tokens=next(counts)))
            start = end
        return pieces

    def _bounds(self, description: Description) -> list[int]:
        """Places where a piece of text ends."""
        ids, labels = description.ids, description.labels
        changes = [place for place in range(1, len(ids)) if (labels[place] != IGNORE) != (labels[place - 1] != IGNORE)]
        size = len(self._marks)
        marks = [place for place in range(size, len(ids) + 1) if ids[place - size : place] == self._marks]
        return sorted({*changes, *marks, *description.branches, len(ids)} - {0})

    def _describe(self, index: int) -> Description:
        sample = self.store[index]
        if sample.place is not None:
            return self._describe_needles(sample, sample.place, index)
        clips = tuple(
            vamba_clip(path, sample.kind, self.frames, self.processor, self._generator(index)) for path in sample.media
        )
        messages = build_messages(sample, clips, tell_times=False)
        ids, labels = ids_and_labels(self.processor, messages, self.labels)
        self._check_marks(ids, len(clips))
        num_tokens = tuple(self.processor.tokens_of(clip.num_frames, clip.frame_size) for clip in clips)
        self._check_length(len(ids), 0)
        return Description(sample, clips, tuple(messages), ids, labels, num_tokens, holds_videos=False)

    def _describe_needles(self, sample: Sample, place: StreamPlace, index: int) -> Description:
        """All conversations about a video, one behind the other: each sees the video and itself."""
        video = place.video()
        talks = conversations(video, place.turns)
        ids: list[int] = []
        labels: list[int] = []
        starts = []
        for talk in talks:
            talk_ids, talk_labels = ids_and_labels(self.processor, talk, self.labels)
            self._check_length(len(talk_ids), 0)
            starts.append(len(ids))
            ids += talk_ids
            labels += talk_labels
        plan = video.plan
        choice = self.processor.choose_frames(
            plan.num_frames,
            float(plan.fps),
            self.frames.count,
            sampling=self.frames.sampling,
            seed=self._generator(index),
        )
        num_tokens = self.processor.num_video_tokens(len(choice.indices), plan.height, plan.width)
        messages = tuple(message for talk in talks for message in talk)
        needles = (video, list(choice.indices))
        branches, counts = tuple(starts), (num_tokens,)
        return Description(sample, (), messages, ids, labels, counts, branches, needles, holds_videos=False)

    def _generator(self, index: int) -> np.random.Generator:
        """Of a sample's random frames, which are the same whenever it is read."""
        return np.random.default_rng((self.seed, index))

    def _check_marks(self, ids: list[int], num_media: int) -> None:
        """Words such as <video> are marks, too, which the entry may not have meant."""
        held = ids.count(self._marks[0])
        if held != num_media:
            raise InputError(
                f"the conversation has {held} places for {num_media} videos or images.",
                fix=f"write {VIDEO_TOKEN} once for each of them, and no <video> or mark of one besides.",
            )

    def _example(self, index: int, description: Description) -> Example:
        del index
        if description.needles is not None:
            return self._needle_example(description, *description.needles)
        clips: tuple[Clip, ...] = description.clips
        return Example(
            description.sample.name,
            description.ids,
            description.labels,
            patches=tuple(self.processor.resize_frames(clip.frames()) for clip in clips),
            patch_frames=tuple(clip.num_frames for clip in clips),
        )

    def _needle_example(self, description: Description, video: StreamedVideo, frames: list[int]) -> Example:
        return Example(
            description.sample.name,
            description.ids,
            description.labels,
            branches=description.branches,
            patches=(self.processor.resize_frames(iter(video.frames(frames))),),
            patch_frames=(len(frames),),
        )
