"""Stages of a model's work by name, for whoever measures how long each takes."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

Stage = Callable[[str], AbstractContextManager[object]]
"""Called with the name of a stage; what it gives is held while that is done."""


def no_stage(name: str) -> AbstractContextManager[object]:
    """Notes nothing."""
    del name
    return nullcontext()
