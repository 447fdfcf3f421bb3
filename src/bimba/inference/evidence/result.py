"""Scores of a video's moments in; what an answer rests on out, for people and for JSON.

Shapes: M moments, T sampled frames.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Method = Literal["gradient", "occlusion"]
"""How moments are scored, see `bimba.inference.evidence`."""


@dataclass(frozen=True)
class Moment:
    """A stretch of the sampled frames that the language model reads as one: a single frame, or several pooled ones.

    Attributes:
        first_frame: number of its first frame among the sampled ones, from 0.
        last_frame: of its last frame.
        start_seconds: time of its first frame; None where times are unknown.
        end_seconds: time of its last frame.
        score: how much it spoke for the answer, in nats, see `Evidence.method`.
        share: of the scores above zero that all moments have together; 0 of one that is not above zero.
    """

    first_frame: int
    last_frame: int
    start_seconds: float | None
    end_seconds: float | None
    score: float
    share: float


@dataclass(frozen=True)
class Evidence:
    """Where in a video an answer comes from.

    Attributes:
        method: "gradient": the share of each moment in how far the log-odds of the answer's tokens rise from a video in
            which every moment is the average of all to the video itself (integrated gradients). "occlusion": how far
            they fall if the moment alone becomes that average. Both in nats; below zero speaks against the answer.
        answer: whose evidence it is.
        log_probability: of the answer's tokens, the end of the turn included if it came, in nats; greedy decoding's
            own rules (repetition penalty, say) are not in it.
        log_probability_without: the same with every moment as the average of all. Where it is about as high, the answer
            does not rest on any moment.
        moments: M of them, in order of time.
        seconds: that it took.
    """

    method: Method
    answer: str
    log_probability: float
    log_probability_without: float
    moments: tuple[Moment, ...]
    seconds: float

    def top(self, count: int = 5) -> list[Moment]:
        """Those that mattered most, the first the most; fewer where fewer have a share.

        Args:
            count: at most so many.
        """
        ranked = sorted(self.moments, key=lambda moment: -moment.score)
        return [moment for moment in ranked[:count] if moment.share > 0]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, ready for JSON."""
        return asdict(self) | {"moments": [asdict(moment) for moment in self.moments]}


def moments_of(
    scores: Sequence[float], frames: Sequence[tuple[int, int]], frame_seconds: Sequence[float]
) -> tuple[Moment, ...]:
    """Scores [M] with the frames and times that they belong to.

    Args:
        scores: of each moment.
        frames: first and last sampled frame of each.
        frame_seconds: times of the sampled frames [T]; empty where they are unknown.
    """
    total = sum(score for score in scores if score > 0)
    return tuple(
        Moment(
            first_frame=first,
            last_frame=last,
            start_seconds=frame_seconds[first] if frame_seconds else None,
            end_seconds=frame_seconds[last] if frame_seconds else None,
            score=score,
            share=score / total if score > 0 else 0.0,
        )
        for score, (first, last) in zip(scores, frames, strict=True)
    )
