"""A way to make a video in; the same video, made when a visitor first asks for it, and questions about it out."""

import hashlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bimba.serving.engine.ticket import Media

EXAMPLE_ID = "example"


@dataclass
class Example:
    """A video that everybody may ask about.

    Attributes:
        name: what it is called.
        make: makes it, and says where it is and what can be asked about it.
    """

    name: str
    make: Callable[[], tuple[Path, Sequence[str]]]
    _made: tuple[Media, tuple[str, ...]] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def made(self) -> tuple[Media, tuple[str, ...]]:
        """The video, and questions about it."""
        with self._lock:
            if self._made is None:
                path, questions = self.make()
                with path.open("rb") as file:
                    sha256 = hashlib.file_digest(file, "sha256").hexdigest()
                self._made = Media(path, "the example", sha256), tuple(questions)
            return self._made
