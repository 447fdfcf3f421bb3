"""Questions in, units of work out: a video or a part of it, and all that is asked about that, in a fixed order."""

from collections.abc import Sequence
from dataclasses import dataclass

from bimba.evaluation.benchmarks import Footage, Question


@dataclass(frozen=True)
class Unit:
    """A video, or a part of it, and questions about that.

    Attributes:
        number: from 0, in the order of first questions.
        footage: what they are about.
        questions: in the benchmark's order.
    """

    number: int
    footage: Footage
    questions: tuple[Question, ...]


def units_of(questions: Sequence[Question]) -> list[Unit]:
    """Group questions by what they are about, the first one's first."""
    by_footage: dict[Footage, list[Question]] = {}
    for question in questions:
        by_footage.setdefault(question.footage, []).append(question)
    return [Unit(number, footage, tuple(asked)) for number, (footage, asked) in enumerate(by_footage.items())]


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
