"""Questions in, units of work out: a video and all that is asked about it, in an order that nothing changes."""

from collections.abc import Sequence
from dataclasses import dataclass

from bimba.evaluation.benchmarks import Question


@dataclass(frozen=True)
class Unit:
    """A video and questions about it.

    Attributes:
        number: from 0, in the order of first questions.
        video: its name.
        questions: in the benchmark's order.
    """

    number: int
    video: str
    questions: tuple[Question, ...]


def units_of(questions: Sequence[Question]) -> list[Unit]:
    """Group questions by video, the first one's first."""
    by_video: dict[str, list[Question]] = {}
    for question in questions:
        by_video.setdefault(question.video, []).append(question)
    return [Unit(number, video, tuple(asked)) for number, (video, asked) in enumerate(by_video.items())]


def own_first(units: Sequence[Unit], rank: int, world_size: int) -> list[Unit]:
    """The order in which a process takes units: every so many-th first, then what others have not taken.

    The last ones of others come first, since these reach them last.

    Args:
        units: all of them.
        rank: of the process, from 0.
        world_size: how many processes there are.
    """
    own = [unit for unit in units if unit.number % world_size == rank]
    others = [unit for unit in units if unit.number % world_size != rank]
    return own + others[::-1]
