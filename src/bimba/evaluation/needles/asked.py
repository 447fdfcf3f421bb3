"""Settings of an evaluation in, every video with its questions out, in the order in which they are asked.

The first video of each length comes first, then the second of each, so that a run that is cut short saw all lengths.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from bimba.evaluation.answering import Query
from bimba.evaluation.needles.settings import NeedleEvaluation
from bimba.needles import Question, StreamedVideo
from bimba.needles.questions import CANNOT_TELL

UNKNOWN = "unknown"
"""Kind of the questions that a video does not answer."""


@dataclass(frozen=True)
class Asked:
    """A question with all that the tables count by; the fields are those of `lines.Line`."""

    id: str
    kind: str
    variant: str
    frames: int
    size: tuple[int, int]
    num_needles: int
    num_evidence: int
    place: float | None
    held_out: bool | None
    question: str
    options: tuple[str, ...]
    answer: str

    @property
    def query(self) -> Query:
        """What the model is asked."""
        return Query(self.question, self.options)


@dataclass(frozen=True)
class AskedVideo:
    """A video and all that is asked about it."""

    video: StreamedVideo
    questions: tuple[Asked, ...]


def asked_videos(settings: NeedleEvaluation) -> Iterator[AskedVideo]:
    """Yield every video of an evaluation.

    Raises:
        InputError: pictures are asked for and there are none.
        VideoError: a picture or a haystack cannot be opened.
    """
    streams = {(frames, size): stream for frames, size, stream in settings.streams()}
    for index in range(settings.videos):
        size = settings.sizes[index % len(settings.sizes)]
        for frames in settings.frames:
            video = streams[frames, size][index]
            yield AskedVideo(video, tuple(_questions(video, f"{frames}-{index:04d}")))


def _questions(video: StreamedVideo, name: str) -> Iterator[Asked]:
    record = video.record
    size = (record.width, record.height)
    for number, question in enumerate(record.questions):
        yield Asked(
            id=f"{name}-{number:02d}-{question.kind}",
            kind=question.kind,
            variant=question.variant,
            frames=record.num_frames,
            size=size,
            num_needles=len(record.needles),
            num_evidence=len(question.evidence),
            place=_place(question, record.num_frames),
            held_out=_held_out(video, question),
            question=question.question,
            options=question.options,
            answer=question.answer,
        )
    for number, text in enumerate(video.unknown, start=len(record.questions)):
        yield Asked(
            id=f"{name}-{number:02d}-{UNKNOWN}",
            kind=UNKNOWN,
            variant="",
            frames=record.num_frames,
            size=size,
            num_needles=len(record.needles),
            num_evidence=0,
            place=None,
            held_out=None,
            question=text,
            options=(),
            answer=CANNOT_TELL,
        )


def _place(question: Question, num_frames: int) -> float | None:
    """The middle of the evidence, from its first frame to its last, as a share of the video; None without any."""
    if not question.evidence:
        return None
    first = min(needle.first_frame for needle in question.evidence)
    end = max(needle.last_frame for needle in question.evidence) + 1
    return round((first + end) / 2 / num_frames, 6)


def _held_out(video: StreamedVideo, question: Question) -> bool | None:
    """Whether a picture that is asked about stands where none of the training split does; None if none is."""
    needles = [video.record.needles[evidence.needle] for evidence in question.evidence]
    pictures = [needle for needle in needles if needle.kind == "picture"]
    return any(needle.held_out for needle in pictures) if pictures else None
