"""Stored samples in, examples for a BIMBA out: a placeholder for each token of a video, and its pixels or features.

Shapes: L tokens.
"""

from typing import Any

from torch import Tensor

from bimba.errors import InputError
from bimba.models.bimba.processing import BimbaProcessor
from bimba.needles import StreamedVideo
from bimba.text.labels import IGNORE, expand_placeholders
from bimba.training.data.branches import join_branches
from bimba.training.data.clips import bimba_clip
from bimba.training.data.conversation import build_messages, questions_about_media
from bimba.training.data.example import Example, Failure, FeatureSource
from bimba.training.data.example_dataset import Description, ExampleDataset, Piece
from bimba.training.data.learned import Labels, ids_and_labels
from bimba.training.data.sample import Sample
from bimba.training.data.store import SampleStore
from bimba.training.data.streams import StreamPlace, conversations, with_thirds, words_of_moments, words_of_places
from bimba.training.recipe.data_settings import Frames
from bimba.training.recipe.settings import Words
from bimba.video.sampling import uniform_indices


class TrainingDataset(ExampleDataset):
    """Examples by the number of their sample; see `ExampleDataset`.

    Args:
        store: the samples.
        processor: the model's.
        frames: which frames of a video are seen.
        labels: "released" or "assistant_only".
        max_tokens: samples with more are failures; None for no limit.
        cache: features of videos that need not be decoded.
        words: examples of needle streams tell the words that their tokens shall be near; None for none.

    Raises:
        InputError: fewer frames are chosen than the model pools together.
    """

    processor: BimbaProcessor

    def __init__(
        self,
        store: SampleStore,
        processor: BimbaProcessor,
        frames: Frames,
        labels: Labels = "released",
        max_tokens: int | None = None,
        cache: FeatureSource | None = None,
        words: Words | None = None,
    ) -> None:
        processor.num_video_tokens(frames.count)  # refuses a count that no video could have
        super().__init__(store, processor, frames, labels, max_tokens)
        self.cache, self.words = cache, words
        self.draws_once = False
        """Needle videos are drawn the first time alone: whoever trains keeps their tokens, and asks `stream_pixels` for
        a video that another worker process drew."""
        self.drawn: set[tuple[int, int]] = set()
        """Those, as far as this process knows; processes of a later epoch begin with what the first one knows."""

    def measure(self, index: int) -> int | Failure:
        """How many tokens an example has, without decoding frames; or why there is none, as far as is known then.

        Of a video of a stream only its own tokens count: what is asked would be known by planning it, which takes as
        long as half of training on it.

        Raises:
            IndexError: there is no sample of that number.
        """
        stream = self.store.stream(index)
        if stream is not None:
            return self.processor.num_video_tokens(min(stream.settings.num_frames, self.frames.count))
        description = self.describe(index)
        return description if isinstance(description, Failure) else len(description.ids)

    def sizes(self) -> dict[str, Any]:
        """What decides the number of placeholders."""
        processor = self.processor
        return {
            "sizes": [processor.patches_per_side, processor.spatial_pooling, processor.temporal_pooling],
            "modes": [processor.pool_mode, processor.newline_position, processor.prompt_style],
        }

    def pieces(self, description: Description) -> list[Piece]:
        """The text of a sample, cut where videos begin and end, and where tokens begin and cease to be learned."""
        pieces = []
        counts = iter(description.num_video_tokens)
        ids, labels = description.ids, description.labels
        start = 0
        while start < len(ids):
            if ids[start] == self.processor.video_token_id:
                count = next(counts)
                pieces.append(Piece(self.processor.video_token, learned=False, num_video_tokens=count))
                start += count
                continue
            learned, end = labels[start] != IGNORE, start
            while end < len(ids) and ids[end] != self.processor.video_token_id and (labels[end] != IGNORE) == learned:
                end += 1
            text = self.processor.tokenizer.decode(ids[start:end], clean_up_tokenization_spaces=False)
            pieces.append(Piece(str(text), learned))
            start = end
        return pieces

    def _describe(self, index: int) -> Description:
        sample = self.store[index]
        if sample.place is not None:
            return self._describe_needles(sample, sample.place)
        clips = tuple(bimba_clip(path, sample.kind, self.frames) for path in sample.media)
        messages = build_messages(sample, clips, tell_times=self.frames.time_sentence)
        ids, labels = ids_and_labels(self.processor, messages, self.labels)
        num_tokens = tuple(self.processor.num_video_tokens(clip.num_frames) for clip in clips)
        self._check_placeholders(ids, len(clips))
        ids, labels = expand_placeholders(ids, labels, self.processor.video_token_id, num_tokens)
        self._check_length(len(ids), sum(num_tokens))
        return Description(sample, clips, tuple(messages), ids, labels, num_tokens)

    def _describe_needles(self, sample: Sample, place: StreamPlace) -> Description:
        """All conversations about a video behind one video: each sees the video and itself."""
        video = place.video()
        talks = conversations(video, place.turns)
        encoded = [ids_and_labels(self.processor, talk, self.labels) for talk in talks]
        joined = join_branches(encoded, self.processor.video_token_id)
        frames = uniform_indices(video.plan.num_frames, self.frames.count)
        num_tokens = self.processor.num_video_tokens(len(frames))
        ids, labels = expand_placeholders(joined.ids, joined.labels, self.processor.video_token_id, [num_tokens])
        self._check_length(joined.longest + num_tokens - 1, num_tokens)
        branches = tuple(start + num_tokens - 1 for start in joined.starts)
        messages = tuple(message for talk in talks for message in talk)
        return Description(sample, (), messages, ids, labels, (num_tokens,), branches, (video, frames))

    def _check_placeholders(self, ids: list[int], num_media: int) -> None:
        """A chat template may leave a turn out, and a video with it."""
        held = ids.count(self.processor.video_token_id)
        if held != num_media:
            raise InputError(
                f"the language model's chat template wrote {held} of {num_media} videos or images.",
                fix="set prompt_style to chatml in the model's settings.",
            )

    def _example(self, index: int, description: Description) -> Example:
        if description.needles is not None:
            return self._needle_example(index, description, *description.needles)
        sample, clips = description.sample, description.clips
        questions = tuple(self.processor.question_ids(text) for text in questions_about_media(sample))
        known = (
            []
            if self.cache is None
            else [self.cache.get(path, clip.indices) for path, clip in zip(sample.media, clips, strict=True)]
        )
        features = tuple(item for item in known if item is not None)
        if len(features) < len(clips):  # some are unknown: an example has pixels or features, not both
            features = ()
        pixels = () if features else tuple(self.processor.make_pixels(clip.frames()) for clip in clips)
        return Example(sample.name, description.ids, description.labels, pixels, features, questions)

    def stream_pixels(self, video: StreamedVideo) -> Tensor:
        """Pixels float32 [T, 3, S, S] of a needle video as the model sees it.

        Raises:
            VideoError, InputError: its haystack or a picture cannot be opened.
        """
        frames = uniform_indices(video.plan.num_frames, self.frames.count)
        return self.processor.make_pixels(video.frames(frames))

    def _needle_example(self, index: int, description: Description, video: StreamedVideo, frames: list[int]) -> Example:
        name, ids, labels = description.sample.name, description.ids, description.labels
        place = description.sample.place
        key = (id(place.stream), place.index) if self.draws_once and place is not None else None
        if key in self.drawn:
            return Example(name, ids, labels, branches=description.branches, kept=index)
        words = None
        if self.words is not None:
            pool = (1, 1, 1) if self.words.at == "tokens" else self.processor.pool
            num_groups, *grid = self.processor.grid(len(frames), pool)
            groups = [frames[number * pool[0] : (number + 1) * pool[0]] for number in range(num_groups)]
            told = words_of_places if self.words.of == "places" else words_of_moments
            words = told(video, groups, (grid[0], grid[1]), self.processor.question_ids)
            if self.words.thirds:
                words = with_thirds(words, groups, video.plan.num_frames, self.processor.question_ids)
        if self.cache is not None and place is not None:
            features = self.cache.get(place, frames)
            if features is not None:
                return Example(name, ids, labels, (), (features,), branches=description.branches, words=words)
        pixels = self.stream_pixels(video)
        if key is None:
            return Example(name, ids, labels, (pixels,), branches=description.branches, words=words)
        self.drawn.add(key)  # not before: a video that cannot be drawn is a failure in each round
        return Example(name, ids, labels, (pixels,), branches=description.branches, kept=index)
