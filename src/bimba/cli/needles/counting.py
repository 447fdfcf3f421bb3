"""Records of needle videos in, what they show and ask in numbers out: what a model gets right by guessing."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from bimba.needles import Needle, Question, VideoRecord
from bimba.needles.questions import QUESTION_KINDS

NUM_BINS = 10
"""Parts of a video that needles are counted in."""


@dataclass
class KindOfQuestion:
    """Questions of one kind."""

    variants: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    chance: float = 0.0
    """Sum of the shares of one option."""

    def to_dict(self) -> dict[str, Any]:
        """What guessing gives: the answer that is right most often, and any option."""
        [(answer, times)] = self.answers.most_common(1)
        total = self.answers.total()
        return {
            "count": total,
            "variants": {name or "other": self.variants[name] for name in sorted(self.variants, reverse=True)},
            "num_answers": len(self.answers),
            "most_common_answer": answer,
            "most_common_share": times / total,
            "any_option_share": self.chance / total,
        }


@dataclass
class Counts:
    """What has been counted so far."""

    num_videos: int = 0
    seconds: float = 0.0
    needles: Counter[str] = field(default_factory=Counter)
    num_inserted: int = 0
    num_held_out: int = 0
    copies: Counter[int] = field(default_factory=Counter)
    place_in_time: list[int] = field(default_factory=lambda: [0] * NUM_BINS)
    questions: dict[str, KindOfQuestion] = field(default_factory=dict)

    def add(self, video: VideoRecord) -> None:
        """Count a video."""
        self.num_videos += 1
        self.seconds += video.seconds
        for needle in video.needles:
            self._add_needle(needle, video.num_frames)
        for question in video.questions:
            self._add_question(question)

    def _add_needle(self, needle: Needle, num_frames: int) -> None:
        self.needles[needle.kind] += 1
        self.num_inserted += needle.inserted
        self.num_held_out += needle.held_out
        self.copies[len(needle.boxes)] += 1
        # Twice the middle of its frames, which is a whole number.
        middle = needle.first_frame + needle.last_frame + 1
        self.place_in_time[middle * NUM_BINS // (2 * num_frames)] += 1

    def _add_question(self, question: Question) -> None:
        kind = self.questions.setdefault(question.kind, KindOfQuestion())
        kind.variants[question.variant] += 1
        kind.answers[question.answer] += 1
        kind.chance += 1 / len(question.options)

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self) | {
            "num_needles": self.needles.total(),
            "num_questions": sum(kind.answers.total() for kind in self.questions.values()),
            "needles": dict(self.needles.most_common()),
            "inserted_share": self._share(self.num_inserted),
            "held_out_share": self._share(self.num_held_out),
            "copies": {str(number): self.copies[number] for number in sorted(self.copies)},
            "questions": {name: self.questions[name].to_dict() for name in QUESTION_KINDS if name in self.questions},
        }

    def _share(self, count: int) -> float:
        """A number of needles as a share of all of them."""
        return count / max(1, self.needles.total())


def count(videos: Iterable[VideoRecord]) -> Counts:
    """Return what videos show and ask in numbers."""
    counts = Counts()
    for video in videos:
        counts.add(video)
    return counts
