"""Numbers as Prometheus reads them; its own parser is the judge."""

from prometheus_client.parser import text_string_to_metric_families

from bimba.serving.metrics import CONTENT_TYPE, Metrics


def read(metrics: Metrics) -> dict[str, float]:
    """Each line of the text by its name and labels."""
    families = text_string_to_metric_families(metrics.text().decode())
    samples = [sample for family in families for sample in family.samples]
    return {" ".join([one.name, *map("=".join, sorted(one.labels.items()))]): one.value for one in samples}


def test_counters_count_for_each_label() -> None:
    metrics = Metrics()
    for outcome in ("done", "timeout", "done"):
        metrics.answers.labels(outcome).inc()
    metrics.generated_tokens.inc(7)
    told = read(metrics)
    assert (told["bimba_answers_total outcome=done"], told["bimba_answers_total outcome=timeout"]) == (2, 1)
    assert (told["bimba_generated_tokens_total"], told["bimba_video_tokens_total"]) == (7, 0)


def test_histograms_count_what_is_at_most_as_long() -> None:
    metrics = Metrics()
    for seconds in (0.05, 0.06, 3.0, 1000.0):
        metrics.answer_seconds.observe(seconds)
    told = read(metrics)
    buckets = {bound: told[f"bimba_answer_seconds_bucket le={bound}"] for bound in ("0.05", "0.1", "5.0", "600.0")}
    assert buckets == {"0.05": 1, "0.1": 2, "5.0": 3, "600.0": 3}
    assert told["bimba_answer_seconds_bucket le=+Inf"] == told["bimba_answer_seconds_count"] == 4
    assert told["bimba_answer_seconds_sum"] == 1003.11


def test_a_gauge_is_looked_up_when_it_is_asked_for() -> None:
    metrics, values = Metrics(), [1.5]
    metrics.gauge("bimba_now", "Now.", lambda: values[0])
    assert read(metrics)["bimba_now"] == 1.5
    values[0] = 2.0
    assert read(metrics)["bimba_now"] == 2.0


def test_each_server_counts_for_itself() -> None:
    first, second = Metrics(), Metrics()
    first.requests.labels("200").inc()
    assert read(first)["bimba_http_requests_total status=200"] == 1
    assert "bimba_http_requests_total status=200" not in read(second)
    assert CONTENT_TYPE.startswith("text/plain; version=")


def test_names_stay_what_they_are() -> None:
    told = {line.split()[2] for line in Metrics().text().decode().splitlines() if line.startswith("# TYPE ")}
    assert {name for name in told if not name.endswith("_created")} == {
        "bimba_answers_total", "bimba_http_requests_total", "bimba_prompt_tokens_total", "bimba_video_tokens_total",
        "bimba_generated_tokens_total", "bimba_encodings_total", "bimba_evidence_total", "bimba_encode_seconds",
        "bimba_evidence_seconds", "bimba_first_text_seconds", "bimba_answer_seconds",
    }  # fmt: skip
