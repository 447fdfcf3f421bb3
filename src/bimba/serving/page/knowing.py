"""The name of a model in, what may be asked of it and what is said of its answers out."""

from collections.abc import Sequence
from dataclasses import dataclass

from bimba.checkpoints.shipped import NANO_KNOWS, RELEASED, shipped_models
from bimba.needles.questions import cannot_tell

_OF_NANO = (
    "What appears first in the video?",
    "List everything that appears in the video.",
    "How many digits are shown?",
    "What appears last in the video?",
)
_OF_ANY = (
    "What happens in this video?",
    "What is the video about?",
    "Where does it take place?",
    "What happens at the end?",
)


@dataclass(frozen=True)
class Known:
    """What is known of a model.

    Attributes:
        model: its name, as the package or its folder has it.
        shown: what the server calls it.
    """

    model: str
    shown: str

    @property
    def is_small(self) -> bool:
        """Whether it is one that comes with the package, and knows little."""
        return self.model in shipped_models()

    @property
    def about(self) -> str:
        """What a visitor has to know of it; "" if nothing."""
        if not self.is_small:
            return ""
        return f"{self.shown} {NANO_KNOWS.replace('`', '')}. The example shows what it can do."

    @property
    def questions(self) -> Sequence[str]:
        """That may be asked about any video."""
        return _OF_NANO if self.is_small else _OF_ANY

    def remark_on(self, answer: str) -> str:
        """Who could tell what a small model says it cannot; "" where it says something."""
        if not self.is_small or not cannot_tell(answer):
            return ""
        return (
            f"{self.shown} {NANO_KNOWS.replace('`', '')}. For everything else there is the released model: "
            f"bimba serve --model {RELEASED}"
        )
