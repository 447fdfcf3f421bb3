"""Needle videos that are never stored: settings and an index go in, frames, questions and exact times come out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bimba.needles.contents import Picture, pictures_of
from bimba.needles.haystacks import FrameArray, check_haystack
from bimba.needles.plan import VideoPlan, plan_video, render_frames
from bimba.needles.questions import QUESTION_KINDS, Story, ask_about_itself, ask_questions, ask_unknown
from bimba.needles.records import Question, VideoRecord
from bimba.needles.schedule import check_schedule
from bimba.needles.seeds import generator, round_seed
from bimba.needles.settings import NeedleSettings, known_choices

KINDS_WITHOUT_TIMES = tuple(kind for kind in QUESTION_KINDS if kind not in ("caption_at", "at", "when"))
"""Questions that can be answered without being told when each frame was taken."""


@dataclass(frozen=True)
class StreamedVideo:
    """One video of a stream: what it shows and what is asked; its frames are drawn when they are asked for.

    Attributes:
        plan: of its pixels.
        story: what happens in it.
        seed: of what is asked.
        questions: that it answers.
        unknown: questions that it does not answer.
        itself: questions to the model about itself.
    """

    plan: VideoPlan
    story: Story
    seed: int
    questions: tuple[Question, ...]
    unknown: tuple[str, ...]
    itself: tuple[str, ...]

    @cached_property
    def record(self) -> VideoRecord:
        """What it shows and is asked, as the JSON of stored videos tells it."""
        return record_of(self.plan, self.story, self.questions)

    def frames(self, indices: Sequence[int] | None = None) -> Iterator[FrameArray]:
        """Yield frames uint8 ``[H, W, 3]``, all of them or those with these ascending indices."""
        return render_frames(self.plan, indices)


class NeedleStream(Sequence[StreamedVideo]):
    """Videos with needles as a sequence; the video at an index is a pure function of the settings and the index.

    Args:
        settings: of the videos; `num_videos` is the length.
        kinds: of questions.
        num_unknown: questions a video that it does not answer, on average.
        num_itself: questions a video to the model about itself, on average.

    Raises:
        InputError: a kind of question is unknown, the needles do not fit, a folder of pictures, videos or photos holds
            none, or OpenMoji is asked for and not installed.
    """

    def __init__(
        self,
        settings: NeedleSettings,
        *,
        kinds: Sequence[str] = tuple(QUESTION_KINDS),
        num_unknown: float = 0.0,
        num_itself: float = 0.0,
    ) -> None:
        known_choices("kinds of questions", kinds, QUESTION_KINDS)
        check_schedule(settings)
        check_haystack(settings)
        self.settings = settings
        self.kinds = tuple(kinds)
        self.num_unknown = num_unknown
        self.num_itself = num_itself
        self.pictures = pictures_of(settings)

    def __len__(self) -> int:
        return self.settings.num_videos

    def __getitem__(self, index: int) -> StreamedVideo:  # type: ignore[override] # no slices: they would hold many
        """The video at an index.

        Raises:
            IndexError: there is none.
            InputError: the needles do not fit into the video.
            VideoError: a picture cannot be opened.
        """
        return self.video(index)

    def video(self, index: int, number: int = 0) -> StreamedVideo:
        """The video at an index with the questions of a round: the same video in all of them, asked other questions.

        Raises:
            IndexError, InputError, VideoError: as above.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"video {index} of {len(self)}")
        plan = plan_video(self.settings, index, self.pictures)
        story = story_of(plan, self.settings, self.pictures)
        seed = round_seed(plan.seed, number)
        name = f"{index:07d}.{number}" if number else f"{index:07d}"
        questions = ask_questions(story, seed=seed, name=name, count=self.settings.num_questions, kinds=self.kinds)
        return StreamedVideo(plan, story, seed, questions, self._unknown(seed, story), self._itself(seed))

    def _unknown(self, seed: int, story: Story) -> tuple[str, ...]:
        rng = generator(seed, "unknown")
        return tuple(ask_unknown(story, rng, self.settings.split) for _ in range(_drawn(self.num_unknown, rng)))

    def _itself(self, seed: int) -> tuple[str, ...]:
        rng = generator(seed, "itself")
        return tuple(ask_about_itself(rng) for _ in range(_drawn(self.num_itself, rng)))


def _drawn(mean: float, rng: np.random.Generator) -> int:
    """A whole number next to the mean, with that mean."""
    return int(mean) + int(rng.random() < mean % 1)


def story_of(plan: VideoPlan, settings: NeedleSettings, pictures: Sequence[Picture]) -> Story:
    """Return what happens in a planned video."""
    needles = tuple(needle.record for needle in plan.needles)
    window = settings.pair_window
    pair = None
    if window is not None:
        windows = np.array([needle.first_frame // window for needle in needles])
        (together,) = np.nonzero(windows[1:] == windows[:-1])
        pair = (int(together[0]), int(together[0]) + 1) if len(together) == 1 else None
    return Story(needles, plan.seconds, tuple(pictures), pair)


def record_of(plan: VideoPlan, story: Story, questions: tuple[Question, ...], *, file: str = "") -> VideoRecord:
    """Write down what a video shows and is asked.

    Args:
        plan: of the video.
        story: what happens in it.
        questions: about it.
        file: its name, empty if it is not stored.

    Raises:
        InputError, VideoError: its haystack cannot be opened.
    """
    return VideoRecord(
        file=file,
        seed=plan.seed,
        num_frames=plan.num_frames,
        fps=plan.fps,
        seconds=plan.seconds,
        width=plan.width,
        height=plan.height,
        haystack=plan.haystack.kind,
        needles=story.needles,
        questions=questions,
    )
