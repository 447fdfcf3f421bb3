"""What happens in; numbers as Prometheus reads them (its text format, version 0.0.4) out."""

import threading
from bisect import bisect_left
from collections.abc import Callable, Sequence

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)


class Counter:
    """Counts up, for each value of its labels.

    Args:
        name: ends in _total.
        told: what it counts.
        labels: names of what tells its lines apart.
    """

    def __init__(self, name: str, told: str, labels: Sequence[str] = ()) -> None:
        self._name, self._told, self._labels = name, told, tuple(labels)
        self._lock = threading.Lock()
        self._values: dict[tuple[str, ...], float] = {} if labels else {(): 0.0}

    def add(self, amount: float = 1, *values: str) -> None:
        """Count.

        Args:
            amount: so many.
            values: of the labels.
        """
        with self._lock:
            self._values[values] = self._values.get(values, 0.0) + amount

    def lines(self) -> list[str]:
        """Of the text format."""
        with self._lock:
            values = sorted(self._values.items())
        head = [f"# HELP {self._name} {self._told}", f"# TYPE {self._name} counter"]
        return head + [f"{self._name}{_labelled(self._labels, key)} {_number(value)}" for key, value in values]


class Histogram:
    """Counts seconds by how many they are.

    Args:
        name: ends in _seconds.
        told: what it measures.
    """

    def __init__(self, name: str, told: str) -> None:
        self._name, self._told = name, told
        self._lock = threading.Lock()
        self._counts = [0] * (len(_SECONDS) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        """Take a measurement."""
        with self._lock:
            self._counts[bisect_left(_SECONDS, seconds)] += 1
            self._sum += seconds

    def lines(self) -> list[str]:
        """Of the text format."""
        with self._lock:
            counts, total = list(self._counts), self._sum
        lines = [f"# HELP {self._name} {self._told}", f"# TYPE {self._name} histogram"]
        bounds = [*map(_number, _SECONDS), "+Inf"]
        lines += [f'{self._name}_bucket{{le="{bound}"}} {sum(counts[: n + 1])}' for n, bound in enumerate(bounds)]
        return [*lines, f"{self._name}_sum {_number(total)}", f"{self._name}_count {sum(counts)}"]


class Metrics:
    """All numbers of a server."""

    def __init__(self) -> None:
        self.answers = Counter("bimba_answers_total", "Questions by what became of them.", ["outcome"])
        self.requests = Counter("bimba_http_requests_total", "Responses by status.", ["status"])
        self.prompt_tokens = Counter("bimba_prompt_tokens_total", "Tokens of prompts, the videos' among them.")
        self.video_tokens = Counter("bimba_video_tokens_total", "Tokens of videos.")
        self.generated_tokens = Counter("bimba_generated_tokens_total", "Tokens of answers.")
        self.encodings = Counter("bimba_encodings_total", "Videos by where their tokens came from.", ["source"])
        self.evidence = Counter("bimba_evidence_total", "Searches for what an answer rests on.", ["outcome"])
        self.encode_seconds = Histogram("bimba_encode_seconds", "Reading and encoding a video.")
        self.evidence_seconds = Histogram("bimba_evidence_seconds", "Finding what an answer rests on.")
        self.first_piece_seconds = Histogram("bimba_first_text_seconds", "From the request to the first text.")
        self.answer_seconds = Histogram("bimba_answer_seconds", "From the request to the end of its answer.")
        self._gauges: dict[str, tuple[str, Callable[[], float]]] = {}

    def gauge(self, name: str, told: str, value: Callable[[], float]) -> None:
        """Add a number that is looked up when it is asked for."""
        self._gauges[name] = told, value

    def text(self) -> str:
        """Everything, in the text format."""
        measured = [value for value in vars(self).values() if isinstance(value, Counter | Histogram)]
        lines = [line for one in measured for line in one.lines()]
        for name, (told, value) in self._gauges.items():
            lines += [f"# HELP {name} {told}", f"# TYPE {name} gauge", f"{name} {_number(value())}"]
        return "\n".join(lines) + "\n"


def _labelled(names: Sequence[str], values: Sequence[str]) -> str:
    pairs = [f'{name}="{value}"' for name, value in zip(names, values, strict=True)]
    return f"{{{','.join(pairs)}}}" if pairs else ""


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))
