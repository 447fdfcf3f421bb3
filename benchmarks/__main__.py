"""Run every benchmark, print the tables and keep them as a dated report with hardware and versions."""

import sys
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import first_token, startup
from benchmarks.provenance import provenance

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Measure, print, write results/<date>.md."""
    day = datetime.now(UTC).date().isoformat()
    facts = "\n".join(f"* {name}: {value}" for name, value in provenance().items())
    sections = [f"# Timings of {day}", facts]
    for benchmark in (startup, first_token):
        print(f"{benchmark.__name__} ...", file=sys.stderr, flush=True)
        sections.append(benchmark.report())
        print(sections[-1] + "\n", flush=True)
    RESULTS.mkdir(exist_ok=True)
    report = RESULTS / f"{day}.md"
    temporary = report.with_suffix(".tmp")
    temporary.write_text("\n\n".join(sections) + "\n", encoding="utf-8")
    temporary.replace(report)
    print(f"written to {report.relative_to(Path.cwd()) if report.is_relative_to(Path.cwd()) else report}")


if __name__ == "__main__":
    main()
