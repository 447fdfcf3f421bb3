"""Run every benchmark, print the tables and keep them as a dated report with hardware and versions."""

import sys
from collections.abc import Iterator

from benchmarks import decoding, evaluation_run, first_token, scan, startup, training_step
from benchmarks.reports import write_report


def main() -> None:
    """Measure, print, write results/<date>.md."""
    print(f"written to {write_report('Timings', _sections())}")


def _sections() -> Iterator[str]:
    for benchmark in (startup, first_token, decoding, scan, training_step, evaluation_run):
        print(f"{benchmark.__name__} ...", file=sys.stderr, flush=True)
        section = benchmark.report()
        print(section + "\n", flush=True)
        yield section


if __name__ == "__main__":
    main()
