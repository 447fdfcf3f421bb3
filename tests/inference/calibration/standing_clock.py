"""A clock that stands still, for the tests of what is estimated from measured times."""

from collections.abc import Callable
from typing import Any


class Clock:
    """Stands still, unless something is done that takes time."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds

    def slow_down(self, forward: Callable[..., Any], seconds: float) -> Callable[..., Any]:
        """The same function, which takes so many seconds."""

        def slow(*args: Any, **kwargs: Any) -> Any:
            self.seconds += seconds
            return forward(*args, **kwargs)

        return slow
