"""Needle videos that are never stored: settings and an index go in, frames, questions and exact times come out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bimba.needles.contents import Picture, pictures_of
from bimba.needles.haystacks import FrameArray, check_haystack
from bimba.needles.plan import VideoPlan, plan_video, render_frames
from bimba.needles.questions import QUESTION_KINDS, Story, ask_about_itself, ask_questions, ask_unknown
from bimba.needles.records import VideoRecord
from bimba.needles.schedule import check_schedule
from bimba.needles.seeds import generator
from bimba.needles.settings import NeedleSettings, known_choices

KINDS_WITHOUT_TIMES = tuple(kind for kind in QUESTION_KINDS if kind not in ("caption_at", "at", "when"))
"""Questions that can be answered without being told when each frame was taken."""


@dataclass(frozen=True)
class StreamedVideo:
    """One video of a stream: what it shows and what is asked; its frames are drawn when they are asked for."""

    plan: VideoPlan
    record: VideoRecord
    unknown: tuple[str, ...]
    """Questions that it does not answer."""
    itself: tuple[str, ...]
    """Questions to the model about itself."""

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
            VideoError: a picture or a haystack cannot be opened.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"video {index} of {len(self)}")
        plan = plan_video(self.settings, index, self.pictures)
        story = story_of(plan, self.settings, self.pictures)
        record = record_of(plan, self.settings, story, name=f"{index:07d}", kinds=self.kinds)
        return StreamedVideo(plan, record, self._unknown(plan, story), self._itself(plan))

    def _unknown(self, plan: VideoPlan, story: Story) -> tuple[str, ...]:
        rng = generator(plan.seed, "unknown")
        return tuple(ask_unknown(story, rng, self.settings.split) for _ in range(_drawn(self.num_unknown, rng)))

    def _itself(self, plan: VideoPlan) -> tuple[str, ...]:
        rng = generator(plan.seed, "itself")
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


def record_of(
    plan: VideoPlan, settings: NeedleSettings, story: Story, *, name: str, file: str = "", kinds: Sequence[str]
) -> VideoRecord:
    """Write down what a video shows and ask about it.

    Args:
        plan: of the video.
        settings: of the run.
        story: what happens in it.
        name: the first part of its questions' ids.
        file: its name, empty if it is not stored.
        kinds: of questions.
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
        questions=ask_questions(story, seed=plan.seed, name=name, count=settings.num_questions, kinds=kinds),
    )
