"""What happens in; numbers as Prometheus reads them out, each server's its own."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

CONTENT_TYPE = CONTENT_TYPE_LATEST

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)


class Metrics:
    """All numbers of a server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.answers = self._counter("bimba_answers_total", "Questions by what became of them.", "outcome")
        self.requests = self._counter("bimba_http_requests_total", "Responses by status.", "status")
        self.prompt_tokens = self._counter("bimba_prompt_tokens_total", "Tokens of prompts, the videos' among them.")
        self.video_tokens = self._counter("bimba_video_tokens_total", "Tokens of videos.")
        self.generated_tokens = self._counter("bimba_generated_tokens_total", "Tokens of answers.")
        self.encodings = self._counter("bimba_encodings_total", "Videos by where their tokens came from.", "source")
        self.evidence = self._counter("bimba_evidence_total", "Searches for what an answer rests on.", "outcome")
        self.encode_seconds = self._histogram("bimba_encode_seconds", "Reading and encoding a video.")
        self.evidence_seconds = self._histogram("bimba_evidence_seconds", "Finding what an answer rests on.")
        self.first_piece_seconds = self._histogram("bimba_first_text_seconds", "From the request to the first text.")
        self.answer_seconds = self._histogram("bimba_answer_seconds", "From the request to the end of its answer.")

    def gauge(self, name: str, told: str, value: Callable[[], float]) -> None:
        """Add a number that is looked up when it is asked for."""
        Gauge(name, told, registry=self._registry).set_function(value)

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self._registry)

    def _counter(self, name: str, told: str, *labels: str) -> Counter:
        return Counter(name, told, labels, registry=self._registry)

    def _histogram(self, name: str, told: str) -> Histogram:
        return Histogram(name, told, registry=self._registry, buckets=_SECONDS)
