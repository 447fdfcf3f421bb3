"""Numbers as Prometheus reads them."""

import re

from bimba.serving.metrics import Counter, Histogram, Metrics

LINE = re.compile(r'(# (HELP|TYPE) [a-z_]+ .+|[a-z_]+(\{[a-z]+="[^"]*"\})? (\d+(\.\d+)?([e]-?\d+)?|\+Inf))')


def test_counters_count_for_each_label() -> None:
    counter = Counter("things_total", "Things.", ["kind"])
    counter.add(1, "b")
    counter.add(2.5, "a")
    counter.add(1, "b")
    assert counter.lines() == [
        "# HELP things_total Things.",
        "# TYPE things_total counter",
        'things_total{kind="a"} 2.5',
        'things_total{kind="b"} 2',
    ]
    assert Counter("things_total", "Things.").lines()[-1] == "things_total 0"


def test_histograms_count_what_is_at_most_as_long() -> None:
    histogram = Histogram("wait_seconds", "Waiting.")
    for seconds in (0.05, 0.06, 3.0, 1000.0):
        histogram.observe(seconds)
    lines = dict(line.rsplit(" ", 1) for line in histogram.lines()[2:])
    assert lines['wait_seconds_bucket{le="0.05"}'] == "1"
    assert lines['wait_seconds_bucket{le="0.1"}'] == "2"
    assert lines['wait_seconds_bucket{le="5"}'] == "3"
    assert lines['wait_seconds_bucket{le="600"}'] == "3"
    assert lines['wait_seconds_bucket{le="+Inf"}'] == lines["wait_seconds_count"] == "4"
    assert float(lines["wait_seconds_sum"]) == 1003.11


def test_all_lines_are_of_the_format_and_each_name_comes_once() -> None:
    metrics = Metrics()
    metrics.gauge("bimba_now", "Now.", lambda: 1.5)
    metrics.answers.add(1, "done")
    metrics.answer_seconds.observe(0.3)
    text = metrics.text()
    assert text.endswith("\n")
    assert all(LINE.fullmatch(line) for line in text.splitlines())
    names = re.findall(r"# TYPE ([a-z_]+) ", text)
    assert len(names) == len(set(names)) > 8
    assert "bimba_now 1.5" in text.splitlines()
