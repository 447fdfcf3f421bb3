"""Stored samples in, examples for the model out; a sample that cannot be made becomes a `Failure` with its reason.

Shapes: L tokens.
"""

from dataclasses import dataclass
from pathlib import Path

from torch.utils.data import Dataset

from bimba.errors import BimbaError, InputError
from bimba.inference.clip import Clip, ClipFile
from bimba.inference.request import context_length
from bimba.models.bimba.configuration import BimbaConfig
from bimba.models.bimba.processing import BimbaProcessor
from bimba.needles import StreamedVideo
from bimba.text.labels import IGNORE, expand_placeholders
from bimba.text.prompts import Message
from bimba.training.data.branches import join_branches
from bimba.training.data.conversation import build_messages, questions_about_media
from bimba.training.data.example import Example, Failure, FeatureSource, count_learned
from bimba.training.data.learned import Labels, ids_and_labels
from bimba.training.data.sample import Kind, Sample
from bimba.training.data.store import SampleStore
from bimba.training.data.streams import StreamPlace, conversations, words_of_moments, words_of_places
from bimba.training.recipe.data_settings import Frames
from bimba.training.recipe.settings import Recipe, Words
from bimba.video.sampling import uniform_indices
from bimba.video.source import Video

BLANK = -1
"""Index of a place that no sample fills."""


@dataclass(frozen=True)
class Description:
    """A sample as the model will see it; no frame is decoded yet.

    Attributes:
        sample: what the file says.
        clips: the chosen frames of each video or image.
        messages: the conversation with one placeholder a video or image.
        ids: [L], a placeholder for each video token.
        labels: [L].
        num_video_tokens: of each video or image.
        branches: see `Example`.
        needles: the video of a stream and the numbers of its frames that are seen.
    """

    sample: Sample
    clips: tuple[Clip, ...]
    messages: tuple[Message, ...]
    ids: list[int]
    labels: list[int]
    num_video_tokens: tuple[int, ...]
    branches: tuple[int, ...] = ()
    needles: tuple[StreamedVideo, list[int]] | None = None

    @property
    def num_learned(self) -> int:
        """Tokens that are learned."""
        return count_learned(self.labels)


@dataclass(frozen=True)
class Piece:
    """Tokens in a row that are alike: a video's, or text that is learned or is not."""

    text: str
    learned: bool
    num_video_tokens: int = 0


def open_dataset(
    recipe: Recipe, store: SampleStore, config: BimbaConfig, processor: BimbaProcessor
) -> "TrainingDataset":
    """The data set of a recipe: samples longer than `data.max_tokens`, or than the model reads, are failures."""
    longest = recipe.data.max_tokens or context_length(config)
    return TrainingDataset(store, processor, recipe.frames, recipe.data.labels, longest, words=recipe.objective.words)


class TrainingDataset(Dataset["Example | Failure | None"]):
    """Examples by the number of their sample.

    It holds a few arrays and the processor, so that worker processes may be forked or spawned with it.

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
        self.store, self.processor, self.frames = store, processor, frames
        self.labels, self.max_tokens, self.cache, self.words = labels, max_tokens, cache, words

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, index: int) -> Example | Failure | None:
        """Example of a sample, or why there is none; None for the index of a blank place, -1.

        Raises:
            IndexError: there is no sample of that number.
        """
        if index == BLANK:
            return None
        try:
            return self._example(self._describe(index))
        except BimbaError as error:
            return Failure(self.store.name(index), error.problem)

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

    def describe(self, index: int) -> Description | Failure:
        """What the model will see of a sample, without decoding frames; or why there is nothing.

        Raises:
            IndexError: there is no sample of that number.
        """
        try:
            return self._describe(index)
        except BimbaError as error:
            return Failure(self.store.name(index), error.problem)

    def kind(self, index: int) -> Kind | None:
        """What a sample is about; None if it is damaged."""
        try:
            return self.store[index].kind
        except InputError:
            return None

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
        clips = tuple(self._clip(path, sample.kind) for path in sample.media)
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
        frames = uniform_indices(video.record.num_frames, self.frames.count)
        num_tokens = self.processor.num_video_tokens(len(frames))
        ids, labels = expand_placeholders(joined.ids, joined.labels, self.processor.video_token_id, [num_tokens])
        self._check_length(joined.longest + num_tokens - 1, num_tokens)
        branches = tuple(start + num_tokens - 1 for start in joined.starts)
        messages = tuple(message for talk in talks for message in talk)
        return Description(sample, (), messages, ids, labels, (num_tokens,), branches, (video, frames))

    def _check_length(self, num_tokens: int, num_video_tokens: int) -> None:
        """Refuse what is longer than the model reads, or than the recipe allows."""
        if self.max_tokens is not None and num_tokens > self.max_tokens:
            raise InputError(
                f"the sample has {num_tokens:,} tokens, {num_video_tokens:,} of them of frames; at most "
                f"{self.max_tokens:,} are read.",
                fix="raise data.max_tokens, choose fewer frames (frames.count), or shorten the text.",
            )

    def _check_placeholders(self, ids: list[int], num_media: int) -> None:
        """A chat template may leave a turn out, and a video with it."""
        held = ids.count(self.processor.video_token_id)
        if held != num_media:
            raise InputError(
                f"the language model's chat template wrote {held} of {num_media} videos or images.",
                fix="set prompt_style to chatml in the model's settings.",
            )

    def _clip(self, path: Path, kind: Kind) -> Clip:
        """Chosen frames of a video, or the one frame of an image."""
        file = ClipFile(Video(path, backend=self.frames.backend))
        info = file.info
        if kind == "image" and info.num_frames > 1:
            raise InputError(
                f"{path} is no image but a {info.kind} of {info.num_frames:,} frames.",
                fix="name it as video in its entry, or take it out.",
            )
        if self.frames.sampling == "fps" and info.kind == "folder" and not info.is_timed:
            raise InputError(
                f"{path} is a folder of pictures without times, so that none can be taken each second.",
                fix="set frames.sampling to uniform, or make a video of the pictures.",
            )
        # Chosen without a word where one frame a second is too many: training would say so once a sample.
        return file.shortened(self.frames.count, self.frames.sampling)

    def _example(self, description: Description) -> Example:
        if description.needles is not None:
            return self._needle_example(description, *description.needles)
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

    def _needle_example(self, description: Description, video: StreamedVideo, frames: list[int]) -> Example:
        words = None
        if self.words is not None:
            pool = (1, 1, 1) if self.words.at == "tokens" else self.processor.pool
            num_groups, *grid = self.processor.grid(len(frames), pool)
            groups = [frames[number * pool[0] : (number + 1) * pool[0]] for number in range(num_groups)]
            told = words_of_places if self.words.of == "places" else words_of_moments
            words = told(video, groups, (grid[0], grid[1]), self.processor.question_ids)
        return Example(
            description.sample.name,
            description.ids,
            description.labels,
            (self.processor.make_pixels(video.frames(frames)),),
            branches=description.branches,
            words=words,
        )
